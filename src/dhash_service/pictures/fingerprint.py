"""Image bytes → fingerprint: the 64-bit difference hash, in two versions.

The difference hash is due to Neal Krawetz, "Kind of Like That" (hackerfactor.com, 2013): shrink to 9×8 gray
cells, and note for each of the 64 neighbours in a row whether the right one is brighter.

- `dhash-64` is bit for bit what `imagehash.dhash(PIL.Image.open(file))` gives: gray by `convert("L")`,
  LANCZOS to 9×8.
- `dhash-64-fast` differs for JPEG alone. libjpeg decodes at ½, ¼ or ⅛ of the size, the luma channel is
  taken as it is stored, and LANCZOS starts from there, over the exact box that the picture fills. Its drift
  from `dhash-64` and its speed are measured by `make bench ARGS=fingerprints`.

A multi-picture file is its first picture; transparency and EXIF rotation are not looked at (imagehash's way;
Pillow itself turns a TIFF upright). A 16-bit gray picture is clipped at level 255 by `convert("L")`, which
leaves most of them flat: that too is imagehash's value, and the quality says so.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from dhash_service.errors import UnsupportedFormatError
from dhash_service.facts import Algorithm, Fingerprint, Picture, Sha256
from dhash_service.pictures.decoding import MAX_PIXELS, decoding, format_of, open_picture
from dhash_service.pictures.quality import quality
from dhash_service.pictures.thumbnail import thumbnail as draw_thumbnail
from dhash_service.pictures.thumbnail import upright

EXACT = Algorithm("dhash-64", 1)
FAST = Algorithm("dhash-64-fast", 1)
ALGORITHMS = {algorithm.name: algorithm for algorithm in (EXACT, FAST)}

Box = tuple[float, float, float, float]

_DRAFT = (256, 224)
"""libjpeg may shrink until less than this is left: 28 pixels a cell. Mean drift over 750 varied JPEGs: 0.24
bits here, 0.22 with (288, 256), which cannot halve 640×480; 0.39 over 300 of them with (144, 128)."""

_UNGRAYABLE = ("LAB", "HSV")  # valid TIFFs can be; Pillow has no gray for them


def fingerprint(data: bytes, algorithm: Algorithm = FAST, *, max_pixels: int = MAX_PIXELS) -> Fingerprint:
    """The fingerprint of the picture in these bytes.

    Raises `UnsupportedFormatError`, `DamagedPictureError`, `TooManyPixelsError`, `DecoderFailedError`.
    """
    image = open_picture(data, max_pixels)
    size = image.size
    with decoding(image):
        if algorithm == FAST and isinstance(image, JpegImageFile):
            gray, box = _draft(image, "L")
        else:
            gray, box = _gray(image), None
        return _compare(_cells(gray, box), algorithm, size)


def read_picture(
    data: bytes,
    algorithm: Algorithm = FAST,
    *,
    max_pixels: int = MAX_PIXELS,
    thumbnail: bool = True,
    keep_content: bool = False,
    sha256: Sha256 | None = None,
) -> Picture:
    """All that is kept of a picture: its digest, its fingerprint, and a thumbnail from the same decoding.

    `sha256` is the digest of the bytes, where the caller has it already.

    Raises what `fingerprint` does, and gives the same fingerprint.
    """
    image = open_picture(data, max_pixels)
    size = image.size
    color: ImageFile = image
    with decoding(image):
        turn = upright(image)
        if algorithm != FAST or not isinstance(image, JpegImageFile):
            gray, box = _gray(image), None
        elif thumbnail and _is_ycc(image):
            gray, box = _draft(image, "YCbCr")
        else:
            gray, box = _draft(image, "L")
            if thumbnail and image.layers == 3:
                color = again = open_picture(data, max_pixels)
                assert isinstance(again, JpegImageFile)
                _draft(again, "RGB")
        found = _compare(_cells(gray, box), algorithm, size)
        small = draw_thumbnail(color, turn) if thumbnail else None
    return Picture(
        sha256=sha256 or Sha256(hashlib.sha256(data).hexdigest()),
        format=format_of(image),
        size=len(data),
        fingerprint=found,
        thumbnail=small,
        content=data if keep_content else None,
    )


def _gray(image: Image.Image) -> Image.Image:
    try:
        return image if image.mode == "L" else image.convert("L")
    except ValueError as error:
        if image.mode not in _UNGRAYABLE:
            raise
        raise UnsupportedFormatError(f"{format_of(image)} in {image.mode} colors.") from error


def _draft(image: JpegImageFile, mode: str) -> tuple[Image.Image, Box]:
    """Decode at a reduced size. Gives the luma and the box within it that the picture fills."""
    drafted = image.draft(mode, _DRAFT)
    assert drafted is not None  # None is for a second call
    image.load()
    return image.getchannel(0) if image.mode == "YCbCr" else _gray(image), drafted[1]


def _is_ycc(image: JpegImageFile) -> bool:
    """Are these surely luma and chroma, so that libjpeg can hand them out as they are stored?

    Its own rule (`default_decompress_parms` in jdapimin.c) without the guesses; with the components numbered
    otherwise, or with Adobe's mark for RGB, the picture is decoded twice instead.
    """
    numbers = [layer[0] for layer in image.layer]
    return numbers == [1, 2, 3] and image.info.get("adobe_transform", 1) == 1


def _cells(gray: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
    """8 rows of 9 gray levels."""
    return np.asarray(gray.resize((9, 8), Image.Resampling.LANCZOS, box=box))


def _compare(cells: NDArray[np.uint8], algorithm: Algorithm, size: tuple[int, int]) -> Fingerprint:
    brighter = cells[:, 1:] > cells[:, :-1]
    value = int.from_bytes(np.packbits(brighter).tobytes(), "big")
    score, reasons = quality(cells, value, *size)
    return Fingerprint(value, algorithm, score, reasons, *size)
