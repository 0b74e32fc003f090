"""A database that somebody else has locked: a copy, an open shell."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from chaos.draw import Fault
from chaos.faults.base import Scene

WAIT_SECONDS = 20.0


def lock(scene: Scene, fault: Fault) -> Iterator[str]:
    """Hold the write lock of the store, and that of the journal where that is free too."""
    if scene.stack.store:
        yield from _lock_postgresql(scene.stack.store)
        return
    path = scene.stack.root / "data" / "dhash.db"
    if not path.exists():
        return
    with (
        closing(sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)) as store,
        closing(sqlite3.connect(scene.stack.journal, timeout=WAIT_SECONDS, isolation_level=None)) as journal,
    ):
        store.execute("BEGIN IMMEDIATE")
        journal.execute("BEGIN IMMEDIATE")
        yield "store and journal"
        journal.execute("ROLLBACK")
        store.execute("ROLLBACK")


def _lock_postgresql(url: str) -> Iterator[str]:
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE images IN SHARE ROW EXCLUSIVE MODE")
        yield "the table of images"
        connection.rollback()
