"""Originals: submitted files kept whole, each under its SHA-256. Written once, never half-visible.

They are in a folder of this machine, or in an object store that several replicas share.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from dhash_service.errors import StoreDamagedError, StoreFullError, StoreUnreachableError
from dhash_service.facts import Sha256
from dhash_service.files import NO_ROOM


class Originals(Protocol):
    """Content-addressed files: `aa/bb/aabb…`, after the digest's first two bytes. Safe from any thread.

    `folder` is where they are on this machine, None where they are elsewhere. `at_once` are so many that it
    pays to put at the same time.
    """

    folder: Path | None
    at_once: int

    def put(self, content: bytes, sha256: Sha256) -> object:
        """Keep a file; durable on return. One that is there already stays as it is, unless it has changed.

        Raises `StoreDamagedError` if the content has another digest, `StoreFullError` or
        `StoreUnreachableError` if it cannot be written.
        """
        ...

    def get(self, sha256: Sha256) -> bytes | None:
        """The file, verified; None where it is not kept.

        Raises `StoreDamagedError` if it has changed, `StoreUnreachableError` if it cannot be read.
        """
        ...

    def has(self, sha256: Sha256) -> bool:
        """True of a file that is kept. Raises `StoreUnreachableError` where that cannot be told."""
        ...

    def remove(self, sha256: Sha256) -> None:
        """Remove a file for good; one that is not kept changes nothing. Raises `StoreUnreachableError`."""
        ...

    def digests(self) -> Iterator[Sha256]:
        """The digest of every file that is kept. Raises `StoreUnreachableError`."""
        ...

    def require_usable(self) -> None:
        """Raise `StoreError` where it can be seen beforehand that nothing can be kept."""
        ...


def place_of(sha256: Sha256) -> str:
    """A file's path below wherever originals are kept. Raises `ValueError` for what is no SHA-256."""
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise ValueError(f"{sha256!r} is not a SHA-256 in lower-case hex")
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


def require_same(content: bytes, sha256: Sha256, otherwise: str) -> None:
    """Raise `StoreDamagedError` where the content has another digest."""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreDamagedError(otherwise)


class FolderOriginals:
    """Originals in a folder; see `Originals`."""

    at_once = 2

    def __init__(self, folder: Path) -> None:
        self.folder: Path | None = folder
        self._top = folder

    def path(self, sha256: Sha256) -> Path:
        """The path of the file with this digest, kept or not."""
        return self._top / place_of(sha256)

    def put(self, content: bytes, sha256: Sha256) -> Path:
        """See `Originals.put`; the file's path."""
        require_same(content, sha256, f"The bytes to be kept as {sha256} are not those.")
        path = self.path(sha256)
        try:
            if _holds(path, content):
                _sync_folder(path.parent)  # whoever wrote it may not have come so far
                return path
            _make_folders(path.parent, self._top)
            _write(path, content)
        except OSError as error:
            kind = StoreFullError if error.errno in NO_ROOM else StoreUnreachableError
            raise kind(
                f"The original cannot be kept: {error.strerror}.", "Look at the folder DHASH_ORIGINALS."
            ) from error
        return path

    def has(self, sha256: Sha256) -> bool:
        return self.path(sha256).exists()

    def remove(self, sha256: Sha256) -> None:
        path = self.path(sha256)
        try:
            if path.exists():
                path.unlink(missing_ok=True)
                _sync_folder(path.parent)
        except OSError as error:
            raise StoreUnreachableError(
                f"The original cannot be removed: {error.strerror}.", "Look at the folder DHASH_ORIGINALS."
            ) from error

    def digests(self) -> Iterator[Sha256]:
        for path in self._top.glob("??/??/*"):
            if len(path.name) == 64:
                yield Sha256(path.name)

    def get(self, sha256: Sha256) -> bytes | None:
        try:
            content = self.path(sha256).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnreachableError(
                f"The original cannot be read: {error.strerror}.", "Look at the folder DHASH_ORIGINALS."
            ) from error
        require_same(content, sha256, f"The original {sha256} has changed on the disk.")
        return content

    def require_usable(self) -> None:
        """Nothing: what is wrong with a folder is told when it is written to, and may be mended by then."""


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except FileNotFoundError:
        return False


def _write(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:8]}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _make_folders(folder: Path, top: Path) -> None:
    """Make a folder under `top`, each new one durable in the one above it."""
    if folder.is_dir():
        return
    if folder != top:
        _make_folders(folder.parent, top)
    folder.mkdir(parents=folder == top, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
