"""What clients got in the last half hour, whether a rollout is watched or not: from the edge's log alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guarded_rollout.config.environments import Environment
from guarded_rollout.gates.statistics import quantile
from guarded_rollout.monitor.edge_log import EDGES, FAILED, REQUESTS, SECONDS, EdgeCounts, EdgeLog
from guarded_rollout.monitor.targets import edge_log_of

STEP_SECONDS = 15  # that a point covers
STEPS = 120
NEWEST_BYTES = 10_000_000  # of the log, read at a time: some 40,000 requests
WIDTH, HEIGHT = 240.0, 40.0  # of a line's drawing


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """A quarter of a minute: requests a second, and None where none was answered: failures in percent, p95
    in milliseconds."""

    rate: float
    failed: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class TrendLine:
    """A title, the newest value in words, and the points of polylines, broken where nothing is known."""

    title: str
    latest: str
    lines: Sequence[str]
    tone: str = ""


class EdgeTrend(EdgeLog):
    """Counts the edge's log by quarters of a minute, both slots together; `newest` bytes of it at a time."""

    def __init__(self, environment: Environment, *, newest: int = NEWEST_BYTES) -> None:
        log = edge_log_of(environment)
        super().__init__(log.path, log.routes, log.slots, newest=newest)
        self.begin(0.0)
        self._steps: dict[int, dict[str, EdgeCounts]] = {}
        self._over: dict[int, TrendPoint] = {}  # of steps that no line comes to any more

    def _counting(self, at: float) -> dict[str, EdgeCounts]:
        step = int(at // STEP_SECONDS)
        if step not in self._steps:
            self._steps[step] = {slot: EdgeCounts() for slot in self.slots.values()}
        return self._steps[step]

    def points(self, now: float) -> tuple[TrendPoint, ...]:
        """Read on, and return half an hour up to now; empty where there is no log."""
        with self._lock:
            try:
                self._read_on()
            except OSError:
                return ()
            last = int(now // STEP_SECONDS)
            for kept in (self._steps, self._over):
                for step in [step for step in kept if step < last - STEPS]:
                    del kept[step]
            found = []
            for step in range(last - STEPS, last):
                one = self._over.get(step) or point(list(self._steps.get(step, {}).values()))
                found.append(one)
                if step < last - 1:
                    self._over[step] = one
            return tuple(found)


def point(counts: Sequence[EdgeCounts]) -> TrendPoint:
    """The point that the counts of all slots make."""
    requests = sum(one.counters[REQUESTS] for one in counts)
    failed = sum(one.counters[FAILED] for one in counts)
    return TrendPoint(requests / STEP_SECONDS, 100 * failed / requests if requests else None, p95(counts))


def p95(counts: Sequence[EdgeCounts]) -> float | None:
    """The 95th percentile of all answers, in milliseconds; None where there is none."""
    if not counts:
        return None
    histograms = [one.histograms()[SECONDS].counts for one in counts]
    together = [sum(values) for values in zip(*histograms, strict=True)]
    found = quantile(0.95, EDGES, together)
    return None if found is None else found.value * 1000


def drawn(points: Sequence[TrendPoint]) -> tuple[TrendLine, ...]:
    """The lines of an environment: requests, failures, latency. None where there were no requests at all."""
    if not any(one.rate for one in points):
        return ()
    newest = next(one for one in reversed(points) if one.rate)
    rates, failures = [one.rate for one in points], [one.failed for one in points]
    latencies = [one.p95 for one in points]
    failed = newest.failed or 0.0
    return (
        TrendLine("Requests", f"{points[-1].rate:.1f}/s", tuple(polylines(rates))),
        TrendLine(
            "Failures", f"{failed:.2g} %", tuple(polylines(failures, least=1.0)), "bad" if failed >= 1 else ""
        ),
        TrendLine("p95", "–" if newest.p95 is None else f"{newest.p95:,.0f} ms", tuple(polylines(latencies))),
    )


def polylines(values: Sequence[float | None], least: float = 0.0) -> Iterator[str]:
    """The points of each stretch without a gap, as SVG has them. `least` is the least top of the scale."""
    top = max([least, *(value for value in values if value is not None)]) or 1.0
    stretch: list[str] = []
    for place, value in enumerate([*values, None]):
        if value is not None:
            x, y = WIDTH * place / max(1, len(values) - 1), HEIGHT - (HEIGHT - 2) * value / top - 1
            stretch.append(f"{x:.0f},{y:.1f}")
        elif stretch:
            yield " ".join(stretch if len(stretch) > 1 else stretch * 2)
            stretch = []
