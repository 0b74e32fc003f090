"""Differences of cumulative counters over the last seconds, at a cost that does not depend on how many."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add, lt, sub

Values = tuple[float, ...]

RESOLUTION = 1000  # entries kept per window, at most: closer ones replace each other


@dataclass(frozen=True, slots=True)
class Difference:
    """The counts of a window: `values` over `seconds`; `full` if the whole window was seen."""

    values: Values = ()
    seconds: float = 0.0
    full: bool = False

    @property
    def samples(self) -> float:
        """How many there are by the last counter, which counts all of them."""
        return self.values[-1] if self.values else 0.0


class RunningTotals:
    """Running totals over the last `seconds`; after a gap longer than that the window begins again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: deque[tuple[float, Values]] = deque()

    @property
    def newest(self) -> tuple[float, Values] | None:
        """The newest entry: when, and the totals."""
        return self._entries[-1] if self._entries else None

    def append(self, at: float, totals: Values) -> None:
        """Add an entry, newer than all before."""
        entries = self._entries
        if entries and at - entries[-1][0] > self._seconds:
            entries.clear()
        if len(entries) > 2 and at - entries[-2][0] < self._seconds / RESOLUTION:
            entries.pop()
        entries.append((at, totals))
        self._forget(at)

    def difference(self, now: float, since: float = -math.inf) -> Difference:
        """Return what was added in the window that ends now, or in its part from `since` on."""
        self._forget(now)
        if not self._entries:
            return Difference()
        begin, base = self._entries[0]
        if since > begin:
            begin, base = next((one for one in reversed(self._entries) if one[0] <= since), (begin, base))
        end, totals = self._entries[-1]
        return Difference(_minus(totals, base), end - begin, full=self._entries[0][0] <= now - self._seconds)

    def last_added(self, now: float) -> float:
        """Return what was added of the last value in the window that ends now; 0 where there is nothing."""
        self._forget(now)
        return self._entries[-1][1][-1] - self._entries[0][1][-1] if self._entries else 0.0

    def clear(self) -> None:
        self._entries.clear()

    def _forget(self, now: float) -> None:
        while len(self._entries) > 1 and self._entries[1][0] <= now - self._seconds:
            self._entries.popleft()


class CounterWindow:
    """Several cumulative counters of one process, read now and then.

    An increment belongs to the moment at which it was read, so missed polls lose nothing. When a counter
    falls or the process changes, all have begun again at zero. A reading older than the newest is left out.
    """

    def __init__(self, seconds: float) -> None:
        self._window = RunningTotals(seconds)
        self._raw: Values = ()
        self._started_at: float | None = None

    def take(self, at: float, values: Sequence[float], started_at: float | None = None) -> Values | None:
        """Add a reading; return what was counted since the one before, None if there is none."""
        raw, newest = tuple(values), self._window.newest
        if newest is None or len(raw) != len(self._raw):
            self._window.clear()
            self._window.append(at, raw)
            self._raw, self._started_at = raw, started_at
            return None
        last, totals = newest
        if at <= last:
            return None
        increment = raw if self._began_again(raw, started_at) else _minus(raw, self._raw)
        self._window.append(at, tuple(map(add, totals, increment)))
        self._raw, self._started_at = raw, started_at
        return increment

    def difference(self, now: float, since: float = -math.inf) -> Difference:
        """Return what was counted in the window that ends now, or in its part from `since` on."""
        return self._window.difference(now, since)

    def last_counted(self, now: float) -> float:
        """Return what was counted by the last counter alone, which costs nothing where there are many."""
        return self._window.last_added(now)

    def _began_again(self, raw: Values, started_at: float | None) -> bool:
        another = started_at is not None and self._started_at is not None and started_at != self._started_at
        return another or any(map(lt, raw, self._raw))


class AverageWindow:
    """A gauge averaged by time: each value stands for the time since the reading before it."""

    def __init__(self, seconds: float) -> None:
        self._window = RunningTotals(seconds)

    def take(self, at: float, value: float) -> None:
        """Add a reading; one that is older than the newest is left out."""
        newest = self._window.newest
        if newest is None:
            self._window.append(at, (0.0, 0.0))
        elif at > newest[0]:
            last, (integral, readings) = newest
            self._window.append(at, (integral + value * (at - last), readings + 1))

    def average(self, now: float) -> tuple[float, Difference]:
        """Return the average over the window that ends now, and the window with its number of readings."""
        found = self._window.difference(now)
        if not found.values:
            return 0.0, Difference((0.0,))
        integral, readings = found.values
        average = integral / found.seconds if found.seconds else 0.0
        return average, Difference((readings,), found.seconds, found.full)


def _minus(left: Values, right: Values) -> Values:
    return tuple(map(sub, left, right))
