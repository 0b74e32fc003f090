"""What a benchmark prints: a table per question, its targets under it, and the same as JSON."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table as RichTable


@dataclass(frozen=True, slots=True)
class Target:
    """One promise of the project beside what this run measured."""

    what: str
    wanted: str
    measured: str
    met: bool


@dataclass(frozen=True, slots=True)
class Table:
    """The answer to one question: rows of cells, peers in the same run as ours."""

    question: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target] = field(default_factory=tuple)
    note: str = ""

    def show(self, console: Console) -> None:
        """Print the table, then each target with a tick or a cross."""
        table = RichTable(title=self.question, title_justify="left", title_style="bold")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="left" if number == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for target in self.targets:
            mark = "[green]✓[/]" if target.met else "[red]✗[/]"
            console.print(f"  {mark} {target.what}: wanted {target.wanted}, measured {target.measured}")
        if self.note:
            console.print(f"  [dim]{self.note}[/]")
        console.print()

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds per call over the repeats of one measurement."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median: 0.05 reads ± 5 %."""
        if len(self.seconds) < 4:
            return (max(self.seconds) - min(self.seconds)) / 2 / self.median
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / 2 / self.median

    def __str__(self) -> str:
        return f"{duration(self.median)} ± {self.spread:.0%}"


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def side_by_side(
    contestants: dict[str, Callable[[], object]],
    *,
    repeats: int = 7,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time each contestant `repeats` times, taking turns, so that a noisy moment is everybody's.

    `time.thread_time` as the clock leaves out what else the machine does, for work in one thread.

    Ratios between the contestants of one call are comparable; times of two calls are not.
    """
    for _ in range(warm_up):
        for call in contestants.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, call in contestants.items():
            begin = clock()
            call()
            seconds[name].append(clock() - begin)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
