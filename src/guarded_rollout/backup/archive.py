"""Takes a backup: a consistent snapshot of the data, the release and its configuration, in one verified zip.

It is written aside, read back from the disk and compared, and only then gets its name: whatever stops it
(kill -9, a full disk) leaves nothing that looks like a backup.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from guarded_rollout.backup import originals
from guarded_rollout.backup.catalog import Entry
from guarded_rollout.backup.integrity import problem_of
from guarded_rollout.backup.manifest import NAME, Manifest, Originals, contents
from guarded_rollout.backup.pack import Written, ZipWriter
from guarded_rollout.backup.shelf import Shelf
from guarded_rollout.backup.verify import read_through, require_space
from guarded_rollout.clock import Clock
from guarded_rollout.errors import BackupDamagedError, NotWritableError, ReleaseDamagedError
from guarded_rollout.files import sha256
from guarded_rollout.host.release import MANIFEST, REQUIREMENTS, Release

FLUSH_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Subject:
    """What is backed up. `snapshot` writes a consistent copy of the data into the file it is given."""

    environment: str
    release: Release
    schema_revision: str | None
    snapshot: Callable[[Path], object]
    configuration: tuple[Path, ...]
    originals: Path | None
    restore_guide: str


@dataclass(frozen=True, slots=True)
class Backup:
    """An archive in its place. Size in bytes, duration in seconds."""

    entry: Entry
    sha256: str
    size: int
    seconds: float
    manifest: Manifest


def take(subject: Subject, shelf: Shelf, clock: Clock) -> Backup:
    """Take a backup (0600, never over another one).

    Raises `NotWritableError`, `DiskFullError`, `BackupDamagedError`, and whatever `snapshot` raises.
    """
    begin, created_at = clock.monotonic(), clock.now()
    try:
        with shelf.scratch() as scratch:
            archive = scratch / "archive.zip"
            digest, manifest = _write(subject, archive, scratch, shelf, created_at)
            _read_back(archive, digest, manifest)
            size = archive.stat().st_size
            entry = shelf.publish(archive, digest, subject.environment, clock.now())
    except OSError as error:
        raise NotWritableError(path=shelf.folder, reason=error.strerror or error) from error
    return Backup(entry, digest, size, clock.monotonic() - begin, manifest)


def _write(
    subject: Subject, archive: Path, scratch: Path, shelf: Shelf, created_at: datetime
) -> tuple[str, Manifest]:
    snapshot = scratch / "snapshot"
    subject.snapshot(snapshot)
    require_space(scratch, snapshot.stat().st_size)
    # After the snapshot: what it names was kept before it, so the list has all of that.
    kept = originals.store(subject.originals, shelf.folder) if subject.originals else None
    with ThreadPoolExecutor(1) as aside, archive.open("xb") as file:
        judged = aside.submit(problem_of, snapshot)
        writer = ZipWriter(_Steady(file), created_at)
        release = subject.release
        written = [
            _add(writer, "release/" + MANIFEST, release.folder / MANIFEST),
            _add(writer, "release/" + REQUIREMENTS, release.folder / REQUIREMENTS),
            _add(writer, "release/" + release.wheel, release.folder / release.wheel),
            *(_add(writer, "configuration/" + path.name, path) for path in subject.configuration),
            _add(writer, "data/snapshot", snapshot),
            writer.add("RESTORE.md", subject.restore_guide.encode()),
        ]
        _require_as_built(release, written)
        if kept is not None:
            written.append(writer.add("originals.sha256", originals.listing(kept)))
        if problem := judged.result():
            raise BackupDamagedError(path="the store's snapshot", problem=problem)
        manifest = Manifest(
            format=1,
            environment=subject.environment,
            created_at=created_at,
            release=release.id,
            schema_revision=subject.schema_revision,
            wheel="release/" + release.wheel,
            requirements="release/" + REQUIREMENTS,
            release_json="release/" + MANIFEST,
            snapshot="data/snapshot",
            configuration=tuple("configuration/" + path.name for path in subject.configuration),
            originals=None if kept is None else Originals(list="originals.sha256", count=len(kept)),
            files=contents(written),
        )
        writer.add(NAME, manifest.to_json())
        digest = writer.close()
        file.flush()
        os.fsync(file.fileno())
        _forget_cache(file)
    return digest, manifest


def _add(writer: ZipWriter, name: str, path: Path) -> Written:
    with path.open("rb") as file:
        return writer.add(name, file)


def _require_as_built(release: Release, written: list[Written]) -> None:
    hashes = {Path(entry.name).name: entry.sha256 for entry in written}
    for name, expected in ((release.wheel, release.wheel_sha256), (REQUIREMENTS, release.lock_sha256)):
        if hashes[name] != expected:
            raise ReleaseDamagedError(id=release.id, problem=f"{name} is not the file that was built")


def _read_back(archive: Path, digest: str, manifest: Manifest) -> None:
    """What the disk gives back must be what was written, and unpack to what was packed."""
    if sha256(archive) != digest or read_through(archive) != manifest:
        raise BackupDamagedError(path=archive, problem="what was read back is not what was written")


class _Steady:
    """Writes through to the disk every few megabytes: one flush of it all would stall the service's own."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pending = 0

    def write(self, data: bytes) -> int:
        self._pending += len(data)
        if self._pending >= FLUSH_BYTES:
            self._pending = 0
            self._file.flush()
            os.fdatasync(self._file.fileno())
        return self._file.write(data)


def _forget_cache(file: BinaryIO) -> None:
    """So that reading back asks the disk; where the system cannot be asked for that, it reads the cache."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
