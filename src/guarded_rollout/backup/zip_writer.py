"""Writes ordinary zip files at the speed of the disk.

Python's `zipfile` compresses with zlib at some 45 MB/s; ISA-L writes the same deflate ten times as fast. The
format is PKWARE's APPNOTE 6.3.10: entries are streamed (sizes and CRC follow the data, §4.3.9), so that one
pass over the content also yields its hash. Zip64 (§4.5.3) where a size or offset needs it.
"""

import hashlib
import os
import struct
import zipfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import BinaryIO, Protocol

from isal import isal_zlib

from guarded_rollout.errors import BackupFormatError

LEVEL = 2  # ISA-L's best trade: zlib level 6's ratio within 1 %, at 700 MB/s a core
CHUNK = 256 * 1024
LAST_BLOCK = b"\x03\x00"  # an empty block of fixed codes that says it is the last (RFC 1951 §3.2.6)
SAMPLE = 16 * 1024  # of a chunk tells whether compressing it is worth the while
WORTH_IT = 0.75
STORED_MOST = 0xFFFF  # bytes of a block that is stored
CORES = os.cpu_count() or 1
LIMIT_32 = 0xFFFFFFFF
STREAMED, UTF_8 = 0x0008, 0x0800
VERSION, VERSION_64, UNIX = 20, 45, 3
REGULAR_FILE = 0o100600 << 16


@dataclass(frozen=True, slots=True)
class Written:
    """An entry as it went in: size of the content in bytes, and its SHA-256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Entry:
    name: bytes
    crc: int
    packed: int
    size: int
    offset: int


class Writable(Protocol):
    """A file that an archive is written to."""

    def write(self, data: bytes, /) -> int: ...


class ZipWriter:
    """Streams entries into a file and hashes their content on the way."""

    def __init__(self, file: Writable, modified: datetime, *, limit_32: int = LIMIT_32) -> None:
        self._file = file
        self._time = _dos_time(modified)
        self._limit = limit_32
        self._entries: list[_Entry] = []
        self._offset = 0
        # Compressing and hashing release the interpreter's lock.
        self._packers = ThreadPoolExecutor(CORES)
        self._hasher = ThreadPoolExecutor(1)

    def add(self, name: str, content: BinaryIO | bytes) -> Written:
        """Append one entry. A file's size decides beforehand whether it is written as zip64."""
        source, size = (
            (BytesIO(content), len(content)) if isinstance(content, bytes) else (content, _size(content))
        )
        large = size >= self._limit
        offset, encoded = self._offset, name.encode()
        self._put(self._local_header(encoded, large))
        begin = self._offset
        crc, size, digest = self._deflate(source)
        packed = self._offset - begin
        if not large and max(size, packed) > self._limit:
            raise BackupFormatError(path=name, problem="it grew while it was read")
        sizes = "<4sLQQ" if large else "<4sLLL"
        self._put(struct.pack(sizes, b"PK\x07\x08", crc, packed, size))
        self._entries.append(_Entry(encoded, crc, packed, size, offset))
        return Written(name, size, digest)

    def close(self) -> None:
        """Write the directory. The file stays open."""
        start = self._offset
        for entry in self._entries:
            self._put(self._directory_entry(entry))
        self._put(self._end(start, self._offset - start))
        self._packers.shutdown()
        self._hasher.shutdown()

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._offset += len(data)

    def _deflate(self, source: BinaryIO) -> tuple[int, int, str]:
        """Compress chunk by chunk on all cores, and write the chunks in their order."""
        crc, size, digest = 0, 0, hashlib.sha256()
        packing: deque[Future[bytes]] = deque()
        hashing: Future[None] | None = None
        while chunk := source.read(CHUNK):
            packing.append(self._packers.submit(_packed, chunk))
            if hashing is not None:
                hashing.result()
            hashing = self._hasher.submit(digest.update, chunk)
            crc = isal_zlib.crc32(chunk, crc)
            size += len(chunk)
            if len(packing) > 2 * CORES:
                self._put(packing.popleft().result())
        while packing:
            self._put(packing.popleft().result())
        self._put(LAST_BLOCK)
        if hashing is not None:
            hashing.result()
        return crc, size, digest.hexdigest()

    def _local_header(self, name: bytes, large: bool) -> bytes:
        version, unknown = (VERSION_64, LIMIT_32) if large else (VERSION, 0)
        extra = struct.pack("<HHQQ", 1, 16, 0, 0) if large else b""
        return (
            struct.pack(
                "<4sHHHLLLLHH",
                b"PK\x03\x04",
                version,
                STREAMED | UTF_8,
                zipfile.ZIP_DEFLATED,
                self._time,
                0,
                unknown,
                unknown,
                len(name),
                len(extra),
            )
            + name
            + extra
        )

    def _directory_entry(self, entry: _Entry) -> bytes:
        fields = [entry.size, entry.packed, entry.offset]
        large = [value for value in fields if value >= self._limit]
        size, packed, offset = (LIMIT_32 if value >= self._limit else value for value in fields)
        extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        version = VERSION_64 if large else VERSION
        return (
            struct.pack(
                "<4sHHHHLLLLHHHHHLL",
                b"PK\x01\x02",
                UNIX << 8 | version,
                version,
                STREAMED | UTF_8,
                zipfile.ZIP_DEFLATED,
                self._time,
                entry.crc,
                packed,
                size,
                len(entry.name),
                len(extra),
                0,
                0,
                0,
                REGULAR_FILE,
                offset,
            )
            + entry.name
            + extra
        )

    def _end(self, start: int, length: int) -> bytes:
        count = len(self._entries)
        end = b""
        if start >= self._limit or length >= self._limit:
            made = UNIX << 8 | VERSION_64
            end += struct.pack(
                "<4sQHHLLQQQQ", b"PK\x06\x06", 44, made, VERSION_64, 0, 0, count, count, length, start
            )
            end += struct.pack("<4sLQL", b"PK\x06\x07", 0, start + length, 1)
            start = length = LIMIT_32
        return end + struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, count, count, length, start, 0)


def _packed(chunk: bytes) -> bytes:
    """Compress a chunk into deflate blocks that end on a byte, so that the next chunk's may follow.

    Most of a store are thumbnails. What would hardly get smaller is stored as it is: inflating it again would
    take a restore longer than all the rest.
    """
    if len(_deflated(chunk[:SAMPLE])) > WORTH_IT * min(len(chunk), SAMPLE):
        return b"".join(_stored(chunk[at : at + STORED_MOST]) for at in range(0, len(chunk), STORED_MOST))
    return _deflated(chunk)


def _stored(piece: bytes) -> bytes:
    """A block of bytes as they are (RFC 1951 §3.2.4); it begins on a byte, as the chunks do."""
    return struct.pack("<BHH", 0, len(piece), len(piece) ^ 0xFFFF) + piece


def _deflated(chunk: bytes) -> bytes:
    packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -15)
    return packer.compress(chunk) + packer.flush(isal_zlib.Z_SYNC_FLUSH)


def _size(file: BinaryIO) -> int:
    """Bytes from here to the end."""
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    return end - here


def _dos_time(moment: datetime) -> int:
    """MS-DOS date and time (APPNOTE §4.4.6), which begin in 1980 and count by two seconds."""
    year = max(moment.year - 1980, 0)
    date = year << 9 | moment.month << 5 | moment.day
    return date << 16 | moment.hour << 11 | moment.minute << 5 | moment.second // 2
