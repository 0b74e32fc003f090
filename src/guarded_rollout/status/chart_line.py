"""A gate's values for one side, for its chart."""

from dataclasses import dataclass, field
from typing import NamedTuple

from guarded_rollout.gates.series import Point
from guarded_rollout.gates.verdict import Verdict

MOST = 1500  # points kept of a line: a 60-minute window of 5 s samples has 720


class Dot(NamedTuple):
    """A point of a line, as sent to the page: unix time, the value (None: nothing measured)."""

    gate: str
    side: str
    at: float
    value: float | None


@dataclass(slots=True)
class ChartLine:
    """A gate's values for one side, with their extremes."""

    at: list[float] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    lowest: float | None = None
    highest: float | None = None
    latest: Verdict | None = None

    def take(self, point: Point) -> Dot:
        """Add a point; the older half is thinned when there are too many."""
        value = None if point.verdict.value is None else float(f"{point.verdict.value:.4g}")
        self.latest = point.verdict
        self.at.append(round(point.at, 1))
        self.values.append(value)
        if value is not None:
            self.lowest = value if self.lowest is None else min(value, self.lowest)
            self.highest = value if self.highest is None else max(value, self.highest)
        if len(self.at) > MOST:
            del self.at[: MOST // 2 : 2], self.values[: MOST // 2 : 2]
        return Dot(point.verdict.gate, point.side.value, self.at[-1], value)
