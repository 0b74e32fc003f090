"""The API's documentation in a browser."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import overflows
from tests.dhash_service.serving import serving


def test_the_api_is_explained_without_another_host(
    page: Page, tmp_path: Path, accessible: Callable[[Page], None]
) -> None:
    with serving(tmp_path) as server:
        sent = page.request.get(f"{server.url}/docs", headers={"Accept-Encoding": "gzip"})
        assert int(sent.headers["content-length"]) < 40_000
        page.goto(f"{server.url}/")
        page.get_by_role("link", name="API", exact=True).first.click()
        submit = page.locator("#submit_picture")
        submit.locator("summary").first.press("Enter")
        expect(submit).to_contain_text("false only looks up: nothing is kept")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        submit.get_by_role("button", name="Copy curl").click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == f"curl --data-binary @picture.jpg {server.url}/api/dhash"
        accessible(page)
        submit.get_by_role("link", name="Submitted").first.click()
        expect(page.locator("#Submitted")).to_be_in_viewport()
        assert not overflows(page)
