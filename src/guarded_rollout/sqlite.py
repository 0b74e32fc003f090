"""SQLite files seen from outside: opened to be read, checked, copied and counted, whoever writes to them.

`python -m guarded_rollout.sqlite FILE PRAGMA` is the check in a process of its own: a damaged file may take
down whoever reads it.
"""

import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

PATIENCE_SECONDS = 0.5  # a command that only reads does not wait longer for a writer
LOCKED = 75  # exit code of the check: it could not read, which says nothing about the file
DAMAGED = 65


def look_at(path: Path, patience: float = PATIENCE_SECONDS) -> sqlite3.Connection:
    """Open a SQLite file to be read, from any thread. Raises `sqlite3.OperationalError`."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
    )


def damage_of(path: Path, *, thorough: bool = False) -> str:
    """What SQLite itself finds wrong with a file; empty if it is sound, or if it could not be judged.

    `quick_check` reads every page and row; `thorough` compares the indexes with them as well, which takes
    30 times as long.
    """
    if not path.exists():
        return f"there is no {path.name}"
    pragma = "integrity_check" if thorough else "quick_check"
    command = [sys.executable, "-m", "guarded_rollout.sqlite", str(path), pragma]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout.strip() or "it is damaged" if done.returncode == DAMAGED else ""


def copy(path: Path, to: Path) -> None:
    """Copy a database while others write to it: one moment of it, whole. Raises `sqlite3.Error`."""
    with closing(look_at(path, 30.0)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target, pages=-1)  # in steps it would begin again with every write


def row_counts(path: Path) -> Mapping[str, int]:
    """How many rows each table has. Raises `sqlite3.Error`."""
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    with closing(look_at(path, 30.0)) as database:
        names = [name for (name,) in database.execute(tables).fetchall()]
        quoted = {name: '"' + name.replace('"', '""') + '"' for name in names}
        return {
            name: int(database.execute(f"SELECT count(*) FROM {quoted[name]}").fetchone()[0])
            for name in names
        }


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
