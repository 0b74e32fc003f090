"""The quality of a fingerprint: a pure function of the 9×8 gray cells and the picture's size."""

from math import log2

import numpy as np
from numpy.typing import NDArray

NOISE = 2
"""Gray levels. Saving a JPEG once more at quality 75 moves a cell by one level at most, and no comparison of
two cells that are two or more apart ever turned (240 pictures, 15,360 comparisons; 5 % of the others did)."""

_BELOW = (1 << 56) - 1  # the bits that have one above them
_RIGHT = 0x7F7F7F7F7F7F7F7F  # the bits that have one to their left


def quality(cells: NDArray[np.uint8], value: int, width: int, height: int) -> tuple[float, tuple[str, ...]]:
    """Quality from 0 to 1, and the reasons for what is missing: `flat`, `low_entropy`, `tiny`.

    `cells` are the 8 rows of 9 gray levels that `value` was made of; width and height are in pixels. The
    quality is the product of three numbers, each 1 for an ordinary photograph, so it is 1 without a reason:

    - twice the share of comparisons whose cells differ by `NOISE` or more. Below ½ the picture is *flat*:
      noise decides most of the bits, and flat pictures collide.
    - twice the entropy of the bits, in bits per bit: the least of H(share of ones), H(share that differ from
      the one to the left) and H(share that differ from the one above). Below ½ it has *low entropy*:
      gradients, stripes and checkerboards, that thousands of pictures share.
    - width / 18 and height / 16, up to 1: below two pixels a cell each way it is *tiny*, and its cells are
      interpolated rather than measured.
    """
    wide = cells.astype(np.int16)
    firm = int(np.count_nonzero(np.abs(wide[:, 1:] - wide[:, :-1]) >= NOISE)) / 64
    shares = {
        "flat": min(1.0, 2 * firm),
        "low_entropy": min(1.0, 2 * entropy(value)),
        "tiny": min(1.0, width / 18, height / 16),
    }
    score = shares["flat"] * shares["low_entropy"] * shares["tiny"]
    return round(score, 4), tuple(reason for reason, share in shares.items() if share < 1)


def entropy(value: int) -> float:
    """Bits that each bit of a 64-bit fingerprint says at most, to one who knows its neighbours: 0 to 1."""
    ones = value.bit_count() / 64
    across = ((value ^ value >> 1) & _RIGHT).bit_count() / 56
    down = ((value ^ value >> 8) & _BELOW).bit_count() / 56
    return min(_binary(ones), _binary(across), _binary(down))


def _binary(share: float) -> float:
    """Shannon's binary entropy function."""
    if share in (0, 1):
        return 0.0
    return -share * log2(share) - (1 - share) * log2(1 - share)
