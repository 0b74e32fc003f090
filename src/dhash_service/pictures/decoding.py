"""Bytes → an open picture: only formats that are allowed, and every failure as one of our errors.

Safe in threads: nothing of Pillow's state is changed per call.
"""

import ctypes
import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module

from PIL import Image, ImageFile, UnidentifiedImageError, _imaging

from dhash_service.errors import (
    DamagedPictureError,
    DecoderFailedError,
    DhashError,
    TooManyPixelsError,
    UnsupportedFormatError,
)
from dhash_service.pictures import bombs
from dhash_service.pictures.formats import ALWAYS, Opening, is_camera_tiff, refusal, sniff

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


def open_picture(data: bytes, opening: Opening) -> ImageFile.ImageFile:
    """Read a picture's header; no pixel is decoded yet. The bytes alone decide the format.

    Raises `UnsupportedFormatError`, `DamagedPictureError`, `TooManyPixelsError`, `DecoderFailedError`.
    """
    format = _format(data, opening)
    with _our_errors(format):
        if format == "TIFF":
            bombs.check_tags(data)
        elif format == "RAW":
            return _camera_preview(data, opening)
        elif format in _PLUGINS:
            import_module(_PLUGINS[format])
        file = bombs.MeteredFile(data)
        image = Image.open(file, formats=[format])
        bombs.check_size(*image.size, opening.max_pixels)
        bombs.check_work(image, data)
    file.reads_left = bombs.READS_TO_LOAD
    return image


_DECODED_BY_OTHERS = ("HEIF", "JXL", "RAW")
"""By libraries that say in errors of any kind that bytes make no sense to them."""

_PLUGINS = {"HEIF": "pillow_heif.HeifImagePlugin", "JXL": "pillow_jxl"}
"""Modules that teach Pillow a format when they are imported."""


def _format(data: bytes, opening: Opening) -> str:
    """Pillow's name of the format of these bytes. Raises `UnsupportedFormatError`."""
    format = sniff(data)
    if format is None:
        raise UnsupportedFormatError(
            "The file does not start like any of them." if data else "The file is empty."
        )
    if format == "TIFF" and "RAW" in opening.formats and is_camera_tiff(data):
        return "RAW"
    if format not in ALWAYS and format not in opening.formats:
        raise UnsupportedFormatError(*refusal(format))
    return format


def _camera_preview(data: bytes, opening: Opening) -> ImageFile.ImageFile:
    """The JPEG that a camera keeps within its raw file."""
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            preview = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError) as error:
        raise UnsupportedFormatError("The raw file holds no preview that can be read.") from error
    if preview.format != rawpy.ThumbFormat.JPEG:
        raise UnsupportedFormatError("The raw file holds no JPEG preview.")
    return open_picture(bytes(preview.data), Opening(opening.max_pixels))


def format_of(image: Image.Image) -> str:
    """Pillow's name of the format; a JPEG with more pictures behind the first (MPO) is a JPEG."""
    format = getattr(image, "format", None) or "picture"
    return "JPEG" if format == "MPO" else str(format)


def decoding(image: Image.Image) -> AbstractContextManager[None]:
    """Turn the errors of what makes Pillow decode into ours: the file's fault, or the decoder's."""
    return _our_errors(format_of(image))


@contextmanager
def _our_errors(format: str) -> Iterator[None]:
    try:
        yield
    except DhashError:
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
        said = f"{format}: {type(error).__name__} {error}".partition("\n")[0].rstrip(". ")
        if format in _DECODED_BY_OTHERS:
            raise DamagedPictureError(f"{said}.") from error
        raise DecoderFailedError(f"{said}.") from error
