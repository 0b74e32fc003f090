"""Strips and tiles: images that touch and show one picture together, as scanners and printers cut it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from dhash_service.documents.extraction import Box

NEAR = 0.25  # points; edges this near to each other, or twice as far, touch
SCALES = 1.05  # the largest ratio of two scales that are the same
FILLED = 0.02  # of the rectangle around tiles that may be left free, or covered twice
SEAM, SEAM_LEVELS = 3.0, 8.0
"""A seam between pictures that have nothing to do with each other: its two rows differ this many times as
much as those beside it, and by this many gray levels more."""


@dataclass(frozen=True, slots=True)
class Tile:
    """An image that is drawn upright or at a right angle: its box on the page, and its pixels there."""

    box: Box
    width: int
    height: int

    @property
    def scale(self) -> tuple[float, float]:
        """Points a pixel, across and up."""
        left, bottom, right, top = self.box
        return (right - left) / self.width, (top - bottom) / self.height


def joined(tiles: Sequence[Tile | None]) -> list[list[int]]:
    """The places of tiles that fill a rectangle together, edge to edge; None takes no part."""
    known = {place: tile for place, tile in enumerate(tiles) if tile is not None}
    leader = {place: place for place in known}

    def lead(place: int) -> int:
        while leader[place] != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    for one, other in _touching(known):
        if _alike(known[one], known[other]):
            first, second = sorted((lead(one), lead(other)))
            leader[second] = first
    groups: dict[int, list[int]] = {}
    for place in known:
        groups.setdefault(lead(place), []).append(place)
    return [
        group for group in groups.values() if len(group) > 1 and _fills([known[place].box for place in group])
    ]


def around(boxes: Sequence[Box]) -> Box:
    """The box around boxes."""
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    return min(lefts), min(bottoms), max(rights), max(tops)


def mosaic(tiles: Sequence[Tile], shown: Sequence[Image.Image]) -> Image.Image:
    """The picture that tiles show together, at the finest of their scales."""
    size, places = layout(tiles)
    whole = Image.new("RGB", size, "white")
    for picture, (left, top, right, bottom) in zip(shown, places, strict=True):
        wanted = (right - left, bottom - top)
        whole.paste(picture if picture.size == wanted else picture.resize(wanted), (left, top))
    return whole


def layout(tiles: Sequence[Tile]) -> tuple[tuple[int, int], list[tuple[int, int, int, int]]]:
    """The size of the picture together, and the left, top, right and bottom of each tile in it, in pixels."""
    left, bottom, right, top = around([tile.box for tile in tiles])
    across, up = min(tile.scale[0] for tile in tiles), min(tile.scale[1] for tile in tiles)
    size = max(1, round((right - left) / across)), max(1, round((top - bottom) / up))
    places = []
    for tile in tiles:
        x, y = round((tile.box[0] - left) / across), round((top - tile.box[3]) / up)
        end = round((tile.box[2] - left) / across), round((top - tile.box[1]) / up)
        places.append((x, y, max(end[0], x + 1), max(end[1], y + 1)))
    return size, places


def is_seamless(whole: Image.Image, tiles: Sequence[Tile]) -> bool:
    """True where the picture goes on across most of the edges of its tiles."""
    gray = np.asarray(whole.convert("L")).astype(np.int16)
    going_on = []
    for left, top, right, bottom in layout(tiles)[1]:
        if 2 <= left <= gray.shape[1] - 2:
            going_on.append(_goes_on(gray[top:bottom, left - 2 : left + 2]))
        if 2 <= top <= gray.shape[0] - 2:
            going_on.append(_goes_on(gray[top - 2 : top + 2, left:right].T))
    return 2 * sum(going_on) >= len(going_on)


def _goes_on(rows: "np.ndarray[tuple[int, int], np.dtype[np.int16]]") -> bool:
    """`rows` have four levels each, across the seam between the second and the third."""
    before, seam, after = np.abs(np.diff(rows, axis=1)).mean(axis=0)
    return bool(seam <= SEAM * (before + after) / 2 + SEAM_LEVELS)


def _touching(tiles: dict[int, Tile]) -> Iterator[tuple[int, int]]:
    """Pairs of tiles that share a whole edge."""
    starts: dict[tuple[bool, int, int, int], int] = {}  # of those drawn over each other, the first
    for place, tile in tiles.items():
        left, bottom, right, top = (round(edge / NEAR) for edge in tile.box)
        starts.setdefault((True, left, bottom, top), place)
        starts.setdefault((False, bottom, left, right), place)
    for place, tile in tiles.items():
        left, bottom, right, top = (round(edge / NEAR) for edge in tile.box)
        for sideways, end, low, high in ((True, right, bottom, top), (False, top, left, right)):
            for moved in product((0, -1, 1), repeat=3):
                key = (sideways, end + moved[0], low + moved[1], high + moved[2])
                if (other := starts.get(key, place)) != place:
                    yield place, other


def _alike(one: Tile, other: Tile) -> bool:
    return all(
        max(pair) <= SCALES * min(pair) for pair in zip(one.scale, other.scale, strict=True) if min(pair) > 0
    )


def _fills(boxes: Sequence[Box]) -> bool:
    left, bottom, right, top = around(boxes)
    covered = sum((box[2] - box[0]) * (box[3] - box[1]) for box in boxes)
    return abs(covered / ((right - left) * (top - bottom)) - 1) <= FILLED
