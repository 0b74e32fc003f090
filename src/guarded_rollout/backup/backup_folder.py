"""A backup as a folder of files, as it goes into a repository: written, and read as an archive is."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Self

from guarded_rollout.backup.zip_reader import ENTRIES_MOST, PIECE, is_plain
from guarded_rollout.backup.zip_writer import Written
from guarded_rollout.errors import BackupDamagedError, BackupFormatError


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A file of the folder: its size in bytes."""

    file_size: int


class FolderWriter:
    """Writes a backup's files into a folder (0600), and hashes their content on the way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, content: BinaryIO | bytes) -> Written:
        """Add a file; one that stands there already, as the snapshot does, is hashed alone."""
        target, digest, size = self._folder / name, hashlib.sha256(), 0
        source = BytesIO(content) if isinstance(content, bytes) else content
        there = target.exists()
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with target.open("ab") as file:
            target.chmod(0o600)
            while piece := source.read(PIECE):
                digest.update(piece)
                size += len(piece)
                if not there:
                    file.write(piece)
        return Written(name, size, digest.hexdigest())


class FolderReader:
    """A backup's files in a folder, open for reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: dict[str, FolderEntry] = {}
        for file in path.rglob("*"):
            name = file.relative_to(path).as_posix()
            if file.is_symlink() or not (file.is_file() or file.is_dir()):
                raise BackupFormatError(path=path, problem=f"{name!r}: it is a link or a special file")
            if file.is_file():
                if not is_plain(name) or len(self.entries) >= ENTRIES_MOST:
                    raise BackupFormatError(path=path, problem=f"{name!r}: its path is odd, or one too many")
                self.entries[name] = FolderEntry(file.stat().st_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held open."""

    def read(self, name: str, limit: int) -> bytes:
        """A small file's whole content, at most `limit` bytes."""
        parts: list[bytes] = []
        self.unpack(name, limit, parts.append)
        return b"".join(parts)

    def unpack(self, name: str, limit: int, sink: Callable[[bytes], object]) -> None:
        """Pass a file's content to `sink`, piece by piece, at most `limit` bytes.

        Raises `BackupDamagedError` naming the file.
        """
        size = 0
        try:
            with (self._path / name).open("rb") as file:
                while piece := file.read(PIECE):
                    size += len(piece)
                    if size > limit:
                        raise BackupDamagedError(path=self._path, problem=f"{name}: more than {limit} bytes")
                    sink(piece)
        except OSError as error:
            raise BackupDamagedError(path=self._path, problem=f"{name}: {error.strerror}") from error
