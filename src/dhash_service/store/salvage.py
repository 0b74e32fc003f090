"""Reads rows out of a SQLite file, sound or damaged.

A damaged page takes the rows on it, and every query that crosses it. So a damaged file is read in ranges of
row numbers, and a range that fails is halved until what fails is single rows.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dhash_service.errors import StoreDamagedError, StoreUnreachableError
from dhash_service.store.engine import translated
from dhash_service.store.tables import FOREIGN

ROWS = 1_000
"""Row numbers in a range. Rows are never deleted, so their numbers have no large gaps."""

SMALLEST_ROW = 64
"""Bytes that no row of ours is smaller than: bounds the row numbers where the last one cannot be read."""


RawRow = tuple[Any, ...]
"""Values as SQLite has them."""


@dataclass(slots=True)
class SnapshotFile:
    """A SQLite file that is only read. `lost` counts, per table, row numbers that could not be read."""

    connection: sqlite3.Connection
    path: Path
    salvage: bool
    lost: dict[str, int] = field(default_factory=dict)

    def tables(self) -> dict[str, list[str]]:
        """The columns of each table that is a store's. A view that bears a table's name is none."""
        names = self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: [column for _, column, *_ in self.connection.execute(f'PRAGMA table_info("{name}")')]
            for (name,) in names
            if '"' not in name and not name.startswith(FOREIGN)
        }

    def count(self, table: str) -> int:
        """Count the rows; where that cannot be told, an upper bound."""
        try:
            (count,) = self.connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()
            return int(count)
        except sqlite3.Error:
            return self._last(table)

    def blocks(self, table: str, columns: Sequence[str]) -> Iterator[list[RawRow]]:
        """Every readable row of a table, in the order of their numbers (`rowid`), some at a time."""
        last = self._last(table)
        for start in range(1, last + 1, ROWS):
            if rows := self.rows(table, columns, range(start, min(start + ROWS, last + 1))):
                yield rows

    def rows(self, table: str, columns: Sequence[str], numbers: Sequence[int]) -> list[RawRow]:
        """The readable rows with these numbers, which rise."""
        if not numbers:
            return []
        named = ", ".join(f'"{column}"' for column in columns)
        query = f'SELECT {named} FROM "{table}" WHERE rowid'
        try:
            if numbers[-1] - numbers[0] == len(numbers) - 1:
                between = (numbers[0], numbers[-1])
                return self.connection.execute(f"{query} BETWEEN ? AND ? ORDER BY rowid", between).fetchall()
            marks = ", ".join("?" * len(numbers))
            return self.connection.execute(f"{query} IN ({marks}) ORDER BY rowid", tuple(numbers)).fetchall()
        except sqlite3.Error:
            if not self.salvage:
                raise
        if len(numbers) == 1:
            self.lost[table] = self.lost.get(table, 0) + 1
            return []
        middle = len(numbers) // 2
        return self.rows(table, columns, numbers[:middle]) + self.rows(table, columns, numbers[middle:])

    def _last(self, table: str) -> int:
        try:
            (last,) = self.connection.execute(f'SELECT max(rowid) FROM "{table}"').fetchone()
        except sqlite3.Error:
            if not self.salvage:
                raise
            last = self.path.stat().st_size // SMALLEST_ROW
        return int(last or 0)


@contextmanager
def source(path: Path, *, salvage: bool = False) -> Iterator[SnapshotFile]:
    """Open a snapshot to read. A damaged one raises `StoreDamagedError`, unless it is to be salvaged."""
    if not path.is_file():
        raise StoreUnreachableError(
            f"There is no file {path}.", "Give a file that `dhash db snapshot` wrote."
        )
    with (
        translated(),
        closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)) as connection,
    ):
        # The file may come from anywhere: nothing in its schema may run, no cell may leave its page.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if not salvage and (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise StoreDamagedError(f"{path}: {said}.", "Merge what can be read with --salvage.")
        yield SnapshotFile(connection, path, salvage)
