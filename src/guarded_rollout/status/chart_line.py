"""The values of one side over time, for a chart."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from guarded_rollout.gates.verdict import Verdict

if TYPE_CHECKING:
    from guarded_rollout.gates.samples import Side
    from guarded_rollout.gates.series import Point

MOST = 1500  # points kept of a line: a 60-minute window of 5 s samples has 720


class Dot(NamedTuple):
    """A point of a line, as sent to the page: unix time, the value (None: nothing measured)."""

    gate: str
    side: str
    at: float
    value: float | None


@dataclass(slots=True)
class ChartLine:
    """The values of a gate, or of the edge's log, for one side, with their extremes."""

    at: list[float] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    lowest: float | None = None
    highest: float | None = None
    latest: Verdict | None = None

    def take(self, point: "Point") -> Dot:
        """Add a judged point."""
        self.latest = point.verdict
        return self.add(point.verdict.gate, point.side, point.at, point.verdict.value)

    def add(self, name: str, side: "Side", at: float, exact: float | None) -> Dot:
        """Add a point to the line of this name; the older half is thinned when there are too many."""
        value = None if exact is None else float(f"{exact:.4g}")
        self.at.append(round(at, 1))
        self.values.append(value)
        if value is not None:
            self.lowest = value if self.lowest is None else min(value, self.lowest)
            self.highest = value if self.highest is None else max(value, self.highest)
        if len(self.at) > MOST:
            del self.at[: MOST // 2 : 2], self.values[: MOST // 2 : 2]
        return Dot(name, side.value, self.at[-1], value)
