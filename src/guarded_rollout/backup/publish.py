"""Publishes an archive: written in a scratch folder without disturbing others, then given a free name.

A large file is flushed a few megabytes at a time: one flush at the end would block others for a second.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from guarded_rollout.backup import signing
from guarded_rollout.backup.catalog import BackupEntry, name_for
from guarded_rollout.files import scratch_folder, sync_folder

SCRATCH = ".taking-"
FLUSH_BYTES = 8 * 1024**2
NICE = 10


@dataclass(frozen=True, slots=True)
class BackupFolder:
    """A folder of backups of a service. `sha256sum -c` is run in `root`. A safety copy stands where nobody
    looks for the latest backup; with a signing key (OpenSSH), checksums are signed."""

    path: Path
    root: Path
    safety: bool = False
    signing_key: Path | None = None
    service: str = "backup"

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A private folder on the same file system; what killed backups left is removed."""
        self.path.mkdir(parents=True, exist_ok=True)
        with scratch_folder(SCRATCH, self.path) as scratch:
            yield scratch

    def publish(self, archive: Path, digest: str, environment: str, now: datetime) -> BackupEntry:
        """Move a finished archive to a name that nobody has."""
        entry = self._claim(digest, environment, now)
        try:
            if self.signing_key is not None:
                signing.sign(entry.path, self.signing_key)
            archive.chmod(0o600)
            os.rename(archive, entry.path)
        except BaseException:
            for path in entry.files[1:]:
                path.unlink(missing_ok=True)
            raise
        for folder in entry.path.parents[:2]:  # that of safety copies is made for the first one
            sync_folder(folder)
        return entry

    def _claim(self, digest: str, environment: str, now: datetime) -> BackupEntry:
        """Write the checksum file first: it claims the name, and alone it is no backup."""
        while True:
            entry = name_for(self.path, environment, now, service=self.service, safety=self.safety)
            entry.path.parent.mkdir(exist_ok=True, mode=0o700)
            try:
                signing.write(entry.path, digest, self.root)
            except FileExistsError:
                continue
            return entry


class IncrementallyFlushedFile:
    """A new file to write; once its block ends well, it is on the disk and in no cache."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._flusher = ThreadPoolExecutor(1)
        self._flushing: Future[None] | None = None
        self._pending = 0

    def __enter__(self) -> Self:
        return self

    def write(self, data: bytes) -> int:
        """Append; wait while the disk is more than one flush behind."""
        self._pending += len(data)
        if self._pending >= FLUSH_BYTES:
            self._pending = 0
            self._settle()
            self._file.flush()
            self._flushing = self._flusher.submit(os.fsync, self._file.fileno())
        return self._file.write(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file, self._flusher:
            if kind is None:
                self._settle()
                self._file.flush()
                os.fsync(self._file.fileno())
                forget_cache(self._file.fileno())

    def _settle(self) -> None:
        """Wait for what the disk is writing, and raise what went wrong with it."""
        if self._flushing is not None:
            self._flushing.result()


def forget_cache(descriptor: int) -> None:
    """Drop a file from the cache, so that reading it asks the disk, where the system allows it."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def run_behind_others() -> None:
    """Give the calling thread, and whatever it starts, the processor after everyone else.

    Only on Linux, where a thread has a priority of its own; elsewhere it would be the whole process.
    """
    if os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
