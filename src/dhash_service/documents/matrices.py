"""How a page draws an image: where, and how it is turned, by the matrix from its unit square to the page."""

import math
from typing import Any

import pypdfium2
from PIL import Image

from dhash_service.documents.extraction import Box


def upright(matrix: Any, rotation: int) -> Image.Transpose | None:
    """The turn that shows an image's pixels as the page does: by its matrix, to the nearest right angle.

    `rotation` is the page's, in quarters clockwise.
    """
    a, b, c, d, _, _ = matrix.get()
    for _ in range(rotation):
        a, b, c, d = b, -a, d, -c
    if abs(a) + abs(d) >= abs(b) + abs(c):  # x' ~ a·x, y' ~ d·y
        return _STRAIGHT[a < 0, d < 0]
    return _SWAPPED[b > 0, c > 0]


_STRAIGHT = {
    (False, False): None,
    (True, False): Image.Transpose.FLIP_LEFT_RIGHT,
    (False, True): Image.Transpose.FLIP_TOP_BOTTOM,
    (True, True): Image.Transpose.ROTATE_180,
}  # by a < 0, d < 0
_SWAPPED = {
    (False, False): Image.Transpose.TRANSPOSE,
    (False, True): Image.Transpose.ROTATE_270,
    (True, False): Image.Transpose.ROTATE_90,
    (True, True): Image.Transpose.TRANSVERSE,
}  # by b > 0, c > 0


def box_of(matrix: Any) -> Box | None:
    """The box around the unit square under this matrix, to a hundredth of a point; None for no box."""
    left, bottom, right, top = matrix.on_rect(0, 0, 1, 1)
    if not math.isfinite(left + bottom + right + top) or left == right or bottom == top:
        return None
    return round(left, 2), round(bottom, 2), round(right, 2), round(top, 2)


def area(box: Box) -> float:
    """The area of a box, in square points."""
    left, bottom, right, top = box
    return (right - left) * (top - bottom)


def unit_to(bounds: tuple[float, float, float, float]) -> Any:
    """The matrix from the unit square to these bounds."""
    left, bottom, right, top = bounds
    return pypdfium2.PdfMatrix(right - left, 0, 0, top - bottom, left, bottom)
