"""What a terminal shows of a window: each gate against its limit, the traffic, the time left."""

from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from guarded_rollout.gates.verdict import Outcome, Verdict, span
from guarded_rollout.logs import LEVELS, Line
from guarded_rollout.watch.monitor import Monitor

STYLES = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.INSUFFICIENT: "yellow",
    Outcome.NO_DATA: "magenta",
}
REFRESH_SECONDS = 1.0
BARS = "▁▂▃▄▅▆▇█"


class LiveView:
    """A monitor's `look` that draws; lines of the log are printed above it."""

    def __init__(
        self, console: Console, share: Callable[[], str], verbose: bool = False, least: str = "info"
    ) -> None:
        self._console = console
        self._share = share
        self._verbose = verbose
        self._least = least
        self._values: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=24))
        self._judged: dict[str, Verdict] = {}
        self._drawn_at = 0.0
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, monitor: Monitor, now: float) -> None:
        """Draw anew, at most once a second."""
        for verdict in monitor.watcher.panel.verdicts:
            if self._judged.get(verdict.gate) is not verdict:
                self._judged[verdict.gate] = verdict
                if verdict.value is not None:
                    self._values[verdict.gate].append(verdict.value)
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
        left = f"{span(monitor.left(now))} left{held}"
        head = "   ".join(filter(None, (session.release or session.environment, self._share(), left)))
        return Group(Text(head, style="bold"), self._table(monitor.watcher.panel.verdicts))

    def _table(self, verdicts: Sequence[Verdict]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for verdict in verdicts:
            table.add_row(
                Text(verdict.outcome.replace("_", " "), style=STYLES[verdict.outcome]),
                Text(verdict.gate),
                Text(verdict.measured, justify="right"),
                Text(sparkline(self._values[verdict.gate]), style="cyan"),
                Text(verdict.reason, style="dim", overflow="ellipsis", no_wrap=True),
            )
        return table


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
