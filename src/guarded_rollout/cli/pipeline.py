"""A rollout at work, drawn on a terminal: steps, shares, gates; as `rollout status --watch` draws it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from guarded_rollout.cli.session import Session
from guarded_rollout.config.gates import EnvironmentGates, gates_of
from guarded_rollout.display import Display
from guarded_rollout.errors import RolloutError
from guarded_rollout.status.snapshot import Reader
from guarded_rollout.status.terminal import Terminal, above, below, verdicts_of

REFRESH_SECONDS = 0.5


class AboveDrawing(Display):
    """Prints lines above what is drawn."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(drops=True)
        self._terminal = terminal

    def show(self, line: str, *, err: bool = False) -> None:
        self._terminal.print(Text(line))


@contextmanager
def drawn(work: Session) -> Iterator[None]:
    """Draw the environment during the block. Elsewhere than on a terminal nothing is drawn.

    Where a gate may ask a question, the terminal is left to that.
    """
    console, config = Console(), _gates_of(work)
    asks = config is None or config.auto_rollback.confirmation_required
    if work.out.as_json or asks or not console.is_terminal or console.is_dumb_terminal:
        yield
        return
    before, over = work.out.display, threading.Event()
    with Terminal(console) as terminal:
        work.out.display = AboveDrawing(terminal)
        drawing = threading.Thread(target=_draw, args=(work, config, terminal, over), daemon=True)
        drawing.start()
        try:
            yield
        finally:
            over.set()
            drawing.join(2)  # a terminal that takes nothing must not hold the rollout up
            work.out.display = before


def _draw(work: Session, config: EnvironmentGates, terminal: Terminal, over: threading.Event) -> None:
    reader = Reader(work.environment, work.site.clock)
    try:
        while not over.wait(REFRESH_SECONDS):
            seen = reader.read()
            terminal.show(verdicts_of(seen), above(seen, config, terminal.width), [*below(seen)])
    finally:
        reader.close()


def _gates_of(work: Session) -> EnvironmentGates | None:
    try:
        return gates_of(work.environment)
    except RolloutError:
        return None  # the rollout will say so
