"""The icons of both programs' pages: files of the vendored set, put into a page as they are."""

import re
from functools import cache
from pathlib import Path

from markupsafe import Markup

FOLDER = Path(__file__).parent / "vendor" / "lucide"
OPENING = re.compile(r".*?<svg\b[^>]*>", re.DOTALL)


@cache
def icon(name: str) -> Markup:
    """An icon of the text's colour and size, which whoever hears the page is not told of.

    Raises `FileNotFoundError` for one that is not in the set.
    """
    inside = OPENING.sub("", (FOLDER / f"{name}.svg").read_text(), count=1)
    return Markup(f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">{" ".join(inside.split())}')


def icons() -> list[str]:
    """The names of all icons."""
    return sorted(path.stem for path in FOLDER.glob("*.svg"))
