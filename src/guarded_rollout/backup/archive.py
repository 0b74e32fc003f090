"""Takes a backup: a consistent snapshot of the data, the release and its configuration, in one verified zip.

It is written aside, read back from the disk and compared, and only then gets its name: whatever stops it
(kill -9, a full disk) leaves nothing that looks like a backup.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from guarded_rollout.backup import originals
from guarded_rollout.backup.backup_folder import FolderWriter
from guarded_rollout.backup.catalog import BackupEntry
from guarded_rollout.backup.manifest import FORMAT, NAME, Content, Manifest, Originals
from guarded_rollout.backup.originals import Original
from guarded_rollout.backup.publish import BackupFolder, IncrementallyFlushedFile, run_behind_others
from guarded_rollout.backup.verify import read_through, require_space, snapshot_problem
from guarded_rollout.backup.zip_writer import Written, ZipWriter
from guarded_rollout.clock import Clock
from guarded_rollout.errors import (
    BackupDamagedError,
    NotWritableError,
    ReleaseDamagedError,
    SnapshotMissingError,
)
from guarded_rollout.files import sha256
from guarded_rollout.host.release import MANIFEST, REQUIREMENTS, Release
from guarded_rollout.host.wheels import FOLDER as WHEELS

RELEASE, CONFIGURATION = "release/", "configuration/"
SNAPSHOT, ORIGINALS = "data/snapshot", "originals.sha256"


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a backup. `snapshot` writes one moment of the data to the path it is given, as a file or
    a folder; None if there is no data."""

    environment: str
    release: Release
    schema_revision: str | None
    snapshot: Callable[[Path], object] | None
    configuration: tuple[Path, ...]
    originals: Path | None
    restore_guide: str
    wheels: tuple[Path, ...] = ()  # of the release's requirements


class BackupWriter(Protocol):
    """Where a backup's files go: an archive, or a folder."""

    def add(self, name: str, content: BinaryIO | bytes) -> Written: ...


@dataclass(frozen=True, slots=True)
class TakenBackup:
    """An archive in its place. Size in bytes, duration in seconds."""

    entry: BackupEntry
    sha256: str
    size: int
    seconds: float
    manifest: Manifest


def take(subject: Subject, folder: BackupFolder, clock: Clock) -> TakenBackup:
    """Take a backup (0600, never over another one).

    Raises `NotWritableError`, `DiskFullError`, `BackupDamagedError`, and whatever `snapshot` raises.
    """
    quiet = ThreadPoolExecutor(1, initializer=run_behind_others)
    try:
        return quiet.submit(_take, subject, folder, clock).result()
    finally:
        quiet.shutdown(wait=False)  # whoever is interrupted does not wait for gigabytes


def _take(subject: Subject, folder: BackupFolder, clock: Clock) -> TakenBackup:
    begin, created_at = clock.monotonic(), clock.now()
    try:
        with folder.scratch() as scratch:
            archive = scratch / "archive.zip"
            manifest = _write(subject, archive, folder, created_at)
            digest = read_back(archive, manifest)
            size = archive.stat().st_size
            entry = folder.publish(archive, digest, subject.environment, clock.now())
    except OSError as error:
        raise NotWritableError(path=folder.path, reason=error.strerror or error) from error
    return TakenBackup(entry, digest, size, clock.monotonic() - begin, manifest)


def stage(subject: Subject, folder: Path, backups: Path, created_at: datetime) -> Manifest:
    """Write a backup's files into a folder instead of an archive. Raises what `take` raises."""
    with ThreadPoolExecutor(1, initializer=run_behind_others) as quiet:
        return quiet.submit(_stage, subject, folder, backups, created_at).result()


def _stage(subject: Subject, folder: Path, backups: Path, created_at: datetime) -> Manifest:
    snapshot = folder / SNAPSHOT
    snapshot.parent.mkdir(parents=True, mode=0o700)
    _snapshot(subject, snapshot)
    kept = originals.store(subject.originals, backups) if subject.originals else None
    writer = FolderWriter(folder)
    manifest = _fill(subject, snapshot, kept, writer, created_at)
    writer.add(NAME, manifest.to_json())
    return manifest


def _write(subject: Subject, archive: Path, folder: BackupFolder, created_at: datetime) -> Manifest:
    snapshot = archive.with_name("snapshot")
    _snapshot(subject, snapshot)
    require_space(archive.parent, sum(path.stat().st_size for path in _files(snapshot)))
    # After the snapshot: what it names was kept before it, so the list has all of that.
    kept = originals.store(subject.originals, folder.path) if subject.originals else None
    with IncrementallyFlushedFile(archive) as file:
        writer = ZipWriter(file, created_at)
        manifest = _fill(subject, snapshot, kept, writer, created_at)
        writer.add(NAME, manifest.to_json())
        writer.close()
    return manifest


def _fill(
    subject: Subject, snapshot: Path, kept: list[Original] | None, writer: BackupWriter, created_at: datetime
) -> Manifest:
    data = {_entry(path, snapshot): path for path in _files(snapshot)}
    with ThreadPoolExecutor(1) as aside:
        judged = aside.submit(snapshot_problem, snapshot) if data else None
        written = list(_pack(subject, data, kept, writer))
        _require_as_built(subject.release, written)
        if judged and (problem := judged.result()):
            raise BackupDamagedError(path="the store's snapshot", problem=problem)
    return _manifest(subject, written, kept, created_at)


def _pack(
    subject: Subject, data: Mapping[str, Path], kept: list[Original] | None, writer: BackupWriter
) -> Iterator[Written]:
    release = subject.release
    yield _add(writer, RELEASE + MANIFEST, release.folder / MANIFEST)
    yield _add(writer, RELEASE + REQUIREMENTS, release.folder / REQUIREMENTS)
    yield _add(writer, RELEASE + release.artifact, release.folder / release.artifact)
    for path in subject.wheels:
        yield _add(writer, f"{RELEASE}{WHEELS}/{path.name}", path)
    for path in subject.configuration:
        yield _add(writer, CONFIGURATION + path.name, path)
    yield from (_add(writer, name, path) for name, path in data.items())
    yield writer.add("RESTORE.md", subject.restore_guide.encode())
    if kept is not None:
        yield writer.add(ORIGINALS, originals.listing(kept))


def _snapshot(subject: Subject, to: Path) -> None:
    if subject.snapshot is not None:
        subject.snapshot(to)
        if not to.exists():
            raise SnapshotMissingError(release=subject.release.id, path=to)


def _files(snapshot: Path) -> list[Path]:
    """The files of a snapshot, which may be one; none where there is no data."""
    return sorted(path for path in (snapshot, *snapshot.rglob("*")) if path.is_file())


def _entry(path: Path, snapshot: Path) -> str:
    """The name of a snapshot's file in the archive."""
    return "/".join((SNAPSHOT, *path.relative_to(snapshot).parts))


def _manifest(
    subject: Subject, written: list[Written], kept: list[Original] | None, created_at: datetime
) -> Manifest:
    return Manifest(
        format=FORMAT,
        environment=subject.environment,
        created_at=created_at,
        release=subject.release.id,
        schema_revision=subject.schema_revision,
        wheel=RELEASE + subject.release.artifact,
        requirements=RELEASE + REQUIREMENTS,
        release_json=RELEASE + MANIFEST,
        snapshot=SNAPSHOT if subject.snapshot else None,
        configuration=tuple(CONFIGURATION + path.name for path in subject.configuration),
        originals=None if kept is None else Originals(list=ORIGINALS, count=len(kept)),
        files={entry.name: Content(size=entry.size, sha256=entry.sha256) for entry in written},
    )


def _add(writer: BackupWriter, name: str, path: Path) -> Written:
    with path.open("rb") as file:
        return writer.add(name, file)


def _require_as_built(release: Release, written: list[Written]) -> None:
    hashes = {Path(entry.name).name: entry.sha256 for entry in written}
    for name, expected in ((release.artifact, release.artifact_sha256), (REQUIREMENTS, release.lock_sha256)):
        if hashes[name] != expected:
            raise ReleaseDamagedError(id=release.id, problem=f"{name} is not the file that was built")


def read_back(archive: Path, manifest: Manifest) -> str:
    """Require that the disk gives back what was packed; returns the SHA-256 of what it gave."""
    with ThreadPoolExecutor(1) as aside:
        digest = aside.submit(sha256, archive)
        if read_through(archive) != manifest:
            raise BackupDamagedError(path=archive, problem="what was read back is not what was written")
        return digest.result()
