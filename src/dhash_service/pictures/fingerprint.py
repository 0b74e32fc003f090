"""Image bytes → fingerprint: the 64-bit difference hash, in two versions.

The difference hash is due to Neal Krawetz, "Kind of Like That" (hackerfactor.com, 2013): shrink to 9×8 gray
cells, and note for each of the 64 neighbours in a row whether the right one is brighter.

- `dhash-64` is bit for bit what `imagehash.dhash(PIL.Image.open(file))` gives: gray by `convert("L")`,
  LANCZOS to 9×8.
- `dhash-64-visual` does the same with what a person sees: upright, on white, in sRGB (see `appearance`).
- `dhash-64-fast` and `dhash-64-visual-fast` differ from these for JPEG alone. libjpeg decodes at ½, ¼ or ⅛ of
  the size, the luma channel is taken as it is stored, and LANCZOS starts from there, over the exact box that
  the picture fills. The drift and the speed are measured by `make bench ARGS=fingerprints`.

A multi-picture file is its first picture. Those that are not visual do not look at transparency and EXIF
rotation (imagehash's way; Pillow itself turns a TIFF upright), and a 16-bit gray picture is clipped at level
255 by `convert("L")`, which leaves most of them flat: that too is imagehash's value, and the quality says so.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dhash_service.facts import Algorithm, Fingerprint, Picture, Sha256
from dhash_service.pictures.appearance import Box, turned
from dhash_service.pictures.decoding import decoding
from dhash_service.pictures.formats import AS_USUAL, Opening
from dhash_service.pictures.luma import Decoded, decode
from dhash_service.pictures.quality import quality
from dhash_service.pictures.thumbnail import thumbnail as draw_thumbnail

EXACT = Algorithm("dhash-64", 1)
FAST = Algorithm("dhash-64-fast", 1)
VISUAL = Algorithm("dhash-64-visual", 1)
VISUAL_FAST = Algorithm("dhash-64-visual-fast", 1)
ALGORITHMS = {algorithm.name: algorithm for algorithm in (EXACT, FAST, VISUAL, VISUAL_FAST)}
"""By name."""

NEW = VISUAL_FAST
"""The algorithm of a new store, where none is set."""

CUT_QUALITY = 0.9  # at most, where a JPEG is cut off

TURNS: dict[str, Image.Transpose | None] = {
    "same": None,
    "turned_90": Image.Transpose.ROTATE_270,
    "turned_180": Image.Transpose.ROTATE_180,
    "turned_270": Image.Transpose.ROTATE_90,
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "mirrored_turned_90": Image.Transpose.TRANSPOSE,
    "mirrored_turned_180": Image.Transpose.FLIP_TOP_BOTTOM,
    "mirrored_turned_270": Image.Transpose.TRANSVERSE,
}
"""The eight orientations. Turned clockwise, as EXIF counts it; mirrored from left to right, then turned."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A picture's fingerprint after it was turned or mirrored; `turn` is a key of `TURNS`."""

    turn: str
    fingerprint: Fingerprint


def fingerprint(data: bytes, algorithm: Algorithm = FAST, opening: Opening = AS_USUAL) -> Fingerprint:
    """The fingerprint of the picture in these bytes.

    Raises `UnsupportedFormatError`, `DamagedPictureError`, `TooManyPixelsError`, `DecoderFailedError`.
    """
    decoded = _decoded(data, algorithm, opening, color=False)
    return _compare(decoded, decoded.gray, decoded.box, algorithm)


def variants(data: bytes, algorithm: Algorithm = FAST, opening: Opening = AS_USUAL) -> tuple[Variant, ...]:
    """The picture's fingerprints in its eight orientations, from one decoding; the first is its own.

    Raises what `fingerprint` does. The fingerprint of a copy that somebody turned is within a few bits of the
    variant that is turned the same way.
    """
    decoded = _decoded(data, algorithm, opening, color=False)
    return tuple(
        Variant(name, _compare(decoded, *turned(decoded.gray, decoded.box, turn), algorithm))
        for name, turn in TURNS.items()
    )


def read_picture(
    data: bytes,
    algorithm: Algorithm = FAST,
    opening: Opening = AS_USUAL,
    *,
    thumbnail: bool = True,
    keep_content: bool = False,
    sha256: Sha256 | None = None,
) -> Picture:
    """A picture's facts: its digest, its fingerprint, and a thumbnail from the same decoding.

    `sha256` is the digest of the bytes, where the caller has it already.

    Raises what `fingerprint` does, and gives the same fingerprint.
    """
    decoded = _decoded(data, algorithm, opening, color=thumbnail)
    small = None
    if decoded.color is not None:
        with decoding(decoded.color):
            small = draw_thumbnail(decoded.color, decoded.turn)
    return Picture(
        sha256=sha256 or Sha256(hashlib.sha256(data).hexdigest()),
        format=decoded.format,
        size=len(data),
        fingerprint=_compare(decoded, decoded.gray, decoded.box, algorithm),
        thumbnail=small,
        content=data if keep_content else None,
    )


def _decoded(data: bytes, algorithm: Algorithm, opening: Opening, *, color: bool) -> Decoded:
    fast, visual = algorithm in (FAST, VISUAL_FAST), algorithm in (VISUAL, VISUAL_FAST)
    return decode(data, opening, fast=fast, visual=visual, color=color)


def _cells(gray: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
    """8 rows of 9 gray levels."""
    return np.asarray(gray.resize((9, 8), Image.Resampling.LANCZOS, box=box))


def _compare(decoded: Decoded, gray: Image.Image, box: Box | None, algorithm: Algorithm) -> Fingerprint:
    cells = _cells(gray, box)
    width, height = decoded.size
    if (gray.width < gray.height) != (decoded.gray.width < decoded.gray.height):
        width, height = height, width
    brighter = cells[:, 1:] > cells[:, :-1]
    value = int.from_bytes(np.packbits(brighter).tobytes(), "big")
    score, reasons = quality(cells, value, width, height)
    if decoded.share is not None:
        score, reasons = round(score * min(CUT_QUALITY, decoded.share), 4), (*reasons, "cut")
    return Fingerprint(value, algorithm, score, reasons, width, height)
