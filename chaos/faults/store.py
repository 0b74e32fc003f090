"""A database that somebody else has locked: a copy, an open shell."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

from chaos.faults.base import Scene
from chaos.plan import Fault

WAIT_SECONDS = 20.0
HOLDER = """
import sqlite3, sys
*paths, seconds = sys.argv[1:]
held = [sqlite3.connect(path, timeout=float(seconds), isolation_level=None) for path in paths]
for database in held:
    database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def lock(scene: Scene, fault: Fault) -> Iterator[str]:
    """Hold the write lock of the store, and that of the journal where that is free too."""
    if scene.stack.store:
        yield from _lock_postgresql(scene.stack.store)
        return
    path = scene.stack.root / "data" / "dhash.db"
    if not path.exists():
        return
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), str(scene.stack.journal), str(WAIT_SECONDS)],
        cwd=scene.stack.project,  # it is one of those that lose their power
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        if holder.stdout.readline():
            yield "store and journal"
        holder.stdin.close()


def _lock_postgresql(url: str) -> Iterator[str]:
    import psycopg

    with suppress(psycopg.OperationalError), psycopg.connect(url) as connection:  # the server may die
        connection.execute("LOCK TABLE images IN SHARE ROW EXCLUSIVE MODE")
        yield "the table of images"
        connection.rollback()
