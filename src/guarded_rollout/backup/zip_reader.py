"""Reads zip files that may be damaged or hostile: what is odd is refused before any of it is unpacked."""

import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from isal import isal_zlib

from guarded_rollout.backup.zip_writer import CHUNK, UNIX
from guarded_rollout.errors import BackupDamagedError, BackupFormatError

ENTRIES_MOST = 10_000  # ours have a dozen
PATH_BYTES_MOST = 1000  # macOS ends paths at 1024
PIECE = 4 * CHUNK  # most bytes unpacked at a time: bounds memory, whatever the archive says
UNPACK_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub calls a class a value


class ZipReader:
    """An archive, open for reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise BackupDamagedError(path=path, problem=error.strerror) from error
        try:
            with zipfile.ZipFile(self._file) as listing:
                self._infos = listing.infolist()
        except Exception as error:  # zipfile meets damage with a dozen kinds of errors
            self._file.close()
            raise BackupDamagedError(path=path, problem=f"it is not a whole zip file ({error})") from error
        self.entries = {info.filename: info for info in self._infos}
        try:
            self._refuse_odd_entries()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, name: str, limit: int) -> bytes:
        """A small entry's whole content, at most `limit` bytes."""
        parts: list[bytes] = []
        self.unpack(name, limit, parts.append)
        return b"".join(parts)

    def unpack(self, name: str, limit: int, sink: Callable[[bytes], object]) -> None:
        """Pass an entry's content to `sink`, piece by piece; more than `limit` bytes are never unpacked.

        Raises `BackupDamagedError` naming the entry.
        """
        info = self.entries[name]
        crc, size = 0, 0
        for piece in self._pieces(info):
            size += len(piece)
            if size > limit:
                raise self._damaged(name, f"it unpacks to more than {limit} bytes")
            crc = isal_zlib.crc32(piece, crc)
            sink(piece)
        if (crc, size) != (info.CRC, info.file_size):
            raise self._damaged(name, "its content does not match its CRC")

    def _pieces(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        left, packed = info.compress_size, b""
        self._seek_to_content(info)
        unpacker = isal_zlib.decompressobj(-15)
        while not unpacker.eof:
            if not packed and left:
                packed = self._file.read(min(CHUNK, left))
                left -= len(packed)
                if not packed:
                    raise self._damaged(info.filename, "it is cut off")
            try:
                piece = unpacker.decompress(packed, PIECE)
            except UNPACK_ERROR as error:
                raise self._damaged(info.filename, f"it cannot be unpacked ({error})") from error
            packed = unpacker.unconsumed_tail
            if piece:
                yield piece
            elif not packed and not left:
                break
        if left or not unpacker.eof or unpacker.unused_data:
            raise self._damaged(info.filename, "its length does not match")

    def _seek_to_content(self, info: zipfile.ZipInfo) -> None:
        self._file.seek(info.header_offset)
        header = self._file.read(30)
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise self._damaged(info.filename, "its header is missing")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        if self._file.read(name_length) != info.filename.encode():
            raise self._damaged(info.filename, "its header names another file")
        self._file.seek(extra_length, 1)

    def _refuse_odd_entries(self) -> None:
        if len(self._infos) > ENTRIES_MOST:
            raise self._odd("archive", f"it has {len(self._infos)} entries")
        # A file system may hold letters of either case for the same.
        files = {info.filename.casefold() for info in self._infos}
        if len(files) != len(self._infos):
            raise self._odd("archive", "it has two entries of one name")
        end = 0
        for info in sorted(self._infos, key=lambda info: info.header_offset):
            mode = info.external_attr >> 16
            if not is_plain(info.orig_filename):
                raise self._odd(info.orig_filename, "its path leads elsewhere")
            if not files.isdisjoint(folders_of(info.filename.casefold())):
                raise self._odd(info.filename, "its folder is a file of the archive")
            if info.create_system == UNIX and mode and mode & 0o170000 not in (0, 0o100000):
                raise self._odd(info.filename, "it is a link or a special file")
            if info.flag_bits & 1 or info.compress_type != zipfile.ZIP_DEFLATED:
                raise self._odd(info.filename, "it is encrypted or not deflated")
            if info.header_offset < end:
                raise self._odd(info.filename, "it overlaps with another entry")
            end = info.header_offset + 30 + len(info.filename.encode()) + info.compress_size

    def _damaged(self, name: str, problem: str) -> BackupDamagedError:
        return BackupDamagedError(path=self._path, problem=f"{name}: {problem}")

    def _odd(self, name: str, problem: str) -> BackupFormatError:
        return BackupFormatError(path=self._path, problem=f"{name!r}: {problem}")


def folders_of(name: str) -> Iterator[str]:
    """Every folder that a file's path leads through."""
    parts = name.split("/")
    yield from ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def is_plain(name: str) -> bool:
    """A relative path of ordinary names, below where it is unpacked, the same on every system."""
    parts = name.split("/")
    return (
        name.isprintable()
        and len(name.encode()) <= PATH_BYTES_MOST
        and not set(name) & set("\\:")
        and all(part not in ("", ".", "..") and len(part.encode()) <= 255 for part in parts)
    )
