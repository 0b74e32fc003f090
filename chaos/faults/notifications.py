"""Whoever is to be told does not listen."""

from collections.abc import Iterator

from chaos.faults.base import Scene
from chaos.plan import Fault


def go_silent(scene: Scene, fault: Fault) -> Iterator[str]:
    scene.receiver.down = True
    yield "answers 503"
    scene.receiver.down = False
