"""What the page shows is what is fingerprinted: pdfium's rendering of a picture's box is the truth."""

from collections.abc import Callable

import numpy as np
import pypdfium2
import pytest
from pikepdf import Array, Dictionary, Name, Object
from PIL import Image, ImageOps

from dhash_service.documents import pdf
from dhash_service.documents.extraction import Extraction, Limits, Reading, Skip
from dhash_service.documents.matrices import upright
from dhash_service.facts import Algorithm
from dhash_service.pictures.fingerprint import FAST, VISUAL, VISUAL_FAST, fingerprint
from tests.dhash_service.documents.pdfs import Draft, at
from tests.pictures import encode, jpeg, photo

LIMITS = Limits(max_pages=10, max_pictures=100, max_pixels=1_000_000)
PICTURE = photo(320, 240, 3)
BOX = at("I", 50, 50, 320, 240)
BOTH = pytest.mark.parametrize("algorithm", [VISUAL, VISUAL_FAST], ids=str)


def extract(data: bytes, algorithm: Algorithm = VISUAL_FAST) -> Extraction:
    return pdf.extract(data, Reading(algorithm, LIMITS, keep_content=True))


def rendered(data: bytes, box: tuple[float, float, float, float], scale: float = 2) -> Image.Image:
    """The box on the first page, as pdfium renders the page."""
    with pypdfium2.PdfDocument(data) as document:
        page = document[0]
        picture: Image.Image = page.render(scale=scale, may_draw_forms=False).to_pil().convert("RGB")
        turns, height = page.get_rotation() // 90, page.get_mediabox()[3]
        width = page.get_mediabox()[2]
    left, bottom, right, top = box
    for _ in range(turns):
        left, bottom, right, top = bottom, width - right, top, width - left
        width, height = height, width
    edges = (left, height - top, right, height - bottom)
    left, top, right, bottom = (round(edge * scale) for edge in edges)
    return picture.crop((left, top, right, bottom))


def drawn(image: Callable[[Draft], Object], content: bytes = BOX, **page: object) -> bytes:
    draft = Draft()
    draft.page(content, {"I": image(draft)})
    for name, value in page.items():
        draft.pdf.pages[0].obj["/" + name] = value
    return draft.save()


def negative(picture: Image.Image) -> Image.Image:
    return ImageOps.invert(picture)


WAYS: dict[str, Callable[[Draft], Object]] = {
    "JPEG": lambda draft: draft.jpeg(encode(PICTURE, "JPEG", quality=92)),
    "gray JPEG, Decode turned": lambda draft: draft.jpeg(
        encode(negative(PICTURE.convert("L")), "JPEG"), Decode=Array([1, 0])
    ),
    "RGB, Decode turned": lambda draft: draft.flate(negative(PICTURE), Decode=Array([1, 0] * 3)),
    "CMYK JPEG by Adobe's rule": lambda draft: draft.jpeg(
        encode(PICTURE.convert("CMYK"), "JPEG"), Decode=Array([1, 0] * 4)
    ),
    "CMYK JPEG as it is": lambda draft: draft.jpeg(encode(negative_inks(PICTURE.convert("CMYK")), "JPEG")),
    "CMYK pixels": lambda draft: draft.flate(PICTURE.convert("CMYK")),
    "1 bit": lambda draft: draft.image(PICTURE.convert("1").tobytes(), PICTURE.size, Name.DeviceGray, bits=1),
    "soft mask with the drawing": lambda draft: draft.flate(
        Image.new("RGB", PICTURE.size), SMask=draft.flate(PICTURE.convert("L"))
    ),
    "stencil": lambda draft: draft.image(
        PICTURE.convert("1").tobytes(), PICTURE.size, None, bits=1, ImageMask=True
    ),
}


def negative_inks(picture: Image.Image) -> Image.Image:
    return Image.fromarray(255 - np.asarray(picture), "CMYK")


@BOTH
@pytest.mark.parametrize("way", WAYS)
def test_a_picture_is_within_four_bits_of_its_box_on_the_page(way: str, algorithm: Algorithm) -> None:
    data = drawn(WAYS[way], at("I", 50, 50, 480, 360))
    (item,) = extract(data, algorithm).pictures
    truth = fingerprint(encode(rendered(data, item.box), "PNG"), algorithm)
    assert truth.quality > 0.5
    assert (item.picture.fingerprint.value ^ truth.value).bit_count() <= 4


MATRICES = {
    "upright": b"320 0 0 240 50 50",
    "upside down": b"320 0 0 -240 50 290",
    "mirrored": b"-320 0 0 240 370 50",
    "half turn": b"-320 0 0 -240 370 290",
    "quarter turn": b"0 320 -240 0 290 50",
    "three quarters": b"0 -320 240 0 50 370",
    "transposed": b"0 320 240 0 50 50",
    "transversed": b"0 -320 -240 0 290 370",
}


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("stored", ["JPEG", "PNG"])
def test_matrix_and_page_turn_the_picture(matrix: str, rotation: int, stored: str) -> None:
    def image(draft: Draft) -> Object:
        return draft.jpeg(jpeg(320, 240, 3)) if stored == "JPEG" else draft.flate(PICTURE)

    data = drawn(image, b"q " + MATRICES[matrix] + b" cm /I Do Q", Rotate=rotation)
    (item,) = extract(data).pictures
    found = item.picture.fingerprint
    truth = rendered(data, item.box)
    assert (found.width > found.height) == (truth.width > truth.height)
    assert (found.value ^ fingerprint(encode(truth, "PNG"), VISUAL).value).bit_count() <= 4
    assert (item.picture.format == "JPEG") == (stored == "JPEG" and upright_here(data))


def upright_here(data: bytes) -> bool:
    with pypdfium2.PdfDocument(data) as document:
        (image,) = document[0].get_objects()
        return upright(image.get_matrix(), document[0].get_rotation() // 90) is None


def test_an_upright_jpeg_keeps_its_bytes_and_others_are_as_before() -> None:
    data = jpeg(320, 240, 3)
    for algorithm in (VISUAL_FAST, FAST):
        (item,) = extract(drawn(lambda draft: draft.jpeg(data)), algorithm).pictures
        assert item.picture.content == data
    turned = drawn(lambda draft: draft.jpeg(data), Rotate=90)
    assert extract(turned, FAST).pictures[0].picture.content == data


# ---- nothing vanishes


def test_a_stamp_is_found_where_it_is_drawn() -> None:
    draft = Draft()
    draft.page(b"")
    shown = {"I": draft.jpeg(jpeg(320, 240, 3))}
    form = draft.form(at("I", 0, 0, 320, 240), shown, BBox=Array([0, 0, 320, 240]))
    stamp = Dictionary(
        Type=Name.Annot, Subtype=Name.Stamp, Rect=Array([40, 40, 200, 160]), F=4, AP=Dictionary(N=form)
    )
    draft.pdf.pages[0].obj.Annots = Array([draft.pdf.make_indirect(stamp)])
    (item,) = extract(draft.save()).pictures
    assert item.box == (40, 40, 200, 160)
    assert item.picture.content == jpeg(320, 240, 3)


def filled(picture: Image.Image) -> bytes:
    draft = Draft()
    draft.page(b"/Pattern cs /P scn 50 50 320 240 re f")
    width, height = picture.size
    tile = draft.form(
        at("I", 0, 0, width, height),
        {"I": draft.flate(picture)},
        BBox=Array([0, 0, width, height]),
        Matrix=Array([1, 0, 0, 1, 50, 50]),
    )
    tile.Type, tile.PatternType, tile.PaintType, tile.TilingType = Name.Pattern, 1, 1, 1
    tile.XStep, tile.YStep = width, height
    draft.pdf.pages[0].obj.Resources = Dictionary(Pattern=Dictionary(P=tile))
    return draft.save()


def test_a_picture_that_fills_a_shape_is_found() -> None:
    data = filled(PICTURE)
    (item,) = extract(data).pictures
    assert item.box == (50, 50, 370, 290)
    truth = fingerprint(encode(PICTURE, "PNG"), VISUAL)
    assert (item.picture.fingerprint.value ^ truth.value).bit_count() <= 4


def test_hatching_is_counted_as_a_pattern() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8).repeat(4), (64, 8))).convert("RGB")
    extraction = extract(filled(stripes))
    assert (extraction.pictures, extraction.skipped) == ((), {Skip.PATTERN: 1})


def test_one_picture_of_too_many_pixels_costs_itself_alone() -> None:
    draft = Draft()
    huge = draft.image(bytes(1250 * 10_000), (10_000, 10_000), Name.DeviceGray, bits=1)
    draft.page(BOX + at("H", 0, 0, 9, 9), {"I": draft.jpeg(jpeg(320, 240, 3)), "H": huge})
    extraction = extract(draft.save())
    assert len(extraction.pictures) == 1
    assert extraction.skipped == {Skip.TOO_MANY_PIXELS: 1}
