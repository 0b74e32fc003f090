"""Reads rows out of a SQLite file, sound or damaged.

A damaged page takes the rows on it, and every query that crosses it. So a damaged file is read in ranges of
row numbers, and a range that fails is halved until what fails is single rows.
"""

import os
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
"""Row numbers in a range."""

SMALLEST_ROW = 64
"""Bytes that no row of ours is smaller than: bounds the row numbers to be tried where none can be read."""

GIVE = "Give a file that `dhash db snapshot` wrote."

LARGEST = (1 << 63) - 1
"""The largest row number of SQLite."""


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
            return self._most()

    def blocks(self, table: str, columns: Sequence[str]) -> Iterator[list[RawRow]]:
        """Every readable row of a table, in the order of their numbers (`rowid`), some at a time."""
        read = after = 0
        while (start := self._next(table, after, read)) is not None:
            after = min(start + ROWS - 1, LARGEST)
            if rows := self.rows(table, columns, range(start, after + 1)):
                read = after
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

    def _next(self, table: str, after: int, read: int) -> int | None:
        """The next row number; where that cannot be told, one to be tried, within limits."""
        try:
            (number,) = self.connection.execute(
                f'SELECT min(rowid) FROM "{table}" WHERE rowid > ?', (after,)
            ).fetchone()
            return None if number is None else int(number)
        except sqlite3.Error:
            if not self.salvage:
                raise
        return after + 1 if after < min(read + self._most(), LARGEST) else None

    def _most(self) -> int:
        return self.path.stat().st_size // SMALLEST_ROW


def _address(path: Path) -> str:
    """The URI to read a file by.

    SQLite reads no store of ours where it can make no file beside it, unless it is told that nobody writes.
    """
    unchanging = os.statvfs(path).f_flag & os.ST_RDONLY
    log = path.with_name(f"{path.name}-wal")
    if unchanging and log.exists() and log.stat().st_size:
        raise StoreUnreachableError(
            f"{path} has its newest rows in {log.name}, which is not read from a read-only file system.",
            "Copy both to another disk, and give the copy.",
        )
    return f"file:{quote(str(path.resolve()))}?mode=ro{'&immutable=1' if unchanging else ''}"


@contextmanager
def source(path: Path, *, salvage: bool = False) -> Iterator[SnapshotFile]:
    """Open a snapshot to read. A damaged one raises `StoreDamagedError`, unless it is to be salvaged."""
    try:
        there = path.is_file()
    except OSError as error:  # a folder that is closed to us, or a name that is too long
        raise StoreUnreachableError(f"{path}: {error.strerror}.", GIVE) from error
    if not there:
        raise StoreUnreachableError(f"There is no file {path}.", GIVE)
    with (
        translated(),
        closing(sqlite3.connect(_address(path), uri=True)) as connection,
    ):
        # The file may come from anywhere: nothing in its schema may run, no cell may leave its page.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if salvage:
            # Without it, SQLite opens no file whose end is missing.
            connection.execute("PRAGMA writable_schema = ON")
        elif (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise StoreDamagedError(f"{path}: {said}.", "Merge what can be read with --salvage.")
        yield SnapshotFile(connection, path, salvage)
