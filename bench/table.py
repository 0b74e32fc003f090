"""What a benchmark prints: a table per question, its targets under it, and the same as JSON."""

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import Self

from rich.console import Console
from rich.table import Table as RichTable

TIMES = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
PRINTED = re.compile(r"[≤≥<>~]?\s*(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)\s*([^\s±(]*)(?:/s|[\s±(].*)?$")


class Quantity(str):
    """A number as readers want it, that is one still: `value` in `unit`; times in seconds, shares 0 to 1."""

    value: float
    unit: str

    def __new__(cls, text: str, value: float, unit: str = "") -> Self:
        made = super().__new__(cls, text)
        made.value, made.unit = value, unit
        return made

    def __reduce__(self) -> tuple[type[Self], tuple[str, float, str]]:
        return type(self), (str.__str__(self), self.value, self.unit)

    @classmethod
    def of(cls, text: str) -> "Quantity | None":
        """What a cell says: its number if it carries one, else the number that its text begins with."""
        if isinstance(text, Quantity):
            return text
        found = PRINTED.match(text.strip())
        if found is None:
            return None
        value, unit = float(found[1].replace(",", "")), found[2]
        if unit in TIMES:
            return cls(text, value * TIMES[unit], "s")
        return cls(text, value / 100, "") if unit == "%" else cls(text, value, unit)


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
    drawing: Callable[[], str] | None = None  # of the same numbers, as SVG

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

    def numbers(self) -> Iterator[tuple[str, Quantity]]:
        """Each number of the rows and targets with its name: what two runs can be compared by.

        A row is named by its first cell and those of columns that hold no number at all.
        """
        read = [[Quantity.of(cell) for cell in row] for row in self.rows]
        told = {0, *(at for at, found in enumerate(zip_longest(*read)) if not any(found))}
        seen: dict[str, int] = {}
        for cells, numbers in zip(self.rows, read, strict=True):
            row = ", ".join(cell for at, cell in enumerate(cells) if at in told and cell)
            seen[row] = seen.get(row, 0) + 1
            again = f" ({seen[row]})" if seen[row] > 1 else ""
            for at, (column, number) in enumerate(zip(self.columns, numbers, strict=False)):
                if number and at not in told:
                    yield f"{row}{again}: {column}", number
        for target in self.targets:
            if number := Quantity.of(target.measured):
                yield target.what, number

    def as_json(self) -> dict[str, object]:
        numbers = {name: {"value": number.value, "unit": number.unit} for name, number in self.numbers()}
        return {name: each for name, each in asdict(self).items() if name != "drawing"} | {"numbers": numbers}


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
        return Quantity(f"{duration(self.median)} ± {self.spread:.0%}", self.median, "s")


def duration(seconds: float) -> Quantity:
    """Seconds in the unit that reads best."""
    unit = next((unit for unit, size in TIMES.items() if seconds >= size), "ns")
    return Quantity(f"{_digits(seconds / TIMES[unit])} {unit}", seconds, "s")


def share(part: float) -> Quantity:
    """A share (0 to 1) in percent."""
    return Quantity(f"{part:.1%}", part)


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def side_by_side(
    contestants: Mapping[str, Callable[..., object]],
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
