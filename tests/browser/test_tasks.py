"""Tasks as a new user would go about them, each in a bounded number of clicks or keys, on every width."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from dhash_service.store.added import AddedFilter
from guarded_rollout.host.release import short
from guarded_rollout.journal.model import RolloutOutcome
from tests.browser import dashboardkit
from tests.browser.conftest import PATIENCE, overflows
from tests.browser.files import File, drop
from tests.browser.reviewkit import Desk, desk, sign_in
from tests.guarded_rollout.manual_clock import ManualClock
from tests.guarded_rollout.ui.uikit import NEW, OLD, Place
from tests.pictures import encode, photo

WIDTHS = (390, 768, 1440)


@dataclass
class User:
    """Somebody at a page, whose clicks are counted; on a narrow one they tap."""

    page: Page
    clicks: int = 0

    def click(self, what: Locator) -> None:
        self.clicks += 1
        what.tap() if (self.page.viewport_size or {"width": 0})["width"] < 700 else what.click()


@pytest.fixture(params=WIDTHS)
def user(request: pytest.FixtureRequest, browser: Browser) -> Iterator[User]:
    width = int(request.param)
    size = {"width": width, "height": 844 if width < 700 else 900}
    scheme = "dark" if width == 768 else "light"
    with browser.new_context(viewport=size, has_touch=True, color_scheme=scheme) as context:  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        yield User(context.new_page())


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A service that knows a few pictures by name, one of them twice."""
    with desk(tmp_path_factory.mktemp("tasks"), 0) as running:
        kept = (("beach", 1, 90), ("beach-small", 1, 40), ("forest", 2, 90), ("alps", 3, 90))
        for name, seed, quality in kept:
            data = encode(photo(480, 360, seed), "JPEG", quality=quality)
            sent = running.server.client.post("/api/dhash", content=data, params={"name": f"{name}.jpg"})
            assert sent.status_code == 201
        yield running


def test_find_the_duplicate_of_this_picture_and_mark_it(user: User, at: Desk) -> None:
    page = user.page
    sign_in(page, at, at.token(f"tess-{(page.viewport_size or {})['width']}"), "/")
    drop(page, File("mine.jpg", encode(photo(480, 360, 1), "JPEG", quality=70)))
    sentence = page.locator(".sentence")
    expect(sentence).to_contain_text("beach")
    expect(page.locator("#answers .cards").first).to_be_visible()
    box = page.locator("#answers .known").first.bounding_box()
    assert box
    assert box["width"] >= (150 if page.viewport_size and page.viewport_size["width"] < 700 else 200)
    user.click(page.get_by_role("link", name="Duplicates"))
    group = page.get_by_role("region", name="2 pictures")
    expect(group.locator("li", has=page.get_by_role("radio", checked=True))).to_contain_text("beach.jpg")
    user.click(group.get_by_role("button", name="Same"))
    expect(group.locator(".badge")).to_have_text("same")
    assert user.clicks <= 2
    assert not overflows(page, (page.viewport_size or {"width": 390})["width"])


def test_find_a_picture_by_its_name_and_see_it_whole(user: User, at: Desk) -> None:
    page = user.page
    page.goto(at.url)
    page.get_by_label("Hash, id or name").fill("forest")
    page.keyboard.press("Enter")
    expect(page.locator("#results-title")).to_have_text("Named “forest”")
    expect(page.locator("#results .known")).to_have_count(1)
    user.click(page.locator("#results .known"))
    expect(page.get_by_role("heading", level=1)).to_have_text("forest.jpg")
    id = page.url.rpartition("/")[2]
    page.goto(f"{at.url}/?q={id}")  # and its id leads there too
    expect(page.get_by_role("heading", level=1)).to_have_text("forest.jpg")
    assert user.clicks <= 1


def test_browse_what_was_added_by_tag_bank_and_day(user: User, tmp_path: Path) -> None:
    with desk(tmp_path, 0) as at:
        for name, seed in (("sea", 11), ("hill", 12)):
            data = encode(photo(320, 240, seed), "JPEG")
            words = {"name": name, "tag": f"of-{name}"}
            sent = at.server.client.post("/api/dhash", content=data, params=words)
            assert sent.status_code == 201
        admin = at.server.token("ada", "admin")
        at.server.client.put("/api/dhash/banks/coast", json={"action": "told", "radius": 2}, headers=admin)
        sea = at.store.added.page(AddedFilter(name="sea")).images[0]
        listed = f"kind,value\n{at.store.algorithm.name},{sea.fingerprint.hex}\n"
        at.server.client.post("/api/dhash/banks/coast/entries", content=listed, headers=admin)
        page = user.page
        page.goto(at.url)
        expect(page.locator("#results .known .names")).to_have_text(["hill", "sea"])
        user.click(page.get_by_text("Filter", exact=True).first)
        page.get_by_label("Tag").select_option("of-hill")
        user.click(page.get_by_role("button", name="Filter"))
        expect(page.locator("#results .known .names")).to_have_text(["hill"])
        page.get_by_label("Tag").select_option("")
        page.get_by_label("Bank").select_option("coast")
        user.click(page.get_by_role("button", name="Filter"))
        expect(page.locator("#results .known .names")).to_have_text(["sea"])
        page.get_by_label("To", exact=True).fill("2020-01-01")
        user.click(page.get_by_role("button", name="Filter"))
        expect(page.locator("#results .empty")).to_contain_text("No picture fits.")
        assert user.clicks <= 4


def test_why_was_the_last_rollout_taken_back(user: User, tmp_path: Path) -> None:
    place = Place(tmp_path, ManualClock())
    try:
        rollout = place.watched(why="faster")
        place.journal.note(rollout, "undoing", cause="extraction_failure_rate failed: 31 % (limit 5 %)")
        place.journal.end(rollout, RolloutOutcome.ROLLED_BACK, "a gate failed")
        with dashboardkit.dashboard(tmp_path) as running:
            page = user.page
            page.goto(running.address)
            card = page.locator(".environment").filter(has=page.get_by_role("heading", name="production"))
            user.click(card.get_by_role("link", name="rolled back").first)
            expect(page.get_by_role("heading", level=1)).to_have_text(f"{short(NEW)} was taken back")
            expect(page.locator(".headline")).to_contain_text("extraction_failure_rate failed: 31 %")
            expect(page.locator("dl.facts code").first).to_have_attribute("title", OLD)
            user.click(page.get_by_role("link", name="Report as Markdown"))
            assert user.clicks <= 2
    finally:
        place.close()
