"""Duplicates and banks in a browser: found, decided and changed with the keyboard, readable by anybody."""

import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import overflows
from tests.browser.reviewkit import Desk, desk, sign_in
from tests.pictures import encode, photo

Accessible = Callable[[Page], None]


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A service that knows two photographs, one of them three times over, under names made to hurt."""
    with desk(tmp_path_factory.mktemp("collections"), 0) as running:
        picture = photo(480, 360, 5)
        for number, quality in enumerate((92, 70, 40)):
            words = {"name": f"<img src=x onerror=alert({number})>.jpg", "source": f"/albums/{number}"}
            data = encode(picture, "JPEG", quality=quality)
            assert running.server.client.post("/api/dhash", content=data, params=words).is_success
        running.server.client.post("/api/dhash", content=encode(photo(480, 360, 6), "JPEG"))
        yield running


def test_a_group_is_found_read_and_decided(page: Page, at: Desk, accessible: Accessible) -> None:
    page.goto(f"{at.url}/duplicates")
    group = page.get_by_role("region", name=re.compile("3 pictures"))
    expect(group.get_by_text("/albums/0")).to_be_visible()
    expect(group.locator("strong", has_text="keep")).to_have_count(1)
    expect(group.get_by_role("button")).to_have_count(0)
    accessible(page)
    for width in (360, 390, 768):
        assert not overflows(page, width)
    page.set_viewport_size({"width": 1280, "height": 800})
    sign_in(page, at, at.token("dora"), "/duplicates")
    page.get_by_role("button", name="Same: group 1").press("Enter")
    expect(page.get_by_role("region", name=re.compile("3 pictures")).locator(".badge")).to_have_text("same")
    accessible(page)
    chosen = group.get_by_role("radio").nth(1)
    page.keyboard.press("j")
    page.keyboard.press("2")
    expect(chosen).to_be_checked()
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.keyboard.press("s")  # the words of the decision before may still be there
    expect(page.get_by_role("status")).to_contain_text("Same: 3 pictures")
    page.reload()
    expect(chosen).to_be_checked()  # what a person chose stays
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as CSV").click()
    with download.value.path().open() as file:
        listed = list(csv.DictReader(file))
    assert [row["id"] for row in listed if row["keep"] == "True"] == [chosen.get_attribute("value")]
    assert {row["source"] for row in listed} == {f"/albums/{number}" for number in range(3)}
    page.get_by_label("Name or path has").fill("nowhere")
    page.get_by_role("button", name="Find").press("Enter")
    expect(page.get_by_text("No duplicates were found.")).to_be_visible()


def test_a_bank_is_made_filled_and_holds(
    page: Page, at: Desk, accessible: Accessible, tmp_path: Path
) -> None:
    page.goto(f"{at.url}/banks")
    expect(page.get_by_text("There is no bank yet.")).to_be_visible()
    sign_in(page, at, at.token("ada", "admin"), "/banks")
    page.get_by_label("Name", exact=True).fill("<b>logos")
    page.get_by_label("A match is").select_option("refused")
    page.get_by_label("Within bits").fill("0")
    page.get_by_role("button", name="Make it").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("<b>logos")
    expect(page.get_by_role("status")).to_contain_text("nothing is kept, and the sender is told so")
    data = encode(photo(480, 360, 7), "JPEG")
    (tmp_path / "list.csv").write_text(f"kind,value\nsha256,{hashlib.sha256(data).hexdigest()}\nmd5,no\n")
    page.get_by_label("List of hashes").set_input_files(tmp_path / "list.csv")
    page.get_by_role("button", name="Import").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("2 lines read, 1 entries changed, 1 refused.")
    page.get_by_label("Kind").select_option(at.store.algorithm.name)
    page.get_by_label("Value").fill("0f" * 8)
    page.get_by_label("Label").fill("Acme <i>")
    page.get_by_label("Severity").fill("7")
    page.get_by_label("Expires").fill("2020-01-01")
    page.get_by_role("button", name="Put in").press("Enter")
    row = page.get_by_role("row", name=re.compile("Acme <i>"))
    expect(row).to_contain_text("7")
    expect(row).to_contain_text("expired")
    accessible(page)
    for width in (360, 390, 768, 1440):
        assert not overflows(page, width)
    row.get_by_role("button", name="Take out Acme <i>").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("is no longer in it.")
    expect(row).to_have_count(0)
    page.get_by_role("link", name="Banks").first.click()
    listed = page.get_by_role("row").filter(has_text="<b>logos")
    expect(listed).to_contain_text("refused")
    accessible(page)
    for width in (360, 390, 768, 1440):
        assert not overflows(page, width)
    refused = at.server.client.post("/api/dhash", content=data)
    assert refused.json()["type"] == "/problems/refused-by-bank"
