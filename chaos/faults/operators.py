"""Somebody else has the same idea at the same time, or another one; and a terminal that goes away."""

from collections.abc import Iterator

from chaos.faults.base import Scene
from chaos.operating import Operator
from chaos.plan import Fault


def come_in(scene: Scene, fault: Fault) -> Iterator[str]:
    """A second operator looks around and rolls out as well."""
    second = Operator(scene.stack, scene.operator.transcripts, scene.operator.typed)
    second.type("status", "--json")
    typed = second.type(*scene.words)
    yield str(typed)


def abort(scene: Scene, fault: Fault) -> Iterator[str]:
    """A second operator takes back what the first one rolls out."""
    second = Operator(scene.stack, scene.operator.transcripts, scene.operator.typed)
    yield str(second.type("abort", "--why", "somebody complained"))


def break_pipe(scene: Scene, fault: Fault) -> Iterator[str]:
    """The command's output goes nowhere any more, as in `rollout up | head -n 3`."""
    if scene.operator.break_pipe():
        yield "nobody reads what the command prints"
