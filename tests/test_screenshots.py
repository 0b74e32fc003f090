"""The pictures in the docs: small, where the docs say, and none that nothing takes any more."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PICTURES = sorted((ROOT / "docs" / "screenshots").glob("*"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PICTURE = r"(?:!\[[^\]]*\]\(|<img [^>]*src=\"|srcset=\")([^)\"\s]+\.(?:png|webp))"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_picture_that_a_document_shows_is_there(document: Path) -> None:
    shown = re.findall(
        r"(?:!\[[^\]]*\]\(|<img [^>]*src=\"|srcset=\")([^)\"\s]+\.(?:png|webp))", document.read_text()
    )
    assert [name for name in shown if not (document.parent / name).is_file()] == []


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_is_small_and_is_taken_by_make_screenshots(picture: Path) -> None:
    assert picture.suffix == ".webp"
    assert picture.stat().st_size <= 100 * 1024
    name, _, scheme = picture.stem.rpartition("-")
    assert scheme in ("light", "dark")
    assert f'"{name}"' in (ROOT / "bench" / "screenshots.py").read_text()
