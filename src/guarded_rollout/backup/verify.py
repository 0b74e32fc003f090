"""Verifies an archive: reads all of it, and restores nothing."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from guarded_rollout.backup import manifest, originals, signing
from guarded_rollout.backup.catalog import parse
from guarded_rollout.backup.manifest import Content, Manifest
from guarded_rollout.backup.zip_reader import ZipReader
from guarded_rollout.errors import BackupDamagedError, BackupFormatError, BackupMissingError, DiskFullError
from guarded_rollout.files import scratch_folder, sha256
from guarded_rollout.sqlite import is_sqlite

HARMLESS_BYTES = 256 * 2**20  # unpacked, whatever the archive's own size
DUMP_LIST, DUMP_MAGIC = "toc.dat", b"PGDMP"  # of pg_dump's directory format
RATIO_MOST = 200  # deflate reaches 1,032; a store, full of thumbnails and random ids, about two

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
    """Unpack an archive into a folder, checking all of it on the way.

    Without signers no signature is checked. The originals beside it must exist; `originals_too` reads them.
    Raises `BackupMissingError`, `BackupDamagedError`, `BackupFormatError`, `SignatureError`, `DiskFullError`.
    """
    if not archive.is_file():
        raise BackupMissingError(path=archive)
    expected = signing.read(archive)
    if sha256(archive) != expected:
        raise BackupDamagedError(path=archive, problem="its SHA-256 is not the one recorded beside it")
    checks = ["SHA-256 as recorded"]
    if allowed_signers is not None:
        signing.check_signature(archive, allowed_signers)
        checks.append("signed by an allowed signer")
    found = read_through(archive, into)
    checks.append(f"manifest, and {len(found.files)} files with the size and SHA-256 that it names")
    if _release_in(into / found.release_json) != found.release:
        raise BackupFormatError(path=archive, problem=f"{found.release_json} is not of {found.release}")
    if found.snapshot is None:
        checks.append("it has no data: the service keeps none")
    elif problem := snapshot_problem(into / found.snapshot):
        raise BackupDamagedError(path=archive, problem=f"{found.snapshot}: {problem}")
    else:
        checks.append("the snapshot is a whole database")
    if found.originals is not None:
        count = originals.require(archive, into / found.originals.list, whole=originals_too)
        checks.append(f"{count} originals {'whole' if originals_too else 'present'} beside it")
    return Verified(archive, expected, found, tuple(checks))


def read_through(archive: Path, into: Path | None = None) -> Manifest:
    """Read all of an archive against its manifest; with a folder, leave its files there (0600)."""
    with ZipReader(archive) as reader:
        found = _read_manifest(archive, reader)
        if into is not None:
            into.mkdir(exist_ok=True, mode=0o700)
            require_space(into, sum(content.size for content in found.files.values()))
        with ThreadPoolExecutor(1) as aside:
            for name, content in found.files.items():
                _read_one(archive, reader, name, content, into, aside)
    return found


def read_files(
    archive: Path, chosen: Callable[[Manifest], Collection[str]]
) -> tuple[Manifest, dict[str, bytes]]:
    """Read some small files of a verified archive, each against its hash in the manifest."""
    with ZipReader(archive) as reader:
        found = _read_manifest(archive, reader)
        files = {name: reader.read(name, found.files[name].size) for name in chosen(found)}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != found.files[name].sha256:
            raise _changed(archive, name)
    return found, files


def _read_manifest(archive: Path, reader: ZipReader) -> Manifest:
    if manifest.NAME not in reader.entries:
        raise BackupFormatError(path=archive, problem=f"it has no {manifest.NAME}")
    found = Manifest.from_json(reader.read(manifest.NAME, manifest.BYTES_MOST), archive)
    _require_agreement(archive, found, reader)
    return found


def _changed(archive: Path, name: str) -> BackupDamagedError:
    return BackupDamagedError(path=archive, problem=f"{name}: its SHA-256 is not the one in the manifest")


def _require_agreement(archive: Path, found: Manifest, reader: ZipReader) -> None:
    """The manifest decides what is unpacked and how large it may get: the zip must say the same."""
    sizes = {name: info.file_size for name, info in reader.entries.items() if name != manifest.NAME}
    for name in sorted(sizes.keys() ^ found.files.keys()):
        where = "the archive" if name in sizes else "the manifest"
        raise BackupFormatError(path=archive, problem=f"{name!r} is in {where} alone")
    for name, content in found.files.items():
        if sizes[name] != content.size:
            raise BackupFormatError(path=archive, problem=f"{name}: the manifest gives another size")
    unpacked, packed = sum(sizes.values()), archive.stat().st_size
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
    reader: ZipReader,
    name: str,
    content: Content,
    into: Path | None,
    aside: ThreadPoolExecutor,
) -> None:
    digest = hashlib.sha256()
    with ExitStack() as stack:
        write: Sink | None = None
        if into is not None:
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = stack.enter_context(target.open("xb"))
            target.chmod(0o600)
            write = file.write

        def sink(piece: bytes) -> None:
            hashed = aside.submit(digest.update, piece)  # on the other core
            if write is not None:
                write(piece)
            hashed.result()

        reader.unpack(name, content.size, sink)
    if digest.hexdigest() != content.sha256:
        raise _changed(archive, name)
