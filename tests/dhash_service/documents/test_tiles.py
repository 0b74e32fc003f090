"""Images that touch and show one picture are one; pictures of their own stay what they are."""

import pytest
from pikepdf import Name
from PIL import Image

from dhash_service.documents import pdf
from dhash_service.documents.extraction import Extraction, Limits, Reading, Skip
from dhash_service.documents.tiles import Tile, around, joined, layout
from dhash_service.facts import Algorithm
from dhash_service.pictures.fingerprint import EXACT, VISUAL, VISUAL_FAST, fingerprint
from tests.dhash_service.documents.pdfs import Draft, at
from tests.pictures import encode, page, photo

PICTURE = photo(320, 240, 3)
LIMITS = Limits(max_pages=10, max_pictures=100, max_pixels=1_000_000)
EACH = pytest.mark.parametrize("algorithm", [VISUAL, VISUAL_FAST, EXACT], ids=lambda each: each.name)


def extract(data: bytes, algorithm: Algorithm = VISUAL_FAST, limits: Limits = LIMITS) -> Extraction:
    return pdf.extract(data, Reading(algorithm, limits))


def cut(picture: Image.Image, width: int, height: int, rotate: int = 0, scale: float = 1) -> bytes:
    """A page that draws the picture in pieces of at most this size."""
    draft = Draft()
    content, images = b"", {}
    for top in range(0, picture.height, height):
        for left in range(0, picture.width, width):
            box = (left, top, min(left + width, picture.width), min(top + height, picture.height))
            name = f"T{top}x{left}"
            images[name] = draft.flate(picture.crop(box))
            place = (left, picture.height - box[3], box[2] - left, box[3] - top)
            content += at(name, *(scale * edge + 20 * (number < 2) for number, edge in enumerate(place)))
    draft.page(content, images)
    if rotate:
        draft.pdf.pages[0].obj.Rotate = rotate
    return draft.save()


@EACH
@pytest.mark.parametrize(("width", "height"), [(320, 20), (320, 7), (20, 240), (31, 31)])
def test_strips_and_tiny_tiles_are_the_picture(algorithm: Algorithm, width: int, height: int) -> None:
    found = extract(cut(PICTURE, width, height), algorithm)
    (one,) = found.pictures
    assert (found.skipped, one.box) == ({}, (20, 20, 340, 260))
    assert one.picture.fingerprint.value == fingerprint(encode(PICTURE, "PNG"), algorithm).value
    assert (one.picture.fingerprint.width, one.picture.fingerprint.height) == (320, 240)


def test_tiles_that_could_stand_alone_are_joined_where_the_picture_goes_on() -> None:
    whole = fingerprint(encode(PICTURE, "PNG"), VISUAL_FAST).value
    for data in (cut(PICTURE, 128, 128), cut(PICTURE, 320, 64, scale=0.24)):
        (one,) = extract(data).pictures
        assert one.picture.fingerprint.value == whole
    assert len(extract(cut(PICTURE, 128, 128), EXACT).pictures) == 6  # as it always was


def test_the_pages_turn_is_applied_to_the_whole() -> None:
    turned = PICTURE.transpose(Image.Transpose.ROTATE_90)
    (one,) = extract(cut(turned, 40, 40, rotate=90)).pictures
    assert one.picture.fingerprint.value == fingerprint(encode(PICTURE, "PNG"), VISUAL_FAST).value


def test_a_scan_in_strips_of_stencils_is_a_picture() -> None:
    draft = Draft()
    scan = page(480, 640).convert("1")
    content, images = b"", {}
    for top in range(0, 640, 32):
        strip = scan.crop((0, top, 480, top + 32))
        images[f"S{top}"] = draft.image(strip.tobytes(), strip.size, None, bits=1, ImageMask=True)
        content += at(f"S{top}", 0, 640 - top - 32, 480, 32)
    draft.page(content, images)
    found = extract(draft.save())
    (one,) = found.pictures
    assert (one.picture.fingerprint.width, one.picture.fingerprint.height) == (480, 640)
    truth = fingerprint(encode(scan.convert("L"), "PNG"), VISUAL_FAST)
    assert one.picture.fingerprint.value == truth.value  # a 0 is paint


def test_photographs_side_by_side_stay_apart() -> None:
    draft = Draft()
    images = {f"I{number}": draft.flate(photo(120, 120, 10 + number)) for number in range(4)}
    places = [(0, 0), (120, 0), (0, 120), (120, 120)]
    draft.page(
        b"".join(at(name, *place, 120, 120) for name, place in zip(images, places, strict=True)), images
    )
    assert len(extract(draft.save()).pictures) == 4


def test_bullets_in_a_column_stay_tiny_and_a_mosaic_too_large_is_counted() -> None:
    draft = Draft()
    bullet = draft.flate(photo(12, 12, 5))
    draft.page(b"".join(at("I", 20, 40 * row, 12, 12) for row in range(8)), {"I": bullet})
    assert extract(draft.save()).skipped == {Skip.TINY: 8}
    small = Limits(max_pages=10, max_pictures=100, max_pixels=60_000)
    assert extract(cut(PICTURE, 320, 20), limits=small).skipped == {Skip.TOO_MANY_PIXELS: 1}


def test_what_overlaps_or_is_ragged_or_of_another_scale_is_not_joined() -> None:
    left, right = Tile((0, 0, 10, 10), 10, 10), Tile((10, 0, 20, 10), 10, 10)
    assert joined([left, None, right]) == [[0, 2]]
    assert joined([left, right, Tile((10, 10, 20, 20), 10, 10)]) == []  # an L
    assert joined([left, Tile((10, 0, 20, 10), 20, 20)]) == []
    assert joined([left, Tile((12, 0, 22, 10), 10, 10)]) == []
    assert joined([left] * 50_000) == []
    assert around([left.box, right.box]) == (0, 0, 20, 10)
    assert layout([left, right]) == ((20, 10), [(0, 0, 10, 10), (10, 0, 20, 10)])


def test_a_hostile_number_of_tiles_costs_little() -> None:
    draft = Draft()
    one = draft.image(b"\0" * 3, (1, 1), Name.DeviceRGB)
    draft.page(b"".join(at("I", x, y, 1, 1) for x in range(60) for y in range(60)), {"I": one})
    assert extract(draft.save()).skipped == {Skip.TINY: 3_600}
