"""Where copies and the stream go is not there: a disk that is not mounted, or one that takes nothing."""

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

from chaos.faults.base import Scene
from chaos.plan import Fault


def vanish(scene: Scene, fault: Fault) -> Iterator[str]:
    """An empty folder stands there, as where a disk is not mounted; what is written into it is lost."""
    place = scene.stack.place_of(fault.target)
    place.rename(aside := _aside(place))
    place.mkdir()
    yield str(place)
    place.rename(below := place.with_name(f"{place.name}-below"))  # somebody may be writing there
    aside.rename(place)
    rmtree(below, ignore_errors=True)


def refuse(scene: Scene, fault: Fault) -> Iterator[str]:
    """Nothing can be read or written there."""
    place = scene.stack.place_of(fault.target)
    place.rename(aside := _aside(place))
    place.write_text("no folder any more")
    yield str(place)
    place.unlink()
    aside.rename(place)


def _aside(place: Path) -> Path:
    return place.with_name(f"{place.name}-away")
