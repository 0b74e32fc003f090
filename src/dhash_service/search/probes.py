"""Which band codes to look at, so that no value within a radius is missed: for an index that others hold.

The bands and the principle are those of `segment`, which chooses its radii by what it holds. Whoever only
asks spreads them evenly.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from dhash_service.search.segment import BANDS, CODES

WIDEST = 15
"""Largest radius that bands are probed for: beyond, comparing everything costs less."""

SHIFTS = (48, 32, 16, 0)
"""How far each band's 16 bits stand from the right."""


def probes(value: int, radius: int) -> list[list[int]]:
    """The codes (0 to 65,535) to look at in each of the four bands, for all within `radius` bits of `value`.

    Of probe radii that add up to radius - 3, -1 skips a band.
    """
    each, more = divmod(radius - (BANDS - 1), BANDS)
    return [
        ((value >> shift & CODES - 1) ^ _masks(each + (band < more))).tolist()
        for band, shift in enumerate(SHIFTS)
    ]


@cache
def _masks(bits: int) -> NDArray[np.int64]:
    """All 16-bit masks of at most so many bits."""
    numbers = np.arange(CODES)
    return numbers[np.bitwise_count(numbers) <= bits] if bits >= 0 else numbers[:0]
