"""Kept originals: each stands once in `backups/originals/`, for all backups that name it.

They are content-addressed and never change, so a backup lists their hashes and copies only what is new. Paths
are those of the service's own folder, so restoring needs no knowledge of its layout.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath

from guarded_rollout.backup.catalog import SAFETY
from guarded_rollout.backup.zip_reader import is_plain
from guarded_rollout.errors import BackupDamagedError, BackupFormatError
from guarded_rollout.files import replacing, sha256, sync_folder

FOLDER = "originals"
NAME = re.compile(r"([0-9a-f]{64})(\.\w+)?")
LINE = re.compile(rf"([0-9a-f]{{64}})  {FOLDER}/(.+)")
CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True, order=True)
class Original:
    """A kept original: its path below the folder of originals, and its SHA-256."""

    path: str
    sha256: str


def store(source: Path, backups: Path) -> list[Original]:
    """Copy what is new from the service's folder; returns all that are there, in the order of their paths.

    A file whose content is not what its name says is left out: a backup of it would be worth nothing. The
    time of one that is kept is that of the last backup that named it.
    """
    kept = []
    for path, digest in _found(source):
        relative = path.relative_to(source)
        target = backups / FOLDER / relative
        try:
            os.utime(target)
        except FileNotFoundError:
            if not _copy(path, target, digest):
                continue
        kept.append(Original(relative.as_posix(), digest))
    return sorted(kept)


def listing(originals: list[Original]) -> bytes:
    """The list as `sha256sum -c` reads it in the folder of backups."""
    return "".join(f"{each.sha256}  {FOLDER}/{each.path}\n" for each in originals).encode()


def listed(archive: Path, list_: bytes) -> list[Original]:
    """Read a list of originals. Raises `BackupFormatError` for one that `listing` would not write."""
    originals = []
    for line in list_.decode(errors="replace").splitlines():
        found = LINE.fullmatch(line)
        if found is None or not is_plain(found[2]) or PurePosixPath(found[2]).stem != found[1]:
            raise BackupFormatError(path=archive, problem=f"{line[:200]!r} is no line of a list of originals")
        originals.append(Original(found[2], found[1]))
    return originals


def require(archive: Path, list_: Path, *, whole: bool) -> int:
    """Require every listed original, and with `whole` its content too; how many there are.

    Raises `BackupDamagedError` naming the one that is missing or was changed.
    """
    originals = listed(archive, list_.read_bytes())
    for original in originals:
        path = folder_of(archive) / original.path
        if not path.is_file():
            raise BackupDamagedError(path=archive, problem=f"the original {path} is missing")
        if whole and sha256(path) != original.sha256:
            raise BackupDamagedError(path=archive, problem=f"the original {path} was changed")
    return len(originals)


def restore(archive: Path, list_: Path, target: Path) -> int:
    """Copy the listed originals that the service's folder lacks; how many that were.

    Raises `BackupDamagedError` naming one that is not what the list says.
    """
    copied = 0
    for original in listed(archive, list_.read_bytes()):
        if (target / original.path).exists():
            continue
        kept = folder_of(archive) / original.path
        if not kept.is_file() or not _copy(kept, target / original.path, original.sha256):
            raise BackupDamagedError(path=archive, problem=f"the original {kept} is missing or was changed")
        copied += 1
    return copied


def find(source: Path) -> dict[str, Path]:
    """Every original in the service's folder, by its SHA-256."""
    return {digest: path for path, digest in _found(source)}


def folder_of(archive: Path) -> Path:
    """The folder that an archive's originals stand in; safety copies share it with the backups."""
    backups = archive.parent.parent if archive.parent.name == SAFETY else archive.parent
    return backups / FOLDER


def remove_unlisted(backups: Path, known: Collection[str], slack: timedelta) -> list[Path]:
    """Remove the kept originals whose paths are not known, unless the newest backups may name them."""
    kept = {path: path.stat().st_mtime for path, _ in _found(backups / FOLDER)}
    named = max(kept.values(), default=0.0) - slack.total_seconds()
    gone = [
        path
        for path, time in kept.items()
        if time < named and path.relative_to(backups / FOLDER).as_posix() not in known
    ]
    for path in gone:
        path.unlink()
    return gone


def _found(source: Path) -> Iterator[tuple[Path, str]]:
    for path in source.rglob("*") if source.is_dir() else ():
        name = NAME.fullmatch(path.name)
        if name and path.is_file() and not path.is_symlink():
            yield path, name[1]


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each new one durable in the one above it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)
        sync_folder(folder.parent)


def _copy(path: Path, target: Path, digest: str) -> bool:
    """Copy one file; False, and nothing copied, if its content has another hash."""
    _make_folder(target.parent)
    hashed = hashlib.sha256()
    try:
        with path.open("rb") as source, replacing(target, mode=0o600) as file:
            while chunk := source.read(CHUNK):
                hashed.update(chunk)
                file.write(chunk)
            if hashed.hexdigest() != digest:
                raise ValueError(digest)
    except ValueError:
        return False
    return True
