"""Decoded pixels → the picture that a person sees: colours, depth, transparency, frame and orientation.

- A 16-bit gray keeps its upper half, instead of being clipped at level 255; 32-bit and floating-point grays
  have no agreed white, and are scaled from their least to their greatest level.
- CMYK and Lab become sRGB: CMYK by the file's own profile where it has one, Lab by its definition. Adobe
  writes the CMYK of a JPEG inverted and marks the file; one without that mark is taken as it is.
- What is transparent is laid over white. Where a format says too little of its fourth byte and all of it is
  zero, it is no transparency, for nothing would be seen.
- An animation is its first frame that is not blank; a still for programs that move nothing is no frame of it.
  A multi-page TIFF is its first page.
"""

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms
from PIL.JpegImagePlugin import JpegImageFile

from dhash_service.pictures.quality import NOISE

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
MOST_FRAMES = 64
MOST_FRAME_PIXELS = 200_000_000
"""Pixels decoded in search of a frame that is not blank."""

VAGUE = ("BMP", "TGA", "ICO")
"""Formats whose writers leave the fourth byte of a pixel at zero; browsers take such a picture as opaque."""

LONGEST_PROFILE = 4 << 20  # bytes; those in use for printing have 0.5 to 3 MB

_WHITE_IS_ZERO, _PHOTOMETRIC = 0, 262  # TIFF 6.0, section 8
_EIGHT_OF_SIXTEEN = [(level * 255 + 32895) >> 16 for level in range(1 << 16)]  # libpng's rounding
_SRGB, _LAB = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")

_Turn = Image.Transpose
SIDES_EXCHANGED = (_Turn.ROTATE_90, _Turn.ROTATE_270, _Turn.TRANSPOSE, _Turn.TRANSVERSE)
_MIRRORS_ACROSS = (_Turn.FLIP_LEFT_RIGHT, _Turn.ROTATE_180, _Turn.ROTATE_270, _Turn.TRANSVERSE)
_MIRRORS_DOWN = (_Turn.FLIP_TOP_BOTTOM, _Turn.ROTATE_180, _Turn.ROTATE_90, _Turn.TRANSVERSE)


def shown(image: Image.Image) -> Image.Image:
    """The decoded picture as a viewer shows it on white: L, RGB or YCbCr, not yet turned upright."""
    if image.mode.startswith("I;16"):
        gray, clear = _sixteen_bits(image), image.info.get("transparency")
        if clear is None:
            return gray
        return _on_white(Image.merge("LA", (gray, Image.fromarray(_apart(image, clear)))))
    if image.mode in ("I", "F"):
        return _any_range(image)
    if image.mode == "CMYK":
        return _cmyk(image)
    if image.mode == "LAB":
        return _converted(image, _LAB) or image.convert("RGB")
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode in ("L", "RGB", "YCbCr"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def go_to_first_frame(image: Image.Image) -> None:
    """Leave an animation at its first frame that is not blank; at its first where all are."""
    if image.format not in ANIMATED or not getattr(image, "is_animated", False):
        return
    first = 1 if getattr(image, "default_image", False) else 0
    frames = min(MOST_FRAMES, MOST_FRAME_PIXELS // (image.width * image.height))
    if not any(not is_blank(frame) for frame in _frames(image, first, frames)):
        image.seek(first)


def uncover(image: Image.Image) -> None:
    """Make a picture opaque whose format is vague about transparency, and of which nothing is seen."""
    if image.format in VAGUE and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        image.putalpha(255)


def is_blank(image: Image.Image) -> bool:
    """True for a picture in whose 9×8 cells nothing stands out from noise."""
    low, high = image.convert("L").resize((9, 8), Image.Resampling.BOX).getextrema()
    return bool(high - low < NOISE)  # type: ignore[operator]


def turned(
    image: Image.Image, box: Box | None, turn: Image.Transpose | None
) -> tuple[Image.Image, Box | None]:
    """The picture turned, and the box within it that holds its pixels, turned along."""
    if turn is None:
        return image, box
    moved = image.transpose(turn)
    if box is None:
        return moved, None
    left, top, right, bottom = box
    width, height = image.size
    if turn in SIDES_EXCHANGED:  # as `transpose` does it: first along the main diagonal, then mirrored
        left, top, right, bottom, width, height = top, left, bottom, right, height, width
    if turn in _MIRRORS_ACROSS:
        left, right = width - right, width - left
    if turn in _MIRRORS_DOWN:
        top, bottom = height - bottom, height - top
    return moved, (left, top, right, bottom)


def _frames(image: Image.Image, first: int, most: int) -> Iterator[Image.Image]:
    for number in range(first, first + most):
        try:
            image.seek(number)
        except EOFError:
            return
        yield shown(image)


def _apart(image: Image.Image, clear: int) -> NDArray[np.uint8]:
    """Opacity of a 16-bit gray, one of whose levels is transparent (PNG 1.2, tRNS)."""
    return np.where(np.asarray(image) == clear, 0, 255).astype(np.uint8)


def _sixteen_bits(image: Image.Image) -> Image.Image:
    gray = image.convert("I").point(_EIGHT_OF_SIXTEEN, "L")
    tags = getattr(image, "tag_v2", {})  # Pillow turns the levels of other depths round, and not these
    return ImageChops.invert(gray) if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else gray


def _any_range(image: Image.Image) -> Image.Image:
    if image.format == "PPM":  # Pillow scales it to 16 bits
        return image.point(_EIGHT_OF_SIXTEEN, "L")
    levels = np.asarray(image, np.float64)
    finite = np.isfinite(levels)
    if not finite.any():
        return Image.new("L", image.size)
    low, high = levels[finite].min(), levels[finite].max()
    if high == low:
        return Image.new("L", image.size, 128)
    scaled = (np.where(finite, levels, low) / (high - low) - low / (high - low)) * 255
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _cmyk(image: Image.Image) -> Image.Image:
    if isinstance(image, JpegImageFile) and "adobe" not in image.info:
        profile = image.info.get("icc_profile")
        image = ImageChops.invert(image)  # Pillow takes every one as inverted
        image.info["icc_profile"] = profile
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and len(profile) <= LONGEST_PROFILE and profile[16:20] == b"CMYK":
        return _converted(image, io.BytesIO(profile)) or image.convert("RGB")
    return image.convert("RGB")


def _converted(image: Image.Image, profile: object) -> Image.Image | None:
    """The picture in sRGB; None where the profile cannot be used."""
    try:
        return ImageCms.profileToProfile(image, profile, _SRGB, outputMode="RGB")  # type: ignore[arg-type]
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "LA", "La"):
        image = image.convert("LA")
        white = Image.new("L", image.size, 255)
        return Image.composite(image.getchannel("L"), white, image.getchannel("A"))
    clear = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:  # of 16 bits, as it was stored
        image.info["transparency"] = tuple(level >> 8 for level in clear)
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    return Image.composite(image.convert("RGB"), Image.new("RGB", image.size, (255, 255, 255)), alpha)
