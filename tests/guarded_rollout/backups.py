"""What the backup tests share: a live store, a release folder, and a backup taken of them."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guarded_rollout.backup.archive import Subject, TakenBackup, take
from guarded_rollout.backup.publish import BackupFolder
from guarded_rollout.clock import Clock, SystemClock
from guarded_rollout.host.release import Release

CREATED = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


def make_store(path: Path, rows: int = 200) -> Path:
    """A small SQLite store in WAL mode, with pictures that do not compress and texts that do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE image (id INTEGER PRIMARY KEY, note TEXT, thumbnail BLOB)")
        store.execute("BEGIN")
        for number in range(rows):
            store.execute("INSERT INTO image VALUES (?, ?, ?)", (number, "a note " * 30, os.urandom(2000)))
        store.execute("COMMIT")
    return path


def snapshot_of(store: Path) -> Callable[[Path], None]:
    """Copies a live store consistently, as the service's own command does."""

    def snapshot(target: Path) -> None:
        with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)

    return snapshot


def make_release(folder: Path, name: str = "1.0.0-abcdef01-12345678") -> Release:
    """A release's folder, complete but for the programs of its environment."""
    folder = folder / name
    (folder / "venv" / "bin").mkdir(parents=True)
    wheel, lock = os.urandom(60_000), b"pillow==13.0.0 --hash=sha256:00\n" * 300
    (folder / "mobius_dhash-1.0.0-py3-none-any.whl").write_bytes(wheel)
    (folder / "requirements.txt").write_bytes(lock)
    manifest = {
        "format": 1,
        "id": name,
        "version": "1.0.0",
        "commit": "abcdef01",
        "dirty": False,
        "built_at": CREATED.isoformat(),
        "wheel": {"name": "mobius_dhash-1.0.0-py3-none-any.whl", "sha256": hashlib.sha256(wheel).hexdigest()},
        "lock": {"name": "requirements.txt", "sha256": hashlib.sha256(lock).hexdigest()},
        "schema": "0001",
    }
    (folder / "RELEASE.json").write_text(json.dumps(manifest))
    return Release.load(folder)


class Project:
    """A project's folder with something to back up."""

    def __init__(self, root: Path, *, rows: int = 200) -> None:
        self.root = root
        self.backups = root / "backups"
        self.store = make_store(root / "environments" / "production" / "data" / "dhash.db", rows)
        gates = root / "quality-gates-config.json"
        gates.write_text("{}\n")
        self.subject = Subject(
            environment="production",
            release=make_release(root / "releases"),
            schema_revision="0001",
            snapshot=snapshot_of(self.store),
            configuration=(gates,),
            originals=None,
            restore_guide="# By hand\n",
        )

    def backup_folder(self, folder: Path | None = None, **options: Any) -> BackupFolder:
        return BackupFolder(folder or self.backups, self.root, service="dhash", **options)

    def take(
        self, folder: BackupFolder | None = None, clock: Clock | None = None, **changes: Any
    ) -> TakenBackup:
        return take(replace(self.subject, **changes), folder or self.backup_folder(), clock or SystemClock())
