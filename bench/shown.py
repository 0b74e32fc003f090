"""How far is the fingerprint of a picture in a PDF from pdfium's rendering of its box alone?"""

import random
from collections import Counter
from collections.abc import Iterator

from pikepdf import Object
from PIL import Image
from tests.dhash_service.documents import test_shown as shown
from tests.dhash_service.documents.pdfs import Draft, at
from tests.pictures import encode, photo

from bench.table import Table, Target
from dhash_service.documents.extraction import Limits, Reading
from dhash_service.documents.pdf import extract
from dhash_service.pictures.fingerprint import VISUAL_FAST, fingerprint

LIMITS = Limits(max_pages=10, max_pictures=100, max_pixels=10_000_000)
MOST = 4
"""Bits that a picture may be away from its rendering."""


def tables(quick: bool) -> list[Table]:
    found: dict[str, Counter[int]] = {}
    for way, distance in distances(3 if quick else 40):
        found.setdefault(way, Counter())[distance] += 1
    every = sum(found.values(), Counter())
    over = sum(number for bits, number in every.items() if bits > MOST)
    rows = [(way, *counted(each)) for way, each in sorted(found.items())]
    return [
        Table(
            f"Bits between a picture from a PDF ({VISUAL_FAST.name}) and the rendering of its box alone",
            ("stored", *(str(bits) for bits in range(MOST + 1)), f"> {MOST}"),
            [*rows, ("all", *counted(every))],
            [Target(f"pictures farther than {MOST} bits", "0", f"{over} of {every.total()}", over == 0)],
            "Each picture has a random size, is mirrored and turned at random, its page turned.",
        )
    ]


def counted(bits: Counter[int]) -> Iterator[str]:
    for number in range(MOST + 1):
        yield f"{bits[number]:,}"
    yield f"{sum(count for number, count in bits.items() if number > MOST):,}"


def distances(seeds: int) -> Iterator[tuple[str, int]]:
    """For each way to store a picture and each seed, the bits between what is taken and what is rendered."""
    for way in (*shown.WAYS, "strips"):
        for seed in range(seeds):
            yield way, distance(way, random.Random(f"{way} {seed}"))


def distance(way: str, chance: random.Random) -> int:
    """Draw one picture on a page, and compare."""
    shown.PICTURE = photo(320, 240, chance.randrange(10**6))  # what the ways draw
    draft = Draft()
    width, height = chance.uniform(430, 560), chance.uniform(300, 420)
    a, b, c, d = chance.choice([(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0)])
    matrix = (a * width, b * width, c * height, d * height)
    left, bottom = 30 - min(0, matrix[0] + matrix[2]), 30 - min(0, matrix[1] + matrix[3])
    place = b"q %f %f %f %f %f %f cm " % (*matrix, left, bottom)
    if way == "strips":
        images, content = strips(draft, shown.PICTURE)
    else:
        images, content = {"I": shown.WAYS[way](draft)}, at("I", 0, 0, 1, 1)
    draft.page(place + content + b"Q", images)
    draft.pdf.pages[0].obj.Rotate = chance.choice([0, 90, 180, 270])
    data = draft.save()
    (item,) = extract(data, Reading(VISUAL_FAST, LIMITS)).pictures
    truth = fingerprint(encode(shown.rendered(data, item.box), "PNG"), VISUAL_FAST)
    return (item.picture.fingerprint.value ^ truth.value).bit_count()


def strips(draft: Draft, picture: Image.Image) -> tuple[dict[str, Object], bytes]:
    """The picture in twelve strips, drawn into the unit square."""
    images: dict[str, Object] = {}
    content = b""
    for number in range(12):
        strip = picture.crop((0, 20 * number, 320, 20 * number + 20))
        images[f"S{number}"] = draft.flate(strip)
        content += at(f"S{number}", 0, 1 - (number + 1) / 12, 1, 1 / 12)
    return images, content
