"""The one way a durable file comes into being: nothing half-written is ever visible."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, *, mode: int = 0o644, overwrite: bool = True) -> Iterator[BinaryIO]:
    """A file to write (and read back), which becomes `path` when the block ends well.

    Temp file in the same folder, fsync, rename, fsync of the folder; an exception in the block removes the
    temp file and leaves `path` as it was. `file.name` is the temp file, for whoever verifies it before the
    rename. With `overwrite=False` an existing `path` raises `FileExistsError` and stays.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w+b") as file:
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
    """Write a whole small file, see `replacing`."""
    with replacing(path, mode=mode, overwrite=overwrite) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
