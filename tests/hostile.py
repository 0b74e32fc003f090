"""Files made to hurt: bombs, polyglots, truncations and flipped bits, over every format that is read."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from tests.pictures import Sample, encode, photo, samples

END_OF_JPEG = b"\xff\xd9"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its length and checksum (PNG 1.2, section 3.2)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes, pixels: bytes = b"", depth: int = 8, color: int = 0) -> bytes:
    """A PNG by hand: header, the extra chunks, one IDAT with what is given as pixels, end."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            *extra,
            png_chunk(b"IDAT", zlib.compress(pixels)),
            png_chunk(b"IEND", b""),
        ]
    )


def tiff(entries: list[tuple[int, int, int, int]], tail: bytes = b"") -> bytes:
    """A little-endian TIFF by hand: entries of (tag, type, count, value or offset), then `tail`."""
    packed = b"".join(struct.pack("<HHLL", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + packed + struct.pack("<L", 0) + tail


def tiff_of(width: int, height: int, *entries: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """A gray, uncompressed TIFF of one strip, with further entries."""
    usual = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
    ]
    return tiff([*usual, *entries], tail)


def scan_bomb(scans: int) -> bytes:
    """A progressive JPEG of 4 megapixels whose last scan comes again and again, in six bytes each."""
    data = encode(photo(2000, 2000, grain=0).convert("L"), "JPEG", progressive=True, quality=5)
    start = data.index(b"\xff\xda")  # the first scan: DC, in full
    empty = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0x00, 1, 1, 0x10) + b"\0"
    return data[:start] + data[start : data.index(b"\xff\xda", start + 2)] + empty * scans + END_OF_JPEG


def bombs() -> Iterator[Sample]:
    """Small files that ask for much: pixels, memory, or time."""
    yield Sample("PNG", "900 megapixels", png(30_000, 30_000, depth=1))
    yield Sample("PNG", "100 million in a row", png(99_000_000, 1, depth=1))
    yield Sample("PNG", "9 megapixels of zeros", png(3000, 3000, pixels=bytes(3001 * 3000)))
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000)))
    yield Sample("PNG", "text that inflates", png(8, 8, text, pixels=bytes(72)))
    profile = png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000)))
    yield Sample("PNG", "profile that inflates", png(8, 8, profile, pixels=bytes(72)))
    yield Sample(
        "PNG", "a million empty chunks", png(8, 8, png_chunk(b"abCd", b"") * 1_000_000, pixels=bytes(72))
    )
    yield Sample(
        "PNG", "a huge text", png(8, 8, png_chunk(b"tEXt", b"a\0" + b"b" * 20_000_000), pixels=bytes(72))
    )

    small = encode(photo(64, 48), "JPEG")
    frame = small.index(b"\xff\xc0")
    tall = small[: frame + 5] + struct.pack(">HH", 65_000, 65_000) + small[frame + 9 :]
    yield Sample("JPEG", "4,000 megapixels", tall)
    yield Sample("JPEG", "a million comments", small[:2] + b"\xff\xfe\0\x02" * 1_000_000 + small[2:])
    yield Sample("JPEG", "ten million fill bytes", small[:20] + b"\xff" * 10_000_000 + small[20:])
    yield Sample("JPEG", "ten million bytes of junk", small[:20] + b"\x01" * 10_000_000 + small[20:])
    yield Sample("JPEG", "a million scans", scan_bomb(1_000_000))
    yield Sample(
        "JPEG", "huge Exif", small[:2] + (b"\xff\xe1\xff\xff" + b"Exif\0\0" + b"M" * 65_527) * 100 + small[2:]
    )

    screen = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6)
    image = b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02\x02\x4c\x01\0;"
    yield Sample("GIF", "a comment in single bytes", screen + b"!\xfe" + b"\x01a" * 3_000_000 + b"\0" + image)
    yield Sample("GIF", "a million extensions", screen + b"!\x01\0" * 1_000_000 + image)
    control = b"!\xf9\x04" + bytes([2 << 2, 0, 0, 0]) + b"\0"
    giant = b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x4c\x01\0;"
    yield Sample("GIF", "a frame far larger than the screen", screen + control + giant)

    def bmp(width: int, height: int, bits: int, compression: int, data: bytes) -> bytes:
        info = struct.pack("<LllHHLLllLL", 40, width, height, 1, bits, compression, 0, 0, 0, 2, 0)
        return b"BM" + struct.pack("<LHHL", 62 + len(data), 0, 0, 62) + info + bytes(8) + data

    yield Sample("BMP", "4 billion pixels", bmp(65_000, 65_000, 8, 0, b""))
    yield Sample("BMP", "rows of one run", bmp(65_000, 130, 8, 1, b"\x01\x01\0\0" * 130))
    yield Sample("BMP", "runs in Python", bmp(9000, 9000, 8, 1, b"\x01\x01\0\0" * 9000))
    yield Sample("BMP", "jumps", bmp(3000, 3000, 8, 1, b"\0\x02\xff\xff" * 1000))

    yield Sample("TIFF", "4 billion pixels", tiff_of(65_000, 65_000, (273, 4, 1, 8), (279, 4, 1, 8)))
    many = 4_000_000
    strips = tiff_of(8, many, (273, 4, many, 200), (278, 4, 1, 1), tail=bytes(4 * many + 200))
    yield Sample("TIFF", "four million strips", strips)
    rational = tiff_of(8, 8, (273, 4, 1, 8), (282, 5, many, 200), tail=bytes(8 * many + 200))
    yield Sample("TIFF", "four million fractions", rational)
    exif = struct.pack("<HHHLLL", 1, 282, 5, many, 300, 0)
    inside = tiff_of(8, 8, (273, 4, 1, 8), (34665, 4, 1, 110), tail=exif + bytes(8 * many + 300))
    yield Sample("TIFF", "four million fractions in Exif", inside)
    yield Sample("TIFF", "a directory that points to itself", tiff_of(8, 8, (273, 4, 1, 8), (34665, 4, 1, 8)))
    endless = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1 << 60) + bytes(20) * 500_000
    yield Sample("TIFF", "endless tags", endless)

    canvas = b"VP8X" + struct.pack("<LL", 10, 0) + b"\xfe\x3f\0\xfe\x3f\0"
    yield Sample("WEBP", "268 megapixels", b"RIFF" + struct.pack("<L", len(canvas) + 4) + b"WEBP" + canvas)


def polyglots() -> Iterator[Sample]:
    """Files that are two things at once, or pretend to be another."""
    files = {sample.format: sample.data for sample in samples(photo(40, 30)) if sample.kind != "16-bit"}
    for outer, data in files.items():
        for inner, other in files.items():
            if inner != outer:
                yield Sample(outer, f"with a {inner} behind it", data + other)
                yield Sample(outer, f"whose body is {inner}", data[:16] + other[16:])
        yield Sample(outer, "with a zip behind it", data + b"PK\x05\x06" + bytes(18))
    for name, start in (
        ("PDF", b"%PDF-1.7\n"),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("shell", b"#!/bin/sh\n"),
    ):
        for inner, other in files.items():
            yield Sample(name, f"with a {inner} in it", start + other)


def damaged(seed: int, number: int) -> Iterator[Sample]:
    """Truncated, bit-flipped and spliced copies of small files of every kind; `number` of each kind."""
    random = np.random.default_rng(seed)
    for sample in samples(photo(60, 45, seed)):
        size = len(sample.data)
        for index in range(number):
            data = bytearray(sample.data)
            match index % 4:
                case 0:
                    kind = "truncated"
                    del data[int(random.integers(size)) :]
                case 1:
                    kind = "flipped in the header"
                    for place in random.integers(0, min(200, size), 3):
                        data[place] ^= 1 << int(random.integers(8))
                case 2:
                    kind = "flipped anywhere"
                    for place in random.integers(0, size, 20):
                        data[place] ^= 1 << int(random.integers(8))
                case _:
                    kind = "spliced"
                    start, length = int(random.integers(size)), int(random.integers(1, 60))
                    data[start : start + length] = random.bytes(int(random.integers(60)))
            yield Sample(sample.format, f"{sample.kind}, {kind}", bytes(data))
