"""The parts that all pages are made of: their contrast as measured, their icons, and the page of them."""

import pytest

from web_assets import Assets, icon, styleguide
from web_assets.assets import SHARED
from web_assets.contrast import contrast, pairings
from web_assets.icons import icons

CSS = (SHARED / "base.css").read_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_can_be_read_on_what_it_stands_on(theme: str) -> None:
    pairs = pairings(CSS)[theme]
    assert len(pairs) > 20
    assert [pair for pair in pairs if pair.ratio < pair.least] == []


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == 21
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the usual example of too little
    faint = CSS.replace("--muted: #4f5762", "--muted: #8f9792")
    assert [pair.colour for pair in pairings(faint)["light"] if pair.ratio < pair.least] == ["muted"] * 4


def test_the_style_guide_shows_every_icon_and_every_shared_class() -> None:
    page = styleguide(Assets(SHARED).url)
    for name in icons():
        assert icon(name) in page
    for part in ("chip", "badge good", "notice bad", "empty", "loading", "toast", "card", "release", "facts"):
        assert f'class="{part}' in page
    assert "<style" not in page
    assert "<script>" not in page
    with pytest.raises(FileNotFoundError):
        icon("nothing")
