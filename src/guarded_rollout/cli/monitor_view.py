"""What `rollout monitor` shows: a live view on a terminal, lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from guarded_rollout.clock import duration
from guarded_rollout.config.gates import GatesFile
from guarded_rollout.display import Display
from guarded_rollout.host.release import shorten
from guarded_rollout.logs import LEVELS, LogLine
from guarded_rollout.monitor.monitor import Monitor
from guarded_rollout.monitor.supervised import supervised
from guarded_rollout.status.terminal import Terminal

REFRESH_SECONDS = 1.0  # of what is drawn on a terminal

Around = tuple[list[Text], list[Text]]
"""The lines above and below the gates."""

DISPLAY = Display(drops=True)
"""Lines of a monitor: it watches on whether anybody reads them or not."""

Observer = Callable[[Monitor, float], None]


@contextmanager
def viewing(
    verbose: bool, file: GatesFile, around: Callable[[int], Around]
) -> Iterator[tuple[Observer | None, Callable[[LogLine], None]]]:
    """A live view on a terminal, lines elsewhere; the log's file holds all of them."""
    least = file.global_settings.log_level
    if sys.stdout.isatty() and not supervised() and not Console().is_dumb_terminal:
        with Terminal(Console()) as terminal:
            yield drawing(terminal, around), lambda line: _show(line, verbose, least, terminal)
    else:
        yield None, lambda line: _show(line, verbose, least)


def drawing(terminal: Terminal, around: Callable[[int], Around]) -> Observer:
    """Draw a monitor's gates and the time left, at most once a second."""
    drawn_at = 0.0

    def draw(monitor: Monitor, now: float) -> None:
        nonlocal drawn_at
        verdicts = monitor.session.panel.verdicts
        terminal.take(verdicts)
        if now - drawn_at >= REFRESH_SECONDS:
            drawn_at = now
            held = " (held)" if monitor.window and monitor.window.paused else ""
            target = monitor.target
            left = f"{duration(monitor.left(now))} left{held}"
            head = Text(f"{shorten(target.release or target.environment)}   {left}", style="bold")
            over, under = around(terminal.width)
            terminal.show(verdicts, [head, *over], under)

    return draw


def _show(line: LogLine, verbose: bool, least: str, terminal: Terminal | None = None) -> None:
    if worth_showing(line, verbose, least):
        whole = verbose or supervised()
        message = line.words if whole else shorten(line.words)
        text = f"{line.moment:%H:%M:%S} {line.level.upper():8} {message}"
        if terminal is not None:
            terminal.print(Text(text))
            return
        DISPLAY.show(text)


def worth_showing(line: LogLine, verbose: bool, least: str = "info") -> bool:
    """True for news from a level on, with `verbose` for every verdict, and never for samples."""
    if line.level == "debug" or LEVELS.index(line.level) < LEVELS.index(least):
        return False
    return verbose or line.data.get("news") != "judged" or line.level != "info"
