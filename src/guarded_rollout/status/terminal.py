"""An environment on a terminal, for `rollout status --watch` and `rollout monitor`.

Fits into 60 columns and 24 lines; what does not fit is left out, never wrapped into the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from guarded_rollout.clock import duration
from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.display import Display
from guarded_rollout.gates.verdict import Verdict
from guarded_rollout.host.release import shorten
from guarded_rollout.status.facts import rows
from guarded_rollout.status.gate_lines import STYLES, Trail, gate_lines
from guarded_rollout.status.headline import headline
from guarded_rollout.status.rows import timeline
from guarded_rollout.status.snapshot import Snapshot, Standing

BAR = 10  # columns of a traffic bar
LEAST_BELOW = 3  # lines that the gates leave for what stands below them
FOOT = ("window_left", "watched_by", "at_work", "notifications", "last_backup", "schema", "supervisor")
"""The facts below the gates, in this order, as far as there are lines."""


class Terminal:
    """Draws one view after another in the same place; the last one stays when it is left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._trail = Trail()
        self._display = Display(drops=True)
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._draw(self._live.start)
        return self

    def __exit__(self, *_: object) -> None:
        self._draw(self._live.stop)

    @property
    def width(self) -> int:
        return self._console.size.width

    def take(self, verdicts: Sequence[Verdict]) -> None:
        """Remember values for the sparklines."""
        self._trail.take(verdicts)

    def show(self, verdicts: Sequence[Verdict], above: Sequence[Text], below: Sequence[Text] = ()) -> None:
        """Draw the gates between these lines."""
        self.take(verdicts)
        size = self._console.size
        made = drawn(verdicts, self._trail, above, below, size.width, size.height)
        self._draw(lambda: self._live.update(made, refresh=True))

    def print(self, text: Text) -> None:
        """Print a line above what is drawn."""
        self._draw(lambda: self._live.console.print(text))

    def _draw(self, draw: Callable[[], None]) -> None:
        """Draw where the terminal takes it: one that has gone or was stopped holds nobody up."""
        if self._display.takes(self._console.file):
            with suppress(OSError, ValueError):
                draw()


def drawn(
    verdicts: Sequence[Verdict],
    trail: Trail,
    above: Sequence[Text],
    below: Sequence[Text],
    width: int,
    height: int,
) -> RenderableType:
    """The whole of it, `width` columns wide and at most `height` - 1 lines high."""
    lines = list(above)
    if verdicts:
        room = height - 2 - len(lines) - min(LEAST_BELOW, len(below))
        lines += [Text(), *gate_lines(verdicts, trail, width, room)]
    lines += [Text(), *below] if below else []
    return Group(*lines[: height - 1])


def verdicts_of(seen: Snapshot) -> tuple[Verdict, ...]:
    """The gates' newest verdicts, as the monitor logged them."""
    return tuple(one.verdict for one in seen.session.judged) if seen.session else ()


def above(seen: Snapshot, config: EnvironmentGates | None, width: int) -> list[Text]:
    """Build the lines above the gates: the headline, the slots, the steps."""
    return [*_headline(seen, config), Text(), *slots(seen, width), *_steps(seen, width)]


def slots(seen: Snapshot, width: int) -> Iterator[Text]:
    """A line for each slot: its release, its share of the traffic, whether it runs, and its part."""
    parts = (
        {seen.stable: "stable", seen.candidate: "candidate"} if seen.candidate else {seen.serving: "serves"}
    )
    names = {one.slot: shorten(one.release or "") for one in seen.slots}
    room = max(map(len, names.values()), default=0)
    for one in seen.slots:
        built = seen.release(one.release)
        part = parts.get(one.release, "") if one.release else ""
        yield _slot(one, f"{names[one.slot]:<{max(room, 5)}}", part, built.subject if built else "")


def _slot(standing: Standing, name: str, part: str, subject: str) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{standing.slot:<6}", style=standing.slot)
    if standing.release is None:
        return line.append("empty", style="dim")
    line.append(f"{name} {standing.percent:>3} % ")
    filled = round(standing.percent * BAR / 100)
    line.append("█" * filled, style=standing.slot).append("░" * (BAR - filled) + " ", style="dim")
    line.append(
        f"pid {standing.pid}" if standing.pid else "not running", style="" if standing.pid else "bold red"
    )
    line.append(f" {part}", style="bold")
    return line.append(f"  {subject}", style="dim") if subject else line


def _headline(seen: Snapshot, config: EnvironmentGates | None) -> Iterator[Text]:
    said = headline(seen, config)
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(f"{seen.environment.name}  ", style="bold").append(
        shorten(said.sentence(seen.read_at)), style=STYLES[said.tone]
    )
    yield head
    asks = bool(said.todo) and not said.todo.startswith("Nothing")
    for words in filter(None, (said.detail, f"→ {said.todo}" if asks else "")):
        yield Text(shorten(words), style="dim", no_wrap=True, overflow="ellipsis")


def _steps(seen: Snapshot, width: int) -> Iterator[Text]:
    """The timeline, as many steps a line as fit."""
    if seen.rollout is None:
        return
    line = Text()
    for step in timeline(seen.rollout, seen.at_work is not None):
        seconds = step.took
        if seconds is None and step.at is not None and step.tone == "accent":
            seconds = seen.read_at - step.at  # it is at work
        took = "" if seconds is None or seconds < 0.05 else f" {duration(seconds)}"
        words = f"{step.mark} {step.name}{took}"
        if line and len(line) + 2 + len(words) > width:
            yield line
            line = Text()
        line.append("  " if line else "").append(words, style=STYLES[step.tone])
    yield line


def below(seen: Snapshot) -> Iterator[Text]:
    """Yield the facts below the gates."""
    facts = rows(seen)
    for name in FOOT:
        if fact := facts[name]:
            yield Text(
                f"{name.replace('_', ' ')}: {shorten(fact.text)}",
                style="dim",
                no_wrap=True,
                overflow="ellipsis",
            )
    for one in seen.unreadable:
        yield Text(
            f"{one.what} cannot be read: {one.reason}", style="bold red", no_wrap=True, overflow="ellipsis"
        )
