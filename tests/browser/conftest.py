"""A real Chromium, and what every page is held to.

All of it is the system lane's (`make test-system`), because a machine may have no browser.
"""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

# Without these Chromium asks hosts of its own for updates, and a closed network slows every start.
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)
PATIENCE = 20_000  # ms for what comes within some hundred on a machine of our own
expect.set_options(timeout=PATIENCE)

WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
"""The rules of axe-core that make up WCAG 2.2 AA."""


def chromium() -> str | None:
    """The browser of this machine: ``CHROMIUM``, or the first of the usual names."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def launch(playwright: Playwright) -> Browser:
    """This machine's Chromium, started."""
    program = chromium()
    assert program, "no Chromium: apt install chromium, or say which with CHROMIUM=/path"
    sandbox = os.geteuid() != 0  # Chromium refuses to sandbox itself as root
    return playwright.chromium.launch(executable_path=program, args=list(QUIET), chromium_sandbox=sandbox)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of a worker; each test has a context, so cookies never mix."""
    with sync_playwright() as playwright, launch(playwright) as found:
        yield found


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser window's worth of cookies and storage. A page that asks another host fails its test."""
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        strangers: list[str] = []
        context.on("request", lambda request: note_stranger(request.url, strangers))
        yield context
        assert strangers == [], "a page asked another host"


def note_stranger(url: str, strangers: list[str]) -> None:
    """Remember an address that is not on this machine."""
    if not url.startswith(("http://127.0.0.1:", "http://localhost:", "data:", "blob:", "about:")):
        strangers.append(url)


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """An empty page. A script error or a refused script on it fails the test."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None,
    )
    yield page
    assert errors == []


@pytest.fixture
def accessible() -> Callable[[Page], None]:
    """Assert that axe-core finds no violation of WCAG 2.2 AA on a page, in light and in dark."""

    def check(page: Page) -> None:
        for scheme in ("light", "dark"):
            # At rest: the contrast of what is just fading in is that of no moment a reader reads at.
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            result = Axe().run(page, options={"runOnly": {"type": "tag", "values": list(WCAG)}})
            assert result.violations_count == 0, f"{scheme}: {result.generate_report()}"
        page.emulate_media(color_scheme="light", reduced_motion="no-preference")

    return check


def overflows(page: Page, width: int = 360) -> bool:
    """Whether the page scrolls sideways at this width in CSS pixels."""
    page.set_viewport_size({"width": width, "height": 800})
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
