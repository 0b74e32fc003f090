"""When each line of the journal was really written, whatever the clocks of those who wrote it say."""

import threading
import time
from typing import Any

from chaos.stack import Event, Stack

LOOK_SECONDS = 0.02


class Observer:
    """Reads the journal from `with Observer(…)` until the block ends. `seen` has events with their time."""

    def __init__(self, stack: Stack) -> None:
        self.seen: list[tuple[float, Event]] = []
        self._stack = stack
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Observer":
        self._last = self._stack.last_sequence()
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()
        self._take()

    def _look(self) -> None:
        stamp: tuple[int, ...] = ()
        while not self._over.wait(LOOK_SECONDS):
            if stamp != (now := self._stack.journal_stamp()):
                stamp = now
                self._take()

    def _take(self) -> None:
        for event in self._stack.events(after=self._last):
            self.seen.append((time.time(), event))
            self._last = event.sequence

    def first(self, kind: str, name: str) -> float | None:
        return next((at for at, event in self.seen if (event.kind, event.name) == (kind, name)), None)

    def last_of(self, kind: str) -> float | None:
        return next((at for at, event in reversed(self.seen) if event.kind == kind), None)
