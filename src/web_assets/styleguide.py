"""A page that shows every part that pages are made of, for whoever works on them."""

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from web_assets.contrast import Pairing, pairings
from web_assets.icons import icon, icons

HERE = Path(__file__).parent


def styleguide(asset: Callable[[str], str]) -> str:
    """The page; `asset` gives the address of a static file."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    measured: dict[str, list[Pairing]] = pairings((HERE / "base.css").read_text())
    return environment.get_template("styleguide.html").render(
        asset=asset, icon=icon, icons=icons(), contrasts=measured
    )
