"""The lines of a session's charts: computed once from its log, then followed as it grows."""

import math
from collections import deque
from pathlib import Path
from typing import Any
from uuid import uuid4

from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.gates.samples import Side
from guarded_rollout.gates.series import GateSeries
from guarded_rollout.logs import open_log, parse
from guarded_rollout.monitor.log import sample_of
from guarded_rollout.status.chart_line import ChartLine, Dot
from guarded_rollout.status.session_log import IS_SAMPLE, Tail
from guarded_rollout.ui.edge_lines import UNITS, EdgeLines

RECENT = 3000  # points that a page may have missed while it was away


class Charts:
    """The lines of one log by these gates. `epoch` tells two readings apart, `sequence` counts points.

    Samples after `until` (unix time) are left out.
    """

    def __init__(self, path: Path, gates: EnvironmentGates, began_at: float, until: float = math.inf) -> None:
        self.path = path
        self.gates = gates
        self._began_at, self._until = began_at, until
        self._tail = Tail(path)
        self._begin()

    def _begin(self) -> None:
        self.epoch = uuid4().hex[:8]
        self.sequence = 0
        self.lines: dict[str, dict[Side, ChartLine]] = {}
        self.edge = EdgeLines()
        self._series = GateSeries(self.gates.quality_gates.enabled(), self._began_at)
        self._recent: deque[tuple[int, Dot]] = deque(maxlen=RECENT)

    def advance(self) -> bool:
        """Read on in the log. Raises `OSError`."""
        lines, restarted = self._tail.gained()
        if restarted and self.sequence:
            self._begin()
        before = self.sequence
        for text in lines:
            self._take(text)
        return self.sequence != before

    def read_whole(self) -> None:
        """Take a log that is over; it may be compressed. Raises `OSError`, `EOFError`."""
        with open_log(self.path) as file:
            for text in file:
                self._take(text)

    def _take(self, text: str) -> None:
        if IS_SAMPLE not in text or (line := parse(text)) is None or (sample := sample_of(line)) is None:
            return
        if sample.at > self._until:
            return
        dots = self.edge.take(sample)
        for point in self._series.take(sample):
            drawn = self.lines.setdefault(point.verdict.gate, {}).setdefault(point.side, ChartLine())
            dots.append(drawn.take(point))
        for dot in dots:
            self.sequence += 1
            self._recent.append((self.sequence, dot))

    @property
    def cursor(self) -> str:
        """The cursor of a page that has every point."""
        return f"{self.epoch}-{self.sequence}"

    def since(self, cursor: str) -> list[Dot] | None:
        """Return the points after a cursor; None if it is unknown and the page must fetch all of them."""
        epoch, _, number = cursor.partition("-")
        if epoch != self.epoch or not number.isdigit():
            return None
        seen = int(number)
        if seen < self.sequence - len(self._recent) or seen > self.sequence:
            return None
        return [dot for sequence, dot in self._recent if sequence > seen]

    def whole(self) -> dict[str, Any]:
        """Return every line, for the page's script."""
        thresholds = {
            name: getattr(gate, "threshold", None) for name, gate in self.gates.quality_gates.enabled()
        }
        limits = {name: getattr(one, "limit", None) for name, one in thresholds.items()}
        units = dict(UNITS) | {
            name: next(iter(sides.values())).latest.unit  # type: ignore[union-attr]
            for name, sides in self.lines.items()
        }
        return {
            "cursor": self.cursor,
            "gates": {
                name: {
                    "limit": limits.get(name),
                    "unit": units[name],
                    **{side.value: [line.at, line.values] for side, line in sides.items()},
                }
                for name, sides in (self.edge.lines | self.lines).items()
            },
        }
