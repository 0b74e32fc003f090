"""Durable files: nothing half-written is ever visible.

Temporary files and folders are locked by their writers. The kernel releases a dead process's lock, so what it
left behind is known to be abandoned; the next writer removes it.
"""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PART = ".part"
PARTIAL = re.compile(r"\..+\.[a-z0-9_]{8}\.part")


@contextmanager
def replacing(path: Path, *, mode: int = 0o644, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Yield a file to write (and read back), which becomes `path` when the block ends without an exception.

    With `overwrite=False` an existing `path` raises `FileExistsError` and stays.
    """
    _remove_abandoned_parts(path.parent)
    descriptor, name = _part_of(path)
    try:
        with os.fdopen(descriptor, "w+b") as file:  # closed, and so unlocked, only under its final name
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            if overwrite:
                os.replace(name, path)
            else:
                os.link(name, path)  # fails where a rename would silently overwrite
                os.unlink(name)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_atomic(path: Path, content: str | bytes, *, mode: int = 0o644, overwrite: bool = True) -> None:
    """Write a whole small file, as `replacing` does."""
    with replacing(path, mode=mode, overwrite=overwrite) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a private folder among the temporary files (or in `parent`), and remove it after the block.

    Folders of this prefix that killed processes left there are removed first.
    """
    place = parent or Path(tempfile.gettempdir())
    remove_abandoned(prefix, place)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        if (held := _lock(folder)) is not None:
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def remove_abandoned(prefix: str, parent: Path | None = None) -> None:
    """Remove the scratch folders of this prefix whose owners were killed."""
    for left in (parent or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        with suppress(OSError):
            if left.stat().st_uid == os.geteuid() and (held := _lock(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(held)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def try_lock(descriptor: int) -> bool:
    """Lock an open file or folder if no other descriptor has it locked; return True if it is locked now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder for a block, once it is free."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# ---- what killed processes left


def _part_of(path: Path) -> tuple[int, str]:
    """Make a temp file beside `path` and lock it, before another process takes it for abandoned."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)


def _remove_abandoned_parts(folder: Path) -> None:
    with suppress(OSError):
        for left in folder.iterdir():
            if PARTIAL.fullmatch(left.name) and (held := _lock(left)) is not None:
                left.unlink(missing_ok=True)
                os.close(held)


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock of a file or folder; None if that is in use or gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
        return descriptor
    os.close(descriptor)
    return None
