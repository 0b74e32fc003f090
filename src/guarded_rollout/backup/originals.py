"""Kept originals: each stands once in `backups/originals/`, for all backups that name it.

They are content-addressed and never change, so a backup lists their hashes and copies only what is new.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from guarded_rollout.backup.catalog import SAFETY
from guarded_rollout.errors import BackupDamagedError
from guarded_rollout.files import replacing, sha256

FOLDER = "originals"
NAME = re.compile(r"([0-9a-f]{64})(\.\w+)?")
CHUNK = 1024 * 1024


def store(source: Path, backups: Path) -> list[str]:
    """Copy what is new from the service's folder; returns the hashes of all that are there, sorted.

    A file whose content is not what its name says is left out: a backup of it would be worth nothing.
    """
    kept = []
    for path, digest in _originals(source):
        target = place(backups, digest)
        if target.exists() or _copy(path, target, digest):
            kept.append(digest)
    return sorted(kept)


def listing(digests: list[str]) -> bytes:
    """The list as `sha256sum -c` reads it in the folder of backups."""
    return "".join(f"{digest}  {place(Path(), digest)}\n" for digest in digests).encode()


def place(backups: Path, digest: str) -> Path:
    """Where an original stands."""
    return backups / FOLDER / digest[:2] / digest


def check(archive: Path, list_: Path) -> None:
    """Require every listed original, whole. Raises `BackupDamagedError`."""
    for digest in digests_of(list_):
        path = place(folder_of(archive), digest)
        if not path.is_file():
            raise BackupDamagedError(path=archive, problem=f"the original {path} is missing")
        if sha256(path) != digest:
            raise BackupDamagedError(path=archive, problem=f"the original {path} was changed")


def digests_of(list_: Path) -> list[str]:
    """The hashes in a list that `listing` wrote."""
    return [line[:64] for line in list_.read_text().splitlines()]


def folder_of(archive: Path) -> Path:
    """The folder that an archive's originals stand in; safety copies share it with the backups."""
    return archive.parent.parent if archive.parent.name == SAFETY else archive.parent


def find(source: Path) -> dict[str, Path]:
    """Every original in the service's folder, by its SHA-256."""
    return {digest: path for path, digest in _originals(source)}


def _originals(source: Path) -> Iterator[tuple[Path, str]]:
    for path in source.rglob("*") if source.is_dir() else ():
        if (found := NAME.fullmatch(path.name)) and path.is_file() and not path.is_symlink():
            yield path, found[1]


def _copy(path: Path, target: Path, digest: str) -> bool:
    """Copy one file; False, and nothing copied, if its content has another hash."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
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
