"""Verifies an archive: reads all of it, and restores nothing."""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from guarded_rollout.backup import manifest, originals, signing
from guarded_rollout.backup.backup_folder import FolderReader
from guarded_rollout.backup.catalog import parse
from guarded_rollout.backup.manifest import Content, Manifest
from guarded_rollout.backup.zip_reader import ZipReader
from guarded_rollout.errors import BackupDamagedError, BackupFormatError, BackupMissingError, DiskFullError
from guarded_rollout.files import scratch_folder, sha256
from guarded_rollout.sqlite import is_sqlite

HARMLESS_BYTES = 256 * 2**20  # unpacked, whatever the archive's own size
DUMP_LIST, DUMP_MAGIC = "toc.dat", b"PGDMP"  # of pg_dump's directory format
RATIO_MOST = 200  # deflate reaches 1,032; a store, full of thumbnails and random ids, about two

SMALL = 4 * 2**20  # bytes of an archive that is hashed before any of it is unpacked: no time is lost
SIDE = ".unpacking-"

Sink = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Verified:
    """An archive that passed; `checks` are sentences, one for each thing that was checked."""

    archive: Path
    sha256: str
    manifest: Manifest
    checks: tuple[str, ...]


def verify(archive: Path, *, allowed_signers: Path | None = None, originals_too: bool = False) -> Verified:
    """Check everything that `unpack` checks, and leave nothing behind."""
    with scratch_folder("rollout-verify-") as scratch:
        return unpack(archive, scratch, allowed_signers=allowed_signers, originals_too=originals_too)


def unpack(
    archive: Path, into: Path, *, allowed_signers: Path | None = None, originals_too: bool = False
) -> Verified:
    """Unpack an archive into a folder, checking all of it on the way; what does not pass leaves nothing.

    It is read once: its own hash, those of its files and SQLite's check overlap. Without signers no signature
    is checked. The originals beside it must exist; `originals_too` reads them.
    Raises `BackupMissingError`, `BackupDamagedError`, `BackupFormatError`, `SignatureError`, `DiskFullError`.
    """
    with _side_of(into) as side, ThreadPoolExecutor(2) as aside:
        expected = _expected(archive, allowed_signers)
        digest = aside.submit(sha256, archive / manifest.NAME if archive.is_dir() else archive)
        if expected is not None and archive.stat().st_size < SMALL:
            _require_recorded(archive, digest.result(), expected)
        try:
            found, judged = _unpack_beside(archive, side, aside)
        except (BackupDamagedError, BackupFormatError):
            _require_recorded(archive, digest.result(), expected)  # the better reason, if it is one
            raise
        _require_recorded(archive, digest.result(), expected)
        if _release_in(side / found.release_json) != found.release:
            raise BackupFormatError(path=archive, problem=f"{found.release_json} is not of {found.release}")
        if judged and (problem := judged.result()):
            raise BackupDamagedError(path=archive, problem=f"{found.snapshot}: {problem}")
        checks = _checks(archive, found, signed=allowed_signers is not None)
        if found.originals is not None:
            count = originals.require(archive, side / found.originals.list, whole=originals_too)
            checks.append(f"{count} originals {'whole' if originals_too else 'present'} beside it")
    return Verified(archive, digest.result(), found, tuple(checks))


@contextmanager
def _side_of(into: Path) -> Iterator[Path]:
    """A folder whose files get their names in `into` when the block has ended well; else nothing is there."""
    made = not into.exists()
    into.mkdir(exist_ok=True, mode=0o700)
    try:
        with scratch_folder(SIDE, into) as side:
            yield side
            for path in side.iterdir():
                os.rename(path, into / path.name)
    except BaseException:
        if made:
            shutil.rmtree(into, ignore_errors=True)
        raise


def _unpack_beside(
    archive: Path, side: Path, aside: ThreadPoolExecutor
) -> tuple[Manifest, Future[str | None] | None]:
    """Unpack all of an archive, the snapshot first: it is judged while the rest is unpacked."""
    with _opened(archive) as reader:
        found = _read_manifest(archive, reader)
        require_space(side, sum(content.size for content in found.files.values()))
        data = [name for name in found.files if _is_data(name, found)]
        judged = None
        with ThreadPoolExecutor(1) as hasher:
            for name in data:
                _read_one(archive, reader, name, found.files[name], side, hasher)
            if found.snapshot is not None:
                judged = aside.submit(snapshot_problem, side / found.snapshot)
            for name in found.files.keys() - set(data):
                _read_one(archive, reader, name, found.files[name], side, hasher)
    return found, judged


def _is_data(name: str, found: Manifest) -> bool:
    """True for a file of the snapshot, which is a file or a folder."""
    return found.snapshot is not None and (name == found.snapshot or name.startswith(f"{found.snapshot}/"))


def _expected(archive: Path, allowed_signers: Path | None) -> str | None:
    """An archive's SHA-256, as the file beside it says, once its signature is checked; None for a folder."""
    if (archive / manifest.NAME).is_file():
        return None
    if not archive.is_file():
        raise BackupMissingError(path=archive)
    expected = signing.read(archive)
    if allowed_signers is not None:
        signing.check_signature(archive, allowed_signers)
    return expected


def _require_recorded(archive: Path, digest: str, expected: str | None) -> None:
    if expected is not None and digest != expected:
        raise BackupDamagedError(path=archive, problem="its SHA-256 is not the one recorded beside it")


def _checks(archive: Path, found: Manifest, *, signed: bool) -> list[str]:
    """What was checked, in sentences."""
    first = ["no archive, but its files"] if archive.is_dir() else ["SHA-256 as recorded"]
    if signed and not archive.is_dir():
        first.append("signed by an allowed signer")
    return [
        *first,
        f"manifest, and {len(found.files)} files with the size and SHA-256 that it names",
        "it has no data: the service keeps none"
        if found.snapshot is None
        else "the snapshot is a whole database",
    ]


def _opened(archive: Path) -> ZipReader | FolderReader:
    """An archive, or the folder that a copy of one was brought back into."""
    return FolderReader(archive) if archive.is_dir() else ZipReader(archive)


def read_through(archive: Path) -> Manifest:
    """Read all of an archive against its manifest."""
    with _opened(archive) as reader, ThreadPoolExecutor(1) as hasher:
        found = _read_manifest(archive, reader)
        for name, content in found.files.items():
            _read_one(archive, reader, name, content, None, hasher)
    return found


def read_files(
    archive: Path, chosen: Callable[[Manifest], Collection[str]]
) -> tuple[Manifest, dict[str, bytes]]:
    """Read some small files of a verified archive, each against its hash in the manifest."""
    with _opened(archive) as reader:
        found = _read_manifest(archive, reader)
        files = {name: reader.read(name, found.files[name].size) for name in chosen(found)}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != found.files[name].sha256:
            raise _changed(archive, name)
    return found, files


def _read_manifest(archive: Path, reader: ZipReader | FolderReader) -> Manifest:
    if manifest.NAME not in reader.entries:
        raise BackupFormatError(path=archive, problem=f"it has no {manifest.NAME}")
    found = Manifest.from_json(reader.read(manifest.NAME, manifest.BYTES_MOST), archive)
    _require_agreement(archive, found, reader)
    return found


def _changed(archive: Path, name: str) -> BackupDamagedError:
    return BackupDamagedError(path=archive, problem=f"{name}: its SHA-256 is not the one in the manifest")


def _require_agreement(archive: Path, found: Manifest, reader: ZipReader | FolderReader) -> None:
    """The manifest decides what is unpacked and how large it may get: the zip must say the same."""
    sizes = {name: info.file_size for name, info in reader.entries.items() if name != manifest.NAME}
    for name in sorted(sizes.keys() ^ found.files.keys()):
        where = "the archive" if name in sizes else "the manifest"
        raise BackupFormatError(path=archive, problem=f"{name!r} is in {where} alone")
    for name, content in found.files.items():
        if sizes[name] != content.size:
            raise BackupFormatError(path=archive, problem=f"{name}: the manifest gives another size")
    unpacked = sum(sizes.values())
    packed = unpacked if archive.is_dir() else archive.stat().st_size
    if unpacked > max(HARMLESS_BYTES, RATIO_MOST * packed):
        problem = f"it would unpack to {unpacked // 2**20} MiB, {unpacked // packed} times its own size"
        raise BackupFormatError(path=archive, problem=problem)
    entry = parse(archive)
    if entry is not None and entry.environment != found.environment:
        problem = f"its name says {entry.environment}, its manifest {found.environment}"
        raise BackupFormatError(path=archive, problem=problem)


def _release_in(release_json: Path) -> object:
    """The id that an unpacked RELEASE.json names: where it is rebuilt, so it must be the manifest's."""
    try:
        named = json.loads(release_json.read_bytes())
    except (ValueError, RecursionError):
        return None
    return named.get("id") if isinstance(named, dict) else None


def snapshot_problem(path: Path) -> str | None:
    """The first problem that is found in a snapshot; None if it is well, or nothing that we can read.

    A folder is what pg_dump writes: its list of contents is looked for.

    `quick_check` reads every page and row, and leaves out comparing the indexes with them: 0.15 s instead
    of 4.6 s for 200 MB. An index is derived, and the service's own check compares it.
    """
    try:
        if path.is_dir():
            whole = (path / DUMP_LIST).is_file() and (path / DUMP_LIST).open("rb").read(5) == DUMP_MAGIC
            return None if whole else f"it has no {DUMP_LIST}"
        if not is_sqlite(path):
            return None
        # `immutable`: no lock and no journal files beside a file that is only read.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as database:
            [(answer,), *_] = database.execute("PRAGMA quick_check(1)").fetchall()
    except (sqlite3.DatabaseError, OSError) as error:
        return str(error)
    return None if answer == "ok" else str(answer)


def require_space(folder: Path, needed: int) -> None:
    """Raise `DiskFullError` unless so many bytes are free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFullError(path=folder, free_mb=free // 10**6, needed_mb=needed // 10**6 + 1)


def _read_one(
    archive: Path,
    reader: ZipReader | FolderReader,
    name: str,
    content: Content,
    into: Path | None,
    aside: ThreadPoolExecutor,
) -> None:
    digest = hashlib.sha256()
    hashing: list[Future[None]] = []
    with ExitStack() as stack:
        write: Sink | None = None
        if into is not None:
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = stack.enter_context(target.open("xb"))
            target.chmod(0o600)
            write = file.write

        def sink(piece: bytes) -> None:
            if hashing:
                hashing.pop().result()  # one piece behind, so that the next one is unpacked meanwhile
            hashing.append(aside.submit(digest.update, piece))
            if write is not None:
                write(piece)

        reader.unpack(name, content.size, sink)
        for last in hashing:
            last.result()
    if digest.hexdigest() != content.sha256:
        raise _changed(archive, name)
