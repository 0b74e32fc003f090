"""The sample service's rollouts: what was submitted, what is kept, what the journal says."""

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from guarded_rollout.host.store_file import store_file
from guarded_rollout.journal.model import Rollout
from guarded_rollout.journal.store import Journal
from tests.guarded_rollout.sandbox import Sandbox


def journal_of(sandbox: Sandbox) -> Journal:
    return Journal.open(sandbox.environment.journal)


def last(sandbox: Sandbox) -> Rollout:
    with Journal.open(sandbox.environment.journal) as journal:
        return journal.history(limit=1)[0]


def submit(sandbox: Sandbox) -> str:
    """Write something that must be kept: its SHA-256, as the service acknowledged it."""
    body = os.urandom(500)
    answer = sandbox.site.public().ask("POST", "/api/dhash", body=body)
    assert answer.status == 201, answer.summary()
    return hashlib.sha256(body).hexdigest()


def store_path(sandbox: Sandbox) -> Path:
    store = store_file(sandbox.site)
    assert store is not None
    return store.path


def kept(sandbox: Sandbox) -> set[str]:
    """What is in the store, read past the service."""
    with sqlite3.connect(store_path(sandbox)) as store:
        return {sha256 for (sha256,) in store.execute("SELECT sha256 FROM picture")}


def files(sandbox: Sandbox) -> dict[str, int]:
    """Everything in the project with its time of change, but for what the running service itself writes."""
    skip = ("/data/", "/logs/", "/run/")
    paths = (path for path in sandbox.folder.rglob("*") if path.is_file())
    return {
        str(path): path.stat().st_mtime_ns for path in paths if not any(part in str(path) for part in skip)
    }


def damage(path: Path) -> None:
    """Overwrite pages in the middle of a store's file, of a table that nothing reads."""
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("CREATE TABLE later (content BLOB)")
        store.execute("INSERT INTO later VALUES (randomblob(200000))")
        store.execute("CREATE INDEX content ON later (content)")
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(-150_000, os.SEEK_END)
        file.write(os.urandom(100_000))
