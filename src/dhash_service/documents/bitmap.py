"""The canonical file for pixels that pdfium decoded: an uncompressed BMP.

Images are content-addressed, so the same pixels must give the same bytes in every release. A PNG would not:
its bytes follow the deflate library and Pillow's choice of filters, which change between versions. An
uncompressed BMP (BITMAPINFOHEADER, rows bottom-up, each padded with zeros to four bytes; Microsoft, "Bitmap
Storage") has no freedom left once its fields are fixed here. Equal pixels therefore mean an equal SHA-256
wherever the encoding is lossless; JPEG 2000 and CMYK pixels still follow pdfium's arithmetic, which the
lock file pins.
"""

import io
import struct
from typing import Any

import numpy as np

FILE_HEADER = struct.Struct("<2sIHHI")
INFO_HEADER = struct.Struct("<IiiHHIIiiII")
GRAY_PALETTE = b"".join(bytes((level, level, level, 0)) for level in range(256))
ROWS_AT_ONCE = 256  # flipped and written together, so that no second copy of a large picture exists


def canonical_bmp(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The file for `pixels`: uint8 of shape (height, width) for gray, (height, width, 3 or 4) for BGR(x).

    A fourth channel is dropped. Gray takes 8 bits a pixel with a gray palette, colour 24 bits.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else 3
    palette = GRAY_PALETTE if channels == 1 else b""
    row = -(-width * channels // 4) * 4
    offset = FILE_HEADER.size + INFO_HEADER.size + len(palette)
    file = io.BytesIO()
    file.write(FILE_HEADER.pack(b"BM", offset + row * height, 0, 0, offset))
    file.write(
        INFO_HEADER.pack(INFO_HEADER.size, width, height, 1, 8 * channels, 0, row * height, 0, 0, 0, 0)
    )
    file.write(palette)
    band = np.zeros((ROWS_AT_ONCE, row), np.uint8)
    for bottom in range(height, 0, -ROWS_AT_ONCE):
        rows = pixels[max(0, bottom - ROWS_AT_ONCE) : bottom][::-1]
        flat = rows if channels == 1 else rows[:, :, :3].reshape(len(rows), -1)
        band[: len(rows), : width * channels] = flat
        file.write(band[: len(rows)].data)
    return file.getvalue()
