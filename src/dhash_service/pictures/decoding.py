"""Bytes → an open picture: only the formats that we list, and every failure as one of our errors.

Safe in threads: nothing of Pillow's state is changed per call.
"""

import ctypes
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from PIL import Image, ImageFile, UnidentifiedImageError, _imaging

from dhash_service.errors import (
    DamagedPictureError,
    DecoderFailedError,
    TooManyPixelsError,
    UnsupportedFormatError,
)
from dhash_service.pictures import bombs

MAX_PIXELS = 100_000_000

# What Pillow finds strange in a file it tells by warning and logging. Here a file is answered, with a
# fingerprint or an error; once and for all, because changing filters per call is not safe in threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
logging.getLogger("PIL").setLevel(logging.CRITICAL)

# libtiff writes a line to stderr for each bad row of a damaged fax, 65,535 for one small file. Its handler
# can be set through the library that links it, unless a build of Pillow hides its symbols.
with suppress(OSError, AttributeError):
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)

_BROKEN_DATA = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    AssertionError,
    struct.error,
    zlib.error,
)
"""Raised by Pillow on bytes that make no sense. Anything else is a defect of the decoder."""


def sniff(data: bytes) -> str | None:
    """Pillow's name of the format that the first bytes announce, None where it is not one of ours."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"BM"):
        return "BMP"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    return None


def open_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageFile.ImageFile:
    """Read a picture's header; no pixel is decoded yet. The first bytes alone decide the format.

    Raises `UnsupportedFormatError`, `DamagedPictureError`, `TooManyPixelsError`, `DecoderFailedError`.
    """
    format = sniff(data)
    if format is None:
        raise UnsupportedFormatError(
            "The file does not start like any of them." if data else "The file is empty."
        )
    if format == "TIFF":
        bombs.check_tags(data)
    file = bombs.MeteredFile(data)
    with _our_errors(format):
        image = Image.open(file, formats=[format])
    bombs.check_size(*image.size, max_pixels)
    bombs.check_work(image, data)
    file.reads_left = bombs.READS_TO_LOAD
    return image


def format_of(image: Image.Image) -> str:
    """Pillow's name of the format; a JPEG with more pictures behind the first (MPO) is a JPEG."""
    format = getattr(image, "format", None) or "picture"
    return "JPEG" if format == "MPO" else format


def decoding(image: Image.Image) -> AbstractContextManager[None]:
    """Around whatever makes Pillow decode: its errors become ours, the file's fault or the decoder's."""
    return _our_errors(format_of(image))


@contextmanager
def _our_errors(format: str) -> Iterator[None]:
    try:
        yield
    except (DamagedPictureError, TooManyPixelsError, UnsupportedFormatError):
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise TooManyPixelsError(f"It has more than {limit:,} pixels.", "Scale it down.") from error
    except UnidentifiedImageError as error:
        raise DamagedPictureError(f"The {format} header makes no sense.") from error
    except _BROKEN_DATA as error:
        if "out of memory" in str(error):  # Pillow says so in an OSError
            raise DecoderFailedError(f"{format}: {error}.") from error
        raise DamagedPictureError(f"{format}: {error or type(error).__name__}.") from error
    except Exception as error:
        raise DecoderFailedError(f"{format}: {type(error).__name__} {error}.") from error
