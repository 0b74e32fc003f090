"""The feed of changes by which an index follows a store, read from one position to the next.

The store implements `FingerprintFeed`, the follower reads it; neither knows the other.
"""

import threading
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a feed. Only the feed that made it knows what the marks mean."""

    marks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes in a store between two positions.

    `keys` (int64[N]) and `values` (uint64[N]) are the fingerprints that became visible: new ones, and hidden
    ones that were brought back. `removed` (int64[M]) are the keys that were hidden. No key stands in both,
    and a key keeps its value for life. Reading on from `position` gives what changed after.

    `restarted` says why reading on was not possible: the database is not the one that it was, as after a
    failover. Then this is all there is, and keys may stand for other values than before. `continued` says how
    it became another that has all that was read: then this is what came since, as ever.
    """

    keys: NDArray[np.int64]
    values: NDArray[np.uint64]
    removed: NDArray[np.int64]
    position: Position
    restarted: str | None = None
    continued: str | None = None

    def __len__(self) -> int:
        return len(self.keys) + len(self.removed)


class FingerprintFeed(Protocol):
    """The fingerprints of one store, all of one algorithm, in the order they became visible."""

    def changes(self, after: Position | None) -> Changes:
        """Everything that changed after the position; after None, everything that is visible.

        Complete: a row committed before the call is in this answer or an earlier one, whoever wrote it. It
        may repeat rows already given (where commit order is not key order, overlapping is how nothing is
        missed); applying them again changes nothing. Called from one thread at a time, which need not be the
        same each time. Raises `StoreError` when the store cannot be read; the position stays good.
        """
        ...

    def version(self) -> int | None:
        """A number that changes with every commit of anybody, asked in microseconds and without waiting.

        None where no such number is at hand.
        """
        ...


class Bell:
    """Wakes the one thread that waits for changes: here, only when somebody here rings."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        """End the wait that is under way, or the next one."""
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or when there may be something to read."""
        self._event.wait(seconds)
        self._event.clear()

    def close(self) -> None:
        """Let go of what it listens with; nobody waits any more."""
