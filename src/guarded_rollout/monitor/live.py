"""What a terminal shows of a window: each gate against its limit, the traffic, the time left."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from guarded_rollout.clock import duration
from guarded_rollout.gates.verdict import GateOutcome, Verdict
from guarded_rollout.logs import LEVELS, Line
from guarded_rollout.monitor.session import Monitor

REFRESH_SECONDS = 1.0
BARS = "▁▂▃▄▅▆▇█"
REMEMBERED = 24  # values of each gate, for its sparkline
ROOM_FOR_REASONS = 40  # columns that a reason needs beside its gate, or it gets a line of its own


class Look(NamedTuple):
    """How an outcome is drawn: a mark that needs no colour, a word, a style."""

    mark: str
    word: str
    style: str


LOOKS = {
    GateOutcome.PASS: Look("✓", "pass", "green"),
    GateOutcome.FAIL: Look("✕", "fail", "bold red"),
    GateOutcome.INSUFFICIENT: Look("…", "insufficient", "yellow"),
    GateOutcome.NO_DATA: Look("?", "no data", "magenta"),
}
URGENCY = (GateOutcome.FAIL, GateOutcome.NO_DATA, GateOutcome.INSUFFICIENT)
"""Whose reason is worth a line where there are not lines enough for all."""


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


Surroundings = Callable[[int], Sequence[Text]]
"""Lines, so many columns wide, of what a monitor itself does not know: the slots and their traffic."""


class LiveView:
    """A monitor's `look` that draws; lines of the log are printed above it."""

    def __init__(
        self,
        console: Console,
        surroundings: Surroundings,
        verbose: bool = False,
        least: str = "info",
    ) -> None:
        self._console = console
        self._surroundings = surroundings
        self._verbose = verbose
        self._least = least
        self._trail = Trail()
        self._drawn_at = 0.0
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, monitor: Monitor, now: float) -> None:
        """Draw anew, at most once a second."""
        self._trail.take(monitor.watcher.panel.verdicts)
        if now - self._drawn_at >= REFRESH_SECONDS:
            self._drawn_at = now
            self._live.update(self.picture(monitor, now), refresh=True)

    def show(self, line: Line) -> None:
        """A line of the log that people are to see."""
        if worth_showing(line, self._verbose, self._least):
            self._live.console.print(Text(in_words(line)))

    def picture(self, monitor: Monitor, now: float) -> Group:
        """The whole view."""
        session = monitor.session
        held = " (held)" if monitor.window and monitor.window.paused else ""
        left = f"{duration(monitor.left(now))} left{held}"
        head = Text(f"{session.release or session.environment}   {left}", style="bold")
        size = self._console.size
        around = self._surroundings(size.width)
        room = size.height - 2 - len(around)
        return Group(
            head, *around, *gate_lines(monitor.watcher.panel.verdicts, self._trail, size.width, room)
        )


# ---- gates


@dataclass(frozen=True, slots=True)
class Columns:
    """How wide each part of a gate's line is; 0 leaves it out."""

    word: int
    name: int
    measured: int
    trail: int
    reason: int


def columns_for(width: int, verdicts: Sequence[Verdict]) -> Columns:
    """What fits into so many columns: first the mark, the name and the value, then the rest."""
    name = min(max((len(one.gate) for one in verdicts), default=0), 28)
    measured = max((len(one.measured) for one in verdicts), default=0)
    left = width - 2 - name - measured - 4
    word = 12 if left >= 12 + 8 + 4 else 0
    left -= word + 2 if word else 0
    trail = min(REMEMBERED, left) if left >= 8 else 0
    reason = left - trail - 2
    return Columns(word, name, measured, trail, reason if reason >= ROOM_FOR_REASONS else 0)


def gate_lines(verdicts: Sequence[Verdict], trail: Trail, width: int, height: int = 100) -> Iterator[Text]:
    """A line for each gate, and one more for why it does not pass where there is room for that."""
    columns = columns_for(width, verdicts)
    spare = max(0, height - len(verdicts))
    by_urgency = (one for outcome in URGENCY for one in verdicts if one.outcome is outcome)
    explained = {one.gate for _, one in zip(range(spare), by_urgency, strict=False)}
    for verdict in verdicts:
        yield _gate_line(verdict, trail, columns)
        if not columns.reason and verdict.gate in explained:
            yield _cut(Text(f"  {verdict.reason}", style="dim"))


def _gate_line(verdict: Verdict, trail: Trail, columns: Columns) -> Text:
    look = LOOKS[verdict.outcome]
    line = Text(f"{look.mark} ", style=look.style)
    if columns.word:
        line.append(f"{look.word:<{columns.word}}  ", style=look.style)
    name = verdict.gate if len(verdict.gate) <= columns.name else verdict.gate[: columns.name - 1] + "…"
    line.append(f"{name:<{columns.name}}  ", style="default not bold")
    line.append(f"{verdict.measured:>{columns.measured}}  ", style="default not bold")
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


def worth_showing(line: Line, verbose: bool, least: str = "info") -> bool:
    """Whether people want to see a line: news from a level on, other verdicts if verbose, no samples."""
    if line.level == "debug" or LEVELS.index(line.level) < LEVELS.index(least):
        return False
    return verbose or line.data.get("news") != "judged" or line.level != "info"


def in_words(line: Line) -> str:
    """A line for a terminal: time of day, level, message."""
    return f"{line.moment:%H:%M:%S} {line.level.upper():8} {line.message}"
