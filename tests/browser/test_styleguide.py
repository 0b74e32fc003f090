"""The style guide as a browser draws it, beside the picture of it that is kept."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.browser.conftest import overflows
from tests.dhash_service.serving import Server, serving

KEPT = Path(__file__).parents[2] / "docs" / "screenshots"
SIZE = {"width": 1180, "height": 860}
CELL = 20  # px: below it fonts of another machine differ
TOLERANCE = 24  # of 255, of a cell's mean
MOST_DIFFERING = 0.03  # of all cells


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("guide"), release="development") as running:
        yield running


def differing(shown: bytes, kept: Path) -> float:
    """The share of cells that differ between two pictures of a page."""
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in (shown, kept.read_bytes())]
    assert abs(pictures[0].height - pictures[1].height) < 0.05 * pictures[1].height
    size = (pictures[1].width // CELL, pictures[1].height // CELL)
    drawn, expected = (np.asarray(each.resize(size, Image.Resampling.BOX), np.int16) for each in pictures)
    return float((np.abs(drawn - expected).max(axis=2) > TOLERANCE).mean())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_style_guide_looks_as_it_is_kept(page: Page, server: Server, scheme: str) -> None:
    page.set_viewport_size(SIZE)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(f"{server.url}/styleguide", wait_until="networkidle")
    kept = KEPT / f"styleguide-{scheme}.webp"
    assert differing(page.screenshot(full_page=True), kept) < MOST_DIFFERING
    # A wrong token is seen.
    page.evaluate("document.documentElement.style.setProperty('--raised', '#ff8800')")
    assert differing(page.screenshot(full_page=True), kept) > MOST_DIFFERING


def test_the_style_guide_is_accessible_fits_a_phone_and_is_there_in_development_alone(
    page: Page, server: Server, accessible: Callable[[Page], None], tmp_path: Path
) -> None:
    page.goto(f"{server.url}/styleguide")
    accessible(page)
    for width in (360, 768):
        assert not overflows(page, width)
    with serving(tmp_path, release="1.0.0") as released:
        assert released.client.get("/styleguide").status_code == 404
