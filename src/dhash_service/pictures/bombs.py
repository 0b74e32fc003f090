"""Small files that would cost much, refused before anything is decoded.

Pillow's own limits stay in force behind these; they are process-wide and cannot be set per call. What is
bounded here: pixels, the longest side, the scans of a JPEG, the tags of a TIFF, and how often a decoder
that is written in Python may go back to the file. So one picture of p pixels costs at most about 16·p bytes
(WebP; 8·p progressive JPEG, 5·p the others) and a few seconds, whatever its bytes say.
"""

import io
import struct
from collections.abc import Iterator

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from dhash_service.errors import DamagedPictureError, TooManyPixelsError

MAX_SIDE = 65_535
"""Pixels; JPEG and GIF end here. A resize takes memory in proportion to it: 5 GB at 100 million × 1."""

MAX_SCANS = 200
"""Progressive JPEGs have 10 to 20; each scan of three bytes makes libjpeg walk through the whole picture."""

MAX_RLE_PIXELS = 16_000_000
"""Pillow decodes run-length encoded BMPs in Python, 100 ns a pixel."""

MAX_TAG_VALUES = 100_000
"""Numbers in one TIFF tag: a strip a row of the tallest picture, with room. Each becomes an object."""

MAX_TAGS = 4_096
"""Tags in one TIFF directory."""

READS_TO_OPEN = 5_000
"""Reads that a header may take: a photograph needs 20 to 500, an endless chain of tiny blocks any number."""

READS_TO_LOAD = 2_000_000
"""Reads that the pixels may take: 64 KiB each for most, one byte each for a run-length encoded BMP."""


class MeteredFile(io.BytesIO):
    """The file in memory, for a limited number of reads; one more raises `DamagedPictureError`."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads_left = READS_TO_OPEN

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise DamagedPictureError("The file is chopped into far too many pieces.")
        return super().read(size)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises `TooManyPixelsError` for more than `max_pixels`, or a side longer than `MAX_SIDE`."""
    if width * height > max_pixels:
        raise TooManyPixelsError(f"{width} × {height} is more than {max_pixels:,} pixels.")
    if max(width, height) > MAX_SIDE:
        raise TooManyPixelsError(
            f"{width} × {height} is longer than {MAX_SIDE:,} pixels on one side.", "Cut it into pieces."
        )


def check_work(image: ImageFile, data: bytes) -> None:
    """Raises for a picture just opened whose pixels are cheap to send and dear to decode.

    `DamagedPictureError` for a JPEG of more than `MAX_SCANS` scans, `TooManyPixelsError` for a run-length
    encoded BMP of more than `MAX_RLE_PIXELS`.
    """
    if isinstance(image, JpegImageFile):
        scans = _scans(image, data)
        if scans > MAX_SCANS:
            raise DamagedPictureError(
                f"The JPEG has {scans:,} scans; {MAX_SCANS} are the most that are read."
            )
    if image.tile and image.tile[0].codec_name == "bmp_rle":
        check_size(*image.size, MAX_RLE_PIXELS)


def _scans(image: JpegImageFile, data: bytes) -> int:
    """Count the decoder's walks through the picture. A single scan of all components is the rule."""
    assert image.fp is not None
    first = image.fp.tell()  # where the data of the first scan begin
    length = 6 + 2 * image.layers
    header = data[first - length - 2 : first - length + 3]
    complete = header == struct.pack(">HHB", 0xFFDA, length, image.layers)
    if complete and "progressive" not in image.info:
        return 1
    return 1 + data.count(b"\xff\xda", first)


# ---- TIFF (TIFF 6.0, section 2; BigTIFF in libtiff's spelling)

_KEPT_AS_BYTES = (1, 2, 7)  # BYTE, ASCII, UNDEFINED: no object per value
_DIRECTORIES = (34665, 34853, 40965)  # tags that point to further ones: Exif, GPS, interoperability


def check_tags(data: bytes) -> None:
    """Raises `DamagedPictureError` for a TIFF whose tags hold more numbers than `MAX_TAG_VALUES`.

    Pillow makes an object of each number before it looks at the picture's size: a file of 64 MB grew to 8 GB.
    """
    order = ">" if data[:2] == b"MM" else "<"
    big = data[2:3] == b"\x2b"  # as Pillow decides it, so that both read the same directories
    try:
        pending = [struct.unpack_from(order + ("Q" if big else "L"), data, 8 if big else 4)[0]]
        seen: set[int] = set()
        while pending and len(seen) < 8:
            seen.add(offset := pending.pop())
            for tag, kind, count, value in _tags(data, offset, order, big):
                if kind not in _KEPT_AS_BYTES and count > MAX_TAG_VALUES:
                    raise DamagedPictureError(f"Tag {tag} of the TIFF holds {count:,} numbers.")
                if tag in _DIRECTORIES and value not in seen:
                    pending.append(value)
    except OverflowError as error:
        raise DamagedPictureError("A directory of the TIFF lies beyond any end of it.") from error
    except struct.error:
        return  # a directory that ends early: Pillow says so, and how


def _tags(data: bytes, offset: int, order: str, big: bool) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count and value (or where it is) of each entry of the directory at `offset`."""
    (number,) = struct.unpack_from(order + ("Q" if big else "H"), data, offset)
    if number > MAX_TAGS:
        raise DamagedPictureError(f"The TIFF has {number:,} tags in one directory.")
    entry = struct.Struct(order + ("HHQQ" if big else "HHLL"))
    start = offset + (8 if big else 2)
    for position in range(start, start + number * entry.size, entry.size):
        yield entry.unpack_from(data, position)
