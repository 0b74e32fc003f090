"""Somebody else has the same idea at the same time."""

from collections.abc import Iterator

from chaos.draw import Fault
from chaos.faults.base import Scene
from chaos.operating import Operator


def come_in(scene: Scene, fault: Fault) -> Iterator[str]:
    """A second operator looks around and rolls out as well."""
    second = Operator(scene.stack, scene.operator.transcripts, scene.operator.typed)
    second.type("status", "--json")
    typed = second.type(*scene.words)
    yield str(typed)
