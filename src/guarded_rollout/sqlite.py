"""SQLite files: opened, read and written as our own; checked, copied and counted as anybody's.

`python -m guarded_rollout.sqlite FILE PRAGMA` is the check in a process of its own: a damaged file may take
its reader down.
"""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from guarded_rollout.errors import RolloutError

MAGIC = b"SQLite format 3\0"
BUSY_SECONDS = 10
PATIENCE_SECONDS = 0.5  # a command that only reads does not wait longer for a writer
LOCKED = 75  # exit code of the check: it could not read, which says nothing about the file
DAMAGED = 65
# of FTS5, of FTS4 and R*Tree
SHADOWS = (
    *("content", "data", "docsize", "idx", "config"),
    *("segments", "segdir", "stat", "node", "parent", "rowid"),
)
TABLES = f"""
SELECT name FROM {{schema}}.sqlite_master one
WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
AND NOT EXISTS (SELECT 1 FROM {{schema}}.sqlite_master other WHERE other.sql LIKE 'CREATE VIRTUAL%'
AND one.name IN ({", ".join(f"other.name || '_{shadow}'" for shadow in SHADOWS)}))"""
"""Not SQLite's own, nor virtual ones and the shadows that hold what is in these, rewritten as they like."""


class Database:
    """A SQLite file that several threads and processes read and write. A subclass names its errors."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._turn = threading.RLock()

    @staticmethod
    def _failure(path: Path, error: Exception) -> RolloutError:
        """Return the error that an operator is shown for one of SQLite or of the file system."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._turn:
            self._connection.close()

    def version(self) -> int:
        """Return a number that changes when another process has written."""
        # https://sqlite.org/pragma.html#pragma_data_version
        return int(self._rows("PRAGMA data_version")[0][0])

    def _run(self, statement: str, *parameters: object) -> sqlite3.Cursor:
        with self._connected() as connection:
            return connection.execute(statement, parameters)

    def _rows(self, statement: str, *parameters: object) -> list[Any]:
        with self._connected() as connection:
            return connection.execute(statement, parameters).fetchall()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._turn:
                yield self._connection
        except sqlite3.Error as error:
            raise self._failure(self._path, error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._turn:
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._run("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.rollback()
                raise


def connect(path: Path | str, schema: str) -> sqlite3.Connection:
    """Open a SQLite file to be written, from any thread, and create what it lacks of the schema.

    Raises `sqlite3.Error`.
    """
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(schema)
    return connection


def look_at(path: Path, patience: float = PATIENCE_SECONDS) -> sqlite3.Connection:
    """Open a SQLite file to be read, from any thread. Raises `sqlite3.OperationalError`."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
    )


def is_sqlite(path: Path) -> bool:
    """True if a file begins as an SQLite database does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def damage_of(path: Path, *, thorough: bool = False) -> str:
    """Return the damage that SQLite finds in a file; empty if it is sound, or could not be read.

    `thorough` compares the indexes with the rows as well, which takes 30 times as long.
    """
    if not path.exists():
        return f"there is no {path.name}"
    pragma = "integrity_check" if thorough else "quick_check"
    command = [sys.executable, "-m", "guarded_rollout.sqlite", str(path), pragma]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout.strip() or "it is damaged" if done.returncode == DAMAGED else ""


def copy(path: Path, to: Path) -> None:
    """Copy one moment of a database while others write to it. Raises `sqlite3.Error`."""
    with closing(look_at(path, 30.0)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target, pages=-1)  # in steps it would begin again with every write


def row_counts(path: Path) -> Mapping[str, int]:
    """Count the rows of each table. Raises `sqlite3.Error`."""
    with closing(look_at(path, 30.0)) as database:
        return {
            name: int(database.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0])
            for name in _tables(database, "main")
        }


def keep_keys(path: Path, to: Path) -> None:
    """Write the primary keys of each table that declares one into a new file, for `lost_keys`.

    Raises `sqlite3.Error`.
    """
    with closing(_beside(path, to)) as database:
        for table in _tables(database, "store"):
            named = "SELECT name FROM pragma_table_info(?, 'store') WHERE pk > 0 ORDER BY pk"
            columns = ", ".join(_quoted(name) for (name,) in database.execute(named, (table,)))
            if columns:
                made = f"CREATE TABLE main.{_quoted(table)} AS SELECT {columns} FROM store.{_quoted(table)}"
                database.execute(made)


def lost_keys(path: Path, kept: Path) -> Mapping[str, int]:
    """Count the rows of each table that were there when `keep_keys` was called, and are gone.

    Raises `sqlite3.Error`, also where a table or a column of its key is no more.
    """
    lost = {}
    with closing(_beside(path, kept)) as database:
        for table in _tables(database, "main"):
            found = database.execute(f"SELECT * FROM main.{_quoted(table)} LIMIT 0").description
            columns = ", ".join(_quoted(name) for name, *_ in found)
            before = f"SELECT {columns} FROM main.{_quoted(table)}"
            gone = f"SELECT count(*) FROM ({before} EXCEPT SELECT {columns} FROM store.{_quoted(table)})"
            lost[table] = int(database.execute(gone).fetchone()[0])
    return lost


def _beside(path: Path, other: Path) -> sqlite3.Connection:
    """Open another file to be written, and beside it, as `store`, one to be read."""
    connection = sqlite3.connect(f"{other.absolute().as_uri()}?mode=rwc", uri=True, isolation_level=None)
    connection.execute("ATTACH ? AS store", (f"{path.absolute().as_uri()}?mode=ro",))
    return connection


def _tables(database: sqlite3.Connection, schema: str) -> list[str]:
    return [name for (name,) in database.execute(TABLES.format(schema=schema)).fetchall()]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def close_up(path: Path) -> None:
    """Bring everything into the main file, so that it can be moved alone. Raises `sqlite3.Error`."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _check(path: Path, pragma: str) -> int:
    try:
        with closing(look_at(path, 30.0)) as database:
            [(answer,), *_] = database.execute(f"PRAGMA {pragma}(1)").fetchall()
            tables = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "malformed" not in str(error):
            print(error, file=sys.stderr)
            return LOCKED
        answer, tables = str(error), 0
    except sqlite3.DatabaseError as error:
        answer, tables = str(error), 0
    if answer == "ok" and not tables:
        answer = "it has no tables"
    if answer != "ok":
        print(answer)
    return 0 if answer == "ok" else DAMAGED


if __name__ == "__main__":
    sys.exit(_check(Path(sys.argv[1]), sys.argv[2]))
