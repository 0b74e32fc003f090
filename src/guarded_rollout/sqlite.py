"""A database that is looked at alone: never created, repaired or waited for."""

import sqlite3
from pathlib import Path

PATIENCE_SECONDS = 0.5  # whoever only looks does not wait longer for a writer


def look_at(path: Path) -> sqlite3.Connection:
    """Open a SQLite file to be read, from any thread. Raises `sqlite3.OperationalError`."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=PATIENCE_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
