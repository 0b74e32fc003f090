"""The gates on a terminal: each against its limit, with its newest values."""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from guarded_rollout.gates.verdict import GateOutcome, Verdict
from guarded_rollout.status.rows import OUTCOMES

BARS = "▁▂▃▄▅▆▇█"
REMEMBERED = 24  # values of each gate, for its sparkline
ROOM_FOR_REASONS = 40  # columns that a reason needs beside its gate, or it gets a line of its own
NARROW = 80  # columns below which a measurement is told in as few signs as it can be
WORD = max(len(shown.words) for shown in OUTCOMES.values())
URGENCY = (GateOutcome.FAIL, GateOutcome.NO_DATA, GateOutcome.INSUFFICIENT)
"""The outcomes whose reason is shown first where there are not lines enough for all."""
STYLES = {
    "good": "green",
    "bad": "bold red",
    "warn": "yellow",
    "accent": "cyan",
    "muted": "dim",
    "": "default",
}
"""A terminal's style for each tone."""


class Trail:
    """The newest values of each gate, as verdicts come."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._newest: dict[str, Verdict] = {}

    def take(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            if self._newest.get(verdict.gate) != verdict:
                self._newest[verdict.gate] = verdict
                if verdict.value is not None:
                    self._values[verdict.gate].append(verdict.value)

    def line(self, gate: str, length: int) -> str:
        """The last of them as blocks."""
        return sparkline(list(self._values[gate])[-length:] if length > 0 else [])


@dataclass(frozen=True, slots=True)
class Columns:
    """The width of each part of a gate's line; 0 leaves it out."""

    word: int
    name: int
    measured: int
    trail: int
    reason: int
    narrow: bool = False

    def said(self, verdict: Verdict) -> str:
        """The measurement, in as many words as there is room for."""
        return verdict.short if self.narrow else verdict.measured


def columns_for(width: int, verdicts: Sequence[Verdict]) -> Columns:
    """Fit a gate's line into so many columns: the mark, the name and the value first, then the rest."""
    name = min(max((len(one.gate) for one in verdicts), default=0), 28)
    narrow = width < NARROW
    measured = max((len(one.short if narrow else one.measured) for one in verdicts), default=0)
    left = width - 2 - name - measured - 4
    word = WORD if left >= WORD + 8 + 4 else 0
    left -= word + 2 if word else 0
    trail = min(REMEMBERED, left) if left >= 8 else 0
    reason = left - trail - 2
    return Columns(word, name, measured, trail, reason if reason >= ROOM_FOR_REASONS else 0, narrow)


def gate_lines(verdicts: Sequence[Verdict], trail: Trail, width: int, height: int = 100) -> Iterator[Text]:
    """A line for each gate, and one more for why it does not pass where there is room for that.

    Where there is no room for all, the most urgent ones, and how many are left out.
    """
    urgent = [one for outcome in URGENCY for one in verdicts if one.outcome is outcome]
    by_urgency = [*urgent, *(one for one in verdicts if one not in urgent)]
    kept = {one.gate for one in (by_urgency if len(verdicts) <= height else by_urgency[: max(1, height - 1)])}
    shown = [one for one in verdicts if one.gate in kept]
    columns = columns_for(width, shown)
    explained = {one.gate for one in urgent[: max(0, height - len(verdicts))]}
    for verdict in shown:
        yield _gate_line(verdict, trail, columns)
        if not columns.reason and verdict.gate in explained:
            yield _cut(Text(f"  {verdict.reason}", style="dim"))
    if left := len(verdicts) - len(shown):
        yield _cut(Text(f"  and {left} more, none more urgent", style="dim"))


def _gate_line(verdict: Verdict, trail: Trail, columns: Columns) -> Text:
    shown = OUTCOMES[verdict.outcome]
    style = STYLES[shown.tone]
    line = Text(f"{shown.mark} ", style=style)
    if columns.word:
        line.append(f"{shown.words:<{columns.word}}  ", style=style)
    name = verdict.gate if len(verdict.gate) <= columns.name else verdict.gate[: columns.name - 1] + "…"
    line.append(f"{name:<{columns.name}}  ", style="default not bold")
    line.append(f"{columns.said(verdict):>{columns.measured}}  ", style="default not bold")
    line.append(f"{trail.line(verdict.gate, columns.trail):<{columns.trail}}", style="cyan not bold")
    if columns.reason:
        line.append(f"  {verdict.reason}", style="dim")
    return _cut(line)


def _cut(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def sparkline(values: Sequence[float]) -> str:
    """Values as a line of blocks, from the lowest to the highest of them."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)
