"""Bytes → the gray pixels that a fingerprint is made of, and a picture in colour from the same decoding.

Four ways, of two questions. *Visual* or as stored: what a person sees (`appearance`), or the stored pixels
by Pillow's `convert("L")`, which is imagehash's way. *Fast* or exact: for JPEG alone, libjpeg decodes at ½, ¼
or ⅛ of the size, and the luma channel is taken as it is stored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from dhash_service.errors import DamagedPictureError, UnsupportedFormatError
from dhash_service.pictures.appearance import SIDES_EXCHANGED, Box, go_to_first_frame, shown, turned, uncover
from dhash_service.pictures.decoding import decoding, format_of, open_picture
from dhash_service.pictures.formats import Opening, sniff
from dhash_service.pictures.thumbnail import upright

_DRAFT = (256, 224)
"""libjpeg may shrink until less than this is left: 28 pixels a cell. Mean drift over 750 varied JPEGs: 0.24
bits here, 0.22 with (288, 256), which cannot halve 640×480; 0.39 over 300 of them with (144, 128)."""

END_OF_JPEG = b"\xff\xd9"
LEAST_SHARE = 0.5
"""Of a JPEG that is cut off; with less, a fingerprint would say more of the cut than of the picture."""

_UNGRAYABLE = ("LAB", "HSV")  # valid TIFFs can be; Pillow has no gray for them


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded picture: its gray pixels, and the box within them that it fills (None: all of them).

    Width and height are those of the whole picture at full size. `color` has the pixels for a thumbnail, to
    be turned by `turn`; None where they were not asked for.
    """

    format: str
    gray: Image.Image
    box: Box | None
    size: tuple[int, int]
    color: Image.Image | None
    turn: Image.Transpose | None
    share: float | None = None  # of the picture that is there, where it is cut off


def decode(data: bytes, opening: Opening, *, fast: bool, visual: bool, color: bool) -> Decoded:
    """Decode a picture once; `color` asks for the pixels of a thumbnail as well.

    Raises `UnsupportedFormatError`, `DamagedPictureError`, `TooManyPixelsError`, `DecoderFailedError`.
    """
    try:
        return _decode(data, opening, fast, visual, color, cut=False)
    except DamagedPictureError:
        if not opening.take_cut or sniff(data) != "JPEG" or data.rstrip(b"\0").endswith(END_OF_JPEG):
            raise
    found = _decode(data + END_OF_JPEG, opening, fast, visual, color, cut=True)
    if found.share is not None and found.share < LEAST_SHARE:
        raise DamagedPictureError(f"JPEG: it is cut off, and only {found.share:.0%} of it is there.")
    return found


def _decode(data: bytes, opening: Opening, fast: bool, visual: bool, color: bool, *, cut: bool) -> Decoded:
    image = open_picture(data, opening)
    size = image.size
    with decoding(image):
        turn = upright(image)
        box = None
        if fast and isinstance(image, JpegImageFile):
            wanted = _DRAFT[::-1] if visual and turn in SIDES_EXCHANGED else _DRAFT
            again = partial(open_picture, data, opening)
            gray, box, seen = _fast(image, again, wanted, visual=visual, color=color)
        elif visual:
            go_to_first_frame(image)
            image.load()
            uncover(image)
            size = image.size
            turn = upright(image)  # a PNG may say it behind its pixels, a TIFF is upright once it is loaded
            seen = shown(image)
            gray = _gray(seen)
            if image.has_transparency_data and image.mode[0] not in "IF":
                seen = image  # a thumbnail keeps what is transparent
        else:
            image.load()  # here, where what a decoder raises becomes an error of ours
            gray, seen = _gray(image), image
        share = _share(gray) if cut else None
        if visual:
            gray, box = turned(gray, box, turn)
            if turn in SIDES_EXCHANGED:
                size = size[1], size[0]
    return Decoded(format_of(image), gray, box, size, seen if color else None, turn, share)


def _fast(
    image: JpegImageFile,
    again: Callable[[], ImageFile],
    wanted: tuple[int, int],
    *,
    visual: bool,
    color: bool,
) -> tuple[Image.Image, Box, Image.Image]:
    """Gray at a reduced size, the box that the picture fills, and the same in colour if asked for."""
    if visual and image.mode == "CMYK":
        box = _draft(image, "CMYK", wanted)
        seen = shown(image)
        return _gray(seen), box, seen
    if color and _is_ycc(image):
        box = _draft(image, "YCbCr", wanted)
        return image.getchannel(0), box, image
    box = _draft(image, "L", wanted)
    if color and image.layers == 3:
        second = again()
        assert isinstance(second, JpegImageFile)
        _draft(second, "RGB", wanted)
        return _gray(image), box, second
    return _gray(image), box, image


def _draft(image: JpegImageFile, mode: str, size: tuple[int, int]) -> Box:
    """Decode at a reduced size. Returns the box within the pixels that the picture fills."""
    drafted = image.draft(mode, size)
    assert drafted is not None  # None is for a second call
    image.load()
    return drafted[1]


def _is_ycc(image: JpegImageFile) -> bool:
    """True where these are surely luma and chroma, so that libjpeg can hand them out as they are stored.

    Its own rule (`default_decompress_parms` in jdapimin.c) without the guesses; with the components numbered
    otherwise, or with Adobe's mark for RGB, the picture is decoded twice instead.
    """
    numbers = [layer[0] for layer in image.layer]
    return numbers == [1, 2, 3] and image.info.get("adobe_transform", 1) == 1


def _gray(image: Image.Image) -> Image.Image:
    try:
        return image if image.mode == "L" else image.convert("L")
    except ValueError as error:
        if image.mode not in _UNGRAYABLE:
            raise
        raise UnsupportedFormatError(f"{format_of(image)} in {image.mode} colors.") from error


def _share(gray: Image.Image) -> float:
    """The share of the rows above those that libjpeg fills with one level for want of data."""
    levels = np.asarray(gray).astype(np.int16)
    even = levels.max(axis=1) - levels.min(axis=1) <= 1
    return float(1 - np.argmin(even[::-1]) / len(even)) if not even.all() else 0.0
