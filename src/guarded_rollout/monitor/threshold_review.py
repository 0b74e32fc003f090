"""Each gate's limit against what the last windows really saw: the guide's threshold review."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from guarded_rollout.logs import JUDGED, LogLine, open_log, parse
from guarded_rollout.rotation import session_logs

CLOSE = 0.8  # a limit that healthy windows come this near will soon cry wolf
WIDE = 0.1  # and one that they never come this near may notice little


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One gate over some windows. `median` and `most` are in the gate's unit."""

    gate: str
    unit: str
    limit: float
    windows: int
    judged: int
    failed: int
    undecided: int
    median: float | None
    most: float | None

    @property
    def advice(self) -> str:
        """The conclusion for an operator."""
        if self.most is None:
            return "never had enough samples: lower min_sample_size, or look further back"
        if self.failed:
            return "failed: `rollout gates replay` shows when, and what other limits would have done"
        if self.limit and self.most > CLOSE * self.limit:
            return f"came within {100 * (1 - self.most / self.limit):.0f} % of the limit without failing"
        if self.limit and self.most < WIDE * self.limit:
            return "never came near: a lower limit would notice more"
        return "fits"


def review(sessions: Sequence[Iterable[LogLine]]) -> list[Reviewed]:
    """Sum up each gate over these monitoring sessions, by name. Pure."""
    seen: defaultdict[str, list[tuple[int, LogLine]]] = defaultdict(list)
    for number, lines in enumerate(sessions):
        for line in lines:
            if line.message.startswith(JUDGED) and isinstance(line.data.get("gate"), str):
                seen[line.data["gate"]].append((number, line))
    return [_reviewed(gate, judged) for gate, judged in sorted(seen.items())]


def _reviewed(gate: str, judged: list[tuple[int, LogLine]]) -> Reviewed:
    data = [line.data for _, line in judged]
    values = sorted(
        float(each["actual_value"])
        for each in data
        if each.get("verdict") in ("pass", "fail") and "actual_value" in each
    )
    newest = data[-1]
    return Reviewed(
        gate=gate,
        unit=str(newest.get("unit", "")),
        limit=float(newest.get("threshold", 0.0)),
        windows=len({number for number, _ in judged}),
        judged=len(values),
        failed=sum(each.get("news") == "failed" for each in data),
        undecided=sum(each.get("verdict") in ("insufficient", "no_data") for each in data),
        median=values[len(values) // 2] if values else None,
        most=values[-1] if values else None,
    )


def newest_sessions(folder: Path, service: str, environment: str, number: int) -> list[Path]:
    """Return the newest monitoring logs of an environment, the compressed ones too."""
    return session_logs(folder, environment, service)[-number:]


def lines_of(path: Path) -> Iterator[LogLine]:
    """Yield the lines of a log about gates."""
    with open_log(path) as file:
        for text in file:
            if JUDGED in text and (line := parse(text)) is not None:
                yield line


def as_json(reviewed: Sequence[Reviewed]) -> list[dict[str, object]]:
    """Return rows for programs."""
    names = ("gate", "unit", "limit", "windows", "judged", "failed", "undecided", "median", "most", "advice")
    rows = ({name: getattr(one, name) for name in names} for one in reviewed)
    return [json.loads(json.dumps(row)) for row in rows]
