"""Which pictures a PDF holds, where they stand, and which of its bytes they are."""

import hashlib
import io
import zlib
from collections.abc import Callable

import pikepdf
import pytest
from pikepdf import Array, Dictionary, Name, String
from PIL import Image

from dhash_service.documents import pdf
from dhash_service.documents.extraction import Extraction, Limits, Reading, Skip
from dhash_service.errors import (
    DamagedDocumentError,
    DhashError,
    EncryptedDocumentError,
    NotADocumentError,
    TooManyPagesError,
    TooManyPicturesError,
)
from dhash_service.pictures.fingerprint import ALGORITHMS, FAST, fingerprint
from tests.dhash_service.documents.pdfs import (
    Draft,
    at,
    by_hand,
    image_bomb,
    of_pages,
    one_page,
    showing,
    stream,
)
from tests.pictures import encode, jpeg, photo

LIMITS = Limits(max_pages=1000, max_pictures=2000, max_pixels=100_000_000)
INDEXED = Image.Palette.ADAPTIVE


def extract(data: bytes, **limits: int) -> Extraction:
    given = {name: limits.get(name, getattr(LIMITS, name)) for name in Limits.__slots__}
    return pdf.extract(data, Reading(FAST, Limits(**given), keep_content=True))


def only(extraction: Extraction) -> bytes:
    """The bytes of the one picture taken."""
    (item,) = extraction.pictures
    assert item.picture.content is not None
    return item.picture.content


# ---- JPEG streams


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_a_jpeg_comes_out_as_the_bytes_that_went_in(options: dict[str, object]) -> None:
    data = jpeg(300, 200, 1, **options)
    extraction = extract(showing(data))
    assert only(extraction) == data
    (item,) = extraction.pictures
    assert item.picture.sha256 == hashlib.sha256(data).hexdigest()
    assert item.picture.format == "JPEG"
    assert item.picture.fingerprint == fingerprint(data)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk_jpegs_keep_their_bytes_too(mode: str) -> None:
    data = encode(photo(200, 150).convert(mode), "JPEG")
    assert only(extract(showing(data))) == data


def test_lossless_filters_around_a_jpeg_are_undone() -> None:
    data, draft = jpeg(120, 90), Draft()
    packed = draft.image(zlib.compress(data), (120, 90), filters=Array([Name.FlateDecode, Name.DCTDecode]))
    hexed = draft.image(
        data.hex().encode() + b">", (120, 90), filters=Array([Name.ASCIIHexDecode, Name.DCTDecode])
    )
    draft.show(packed, hexed)
    assert [item.picture.content for item in extract(draft.save()).pictures] == [data, data]


def test_an_inline_jpeg_is_found() -> None:
    data, draft = jpeg(64, 64), Draft()
    draft.page(b"q 90 0 0 90 5 6 cm BI /W 64 /H 64 /BPC 8 /CS /RGB /F /DCT ID " + data + b"\nEI Q")
    extraction = extract(draft.save())
    assert only(extraction) == data
    assert extraction.pictures[0].box == (5, 6, 95, 96)


def test_a_pdf_that_only_its_owner_may_change_is_read() -> None:
    data = jpeg(120, 90)
    locked = showing(data, encryption=pikepdf.Encryption(owner="secret", user="", R=6))
    assert b"/Encrypt" in locked
    assert only(extract(locked)) == data


# ---- other encodings


def _palette(draft: Draft, picture: Image.Image) -> pikepdf.Object:
    small = picture.quantize(16)
    colors = String(bytes(small.getpalette()[:48]))  # type: ignore[index]
    return draft.image(small.tobytes(), small.size, Array([Name.Indexed, Name.DeviceRGB, 15, colors]))


def _fax(draft: Draft, picture: Image.Image) -> pikepdf.Object:
    tiff = Image.open(io.BytesIO(encode(picture.convert("1"), "TIFF", compression="group4")))
    (start,), (length,) = tiff.tag_v2[273], tiff.tag_v2[279]
    data = encode(picture.convert("1"), "TIFF", compression="group4")[start : start + length]
    return draft.image(
        data,
        picture.size,
        Name.DeviceGray,
        bits=1,
        filters=Name.CCITTFaxDecode,
        DecodeParms=Dictionary(K=-1, Columns=picture.width, Rows=picture.height, BlackIs1=True),
    )


def _lzw(draft: Draft, picture: Image.Image) -> pikepdf.Object:
    """Every code nine bits wide: the table is cleared before it would need ten (ISO 32000-1, 7.4.4)."""
    codes, data = [256], picture.tobytes()
    for number, byte in enumerate(data, 1):
        codes += [byte, 256] if number % 200 == 0 else [byte]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    return draft.image(packed, picture.size, filters=Name.LZWDecode)


EXACT_ENCODINGS: dict[
    str, tuple[Callable[[Draft, Image.Image], pikepdf.Object], Callable[..., Image.Image]]
] = {
    "flate": (lambda draft, picture: draft.flate(picture), lambda picture: picture),
    "none": (lambda draft, picture: draft.image(picture.tobytes(), picture.size), lambda picture: picture),
    "lzw": (_lzw, lambda picture: picture),
    "gray": (lambda draft, picture: draft.flate(picture.convert("L")), lambda picture: picture.convert("L")),
    "palette": (_palette, lambda picture: picture.quantize(16).convert("RGB")),
    "fax": (_fax, lambda picture: picture.convert("1").convert("L")),
    "one bit": (
        lambda draft, picture: draft.image(
            picture.convert("1").tobytes(), picture.size, Name.DeviceGray, bits=1
        ),
        lambda picture: picture.convert("1").convert("L"),
    ),
}


@pytest.mark.parametrize("encoding", EXACT_ENCODINGS)
def test_a_lossless_encoding_becomes_a_bmp_of_exactly_its_pixels(encoding: str) -> None:
    embed, expected = EXACT_ENCODINGS[encoding]
    draft, picture = Draft(), photo(130, 90)
    draft.show(embed(draft, picture))
    extraction = extract(draft.save())
    content, pixels = only(extraction), expected(picture)
    assert extraction.pictures[0].picture.format == "BMP"
    assert Image.open(io.BytesIO(content)).convert(pixels.mode).tobytes() == pixels.tobytes()
    assert extraction.pictures[0].picture.fingerprint.value == fingerprint(encode(pixels, "PNG")).value


def test_equal_pixels_are_one_image_however_they_were_packed() -> None:
    draft, picture = Draft(), photo(130, 90)
    draft.show(draft.flate(picture), draft.image(picture.tobytes(), picture.size))
    first, second = extract(draft.save()).pictures
    assert first.picture is second.picture


@pytest.mark.parametrize("kind", ["CMYK", "JPEG 2000", "16 bits"])
def test_what_pdfium_must_convert_keeps_its_fingerprint(kind: str) -> None:
    draft, picture = Draft(), photo(160, 120)
    if kind == "CMYK":
        draft.show(draft.flate(picture.convert("CMYK")))
    elif kind == "JPEG 2000":
        data = encode(picture, "JPEG2000")
        draft.show(draft.image(data, picture.size, None, filters=Name.JPXDecode))
    else:
        deep = bytes(byte for level in picture.convert("L").tobytes() for byte in (level, 7))
        draft.show(draft.image(deep, picture.size, Name.DeviceGray, bits=16))
    (item,) = extract(draft.save()).pictures
    distance = (item.picture.fingerprint.value ^ fingerprint(encode(picture, "PNG")).value).bit_count()
    assert distance <= 6  # well within what counts as a candidate for a match


def test_a_soft_mask_and_a_color_key_leave_the_picture_as_it_is() -> None:
    draft, picture = Draft(), photo(130, 90)
    clear = draft.flate(Image.new("L", picture.size, 0))
    key = Array([0, 100, 0, 100, 0, 100])
    draft.show(draft.flate(picture), draft.flate(picture, SMask=clear), draft.flate(picture, Mask=key))
    extraction = extract(draft.save())
    assert len({item.picture.sha256 for item in extraction.pictures}) == 1
    assert len(extraction.pictures) == 3


# ---- where


def test_pictures_come_in_page_order_with_their_boxes() -> None:
    first, second = jpeg(100, 80, 1), jpeg(100, 80, 2)
    draft = Draft()
    draft.page(b"")
    drawn = {"A": draft.jpeg(first), "B": draft.jpeg(second)}
    draft.page(at("B", 10, 20, 30, 40) + at("A", 72, 144.5, 216, 300), drawn)
    draft.page(at("A", -5, 0, 5, 5), drawn)
    extraction = extract(draft.save())
    assert extraction.pages == 3
    assert [(item.page, item.box, item.picture.content) for item in extraction.pictures] == [
        (2, (10, 20, 40, 60), second),
        (2, (72, 144.5, 288, 444.5), first),
        (3, (-5, 0, 0, 5), first),
    ]


def test_a_picture_shown_again_is_the_same_picture() -> None:
    draft = Draft()
    shared = draft.jpeg(jpeg(100, 80))
    for _ in range(5):
        draft.show(shared)
    extraction = extract(draft.save())
    assert [item.page for item in extraction.pictures] == [1, 2, 3, 4, 5]
    assert len({id(item.picture) for item in extraction.pictures}) == 1


def test_a_turned_picture_has_the_box_around_it() -> None:
    draft = Draft()
    draft.page(b"q 0 50 -100 0 300 200 cm /I Do Q", {"I": draft.jpeg(jpeg(100, 80))})
    assert extract(draft.save()).pictures[0].box == (200, 200, 300, 250)


def test_forms_within_forms_place_their_pictures_through_every_matrix() -> None:
    draft, data = Draft(), jpeg(100, 80)
    inner = draft.form(at("I", 1, 2, 10, 20), {"I": draft.jpeg(data)}, Matrix=Array([3, 0, 0, 3, 7, 11]))
    outer = draft.form(b"q 2 0 0 2 5 5 cm /F Do Q", {"F": inner}, Matrix=Array([0, 1, -1, 0, 100, 0]))
    draft.page(b"q 1 0 0 1 30 40 cm /G Do Q", {"G": outer})
    extraction = extract(draft.save())
    # (0,0)-(1,1) → 1,2,11,22 → 10,17,40,77 → 25,39,85,159 → turned: -59,25,61,85 → 30,40 further
    assert extraction.pictures[0].box == (-29, 65, 91, 125)
    assert only(extraction) == data


@pytest.mark.parametrize("matrix", [b"99999999 0 0 99999999 0 0 cm " * 6, b"0 0 0 90 5 5 cm "])
def test_a_picture_without_a_place_on_the_page_is_counted_and_not_reported(matrix: bytes) -> None:
    draft = Draft()
    shown = at("I", 0, 0, 50, 50)
    draft.page(b"q " + matrix + b"/I Do Q " + shown, {"I": draft.jpeg(jpeg(100, 80))})
    extraction = extract(draft.save())
    assert [item.box for item in extraction.pictures] == [(0, 0, 50, 50)]
    assert extraction.skipped == {Skip.NOWHERE: 1}


# ---- what is skipped


@pytest.mark.parametrize(("size", "taken"), [((32, 32), 1), ((31, 32), 0), ((2000, 31), 0), ((1, 1), 0)])
def test_the_shorter_side_decides_what_is_decoration(size: tuple[int, int], taken: int) -> None:
    extraction = extract(showing(jpeg(*size)))
    assert len(extraction.pictures) == taken
    assert extraction.skipped == ({} if taken else {Skip.TINY: 1})


def test_stencils_are_shapes_and_not_pictures() -> None:
    draft, shape = Draft(), photo(160, 120).convert("1")
    mask = draft.image(shape.tobytes(), shape.size, None, bits=1, ImageMask=True)
    draft.show(mask, draft.flate(photo(160, 120), Mask=mask))
    extraction = extract(draft.save())
    assert len(extraction.pictures) == 1
    assert extraction.skipped == {Skip.MASK: 1}


def test_a_picture_whose_data_is_broken_costs_itself_alone() -> None:
    good, draft = jpeg(300, 200), Draft()
    cut = draft.image(good[: len(good) // 2], (300, 200), filters=Name.DCTDecode)
    noise = draft.image(b"\xff\xd8\xff" + bytes(range(256)), (300, 200), filters=Name.DCTDecode)
    draft.show(cut, noise, draft.jpeg(good))
    extraction = extract(draft.save())
    assert only(extraction) == good
    assert extraction.skipped == {Skip.DAMAGED: 2}


@pytest.mark.parametrize(("seam", "taken"), [("_jpeg", 3), ("_tile", 2)])
def test_what_nobody_expected_costs_that_picture_or_page_alone(
    monkeypatch: pytest.MonkeyPatch, seam: str, taken: int
) -> None:
    """`_jpeg` is called for each of the four pictures, `_tile` when a page begins: the second page fails."""
    draft = Draft()
    for number in range(2):
        pictures = {name: draft.jpeg(jpeg(64, 64, 2 * number + place)) for place, name in enumerate("AB")}
        draft.page(at("A", 0, 0, 100, 100) + at("B", 200, 200, 100, 100), pictures)
    whole = getattr(pdf, seam)
    turn = iter(range(100))

    def failing(*arguments: object) -> object:
        if next(turn) == 2:
            raise KeyError("nobody expected this")
        return whole(*arguments)

    monkeypatch.setattr(pdf, seam, failing)
    found = extract(draft.save())
    assert (len(found.pictures), found.skipped) == (taken, {Skip.DECODER_FAILED: 1})


def test_a_negative_size_is_damage_and_not_a_bomb() -> None:
    extraction = extract(image_bomb((-18, 40), megabytes=1))
    assert (extraction.pictures, extraction.skipped) == ((), {Skip.DAMAGED: 1})


@pytest.mark.parametrize("mutual", [False, True])
def test_forms_that_draw_themselves_come_to_an_end(mutual: bool) -> None:
    draft = Draft()
    image = draft.jpeg(jpeg(64, 64))
    first = draft.form(b"/I Do /X Do", {"I": image})
    first.Resources.XObject.X = draft.form(b"/X Do", {"X": first}) if mutual else first
    draft.page(b"/F Do", {"F": first})
    extraction = extract(draft.save())
    assert len(extraction.pictures) == (4 if mutual else pdf.DEEPEST_FORM)
    assert extraction.skipped == {Skip.NESTED: 1}


def test_forms_nested_as_deep_as_allowed_are_read_and_deeper_ones_counted() -> None:
    for depth, skipped in ((pdf.DEEPEST_FORM, {}), (pdf.DEEPEST_FORM + 1, {Skip.NESTED: 1})):
        draft = Draft()
        drawn = draft.jpeg(jpeg(64, 64))
        for _ in range(depth):
            drawn = draft.form(b"/X Do", {"X": drawn})
        draft.page(b"/X Do", {"X": drawn})
        extraction = extract(draft.save())
        assert (len(extraction.pictures), extraction.skipped) == (0 if skipped else 1, skipped)


# ---- what is refused


def refused(data: bytes, **limits: int) -> DhashError:
    with pytest.raises(DhashError) as caught:
        extract(data, **limits)
    assert 400 <= caught.value.status < 500
    return caught.value


@pytest.mark.parametrize("data", [b"", b"\0", b"%PDF", jpeg(64, 64), b" " * 1024 + showing(jpeg(64, 64))])
def test_what_has_no_pdf_header_is_no_document(data: bytes) -> None:
    assert isinstance(refused(data), NotADocumentError)


@pytest.mark.parametrize("revision", [2, 4, 6])
def test_a_password_is_asked_for(revision: int) -> None:
    aes = revision >= 4
    locked = pikepdf.Encryption(owner="a", user="b", R=revision, aes=aes, metadata=aes)  # type: ignore[arg-type]
    assert isinstance(refused(showing(jpeg(64, 64), encryption=locked)), EncryptedDocumentError)


@pytest.mark.parametrize(
    "options", [{}, {"linearize": True}, {"object_stream_mode": pikepdf.ObjectStreamMode.generate}]
)
def test_a_truncated_pdf_is_refused_wherever_it_was_cut(options: dict[str, object]) -> None:
    whole = showing(jpeg(64, 64), jpeg(64, 64, 1), **options)
    end = whole.rindex(b"%%EOF")
    for length in [*range(9, end - 25, 97), *range(end - 25, end)]:
        assert isinstance(refused(whole[:length]), DamagedDocumentError), length


def test_half_of_the_last_line_is_no_loss() -> None:
    whole = showing(jpeg(64, 64), jpeg(64, 64, 1))
    assert len(extract(whole[: whole.rindex(b"%%EOF") + 2]).pictures) == 2


def test_a_revision_that_was_cut_off_is_not_taken_for_the_one_before_it() -> None:
    whole = showing(jpeg(64, 64))
    assert isinstance(refused(whole + b"9 0 obj\n<< /Type /Page"), DamagedDocumentError)


def test_wrong_offsets_alone_are_forgiven() -> None:
    data = jpeg(64, 64)
    assert only(extract(showing(data).replace(b"startxref\n", b"startxref\n9"))) == data


@pytest.mark.parametrize(
    "objects",
    [
        [b"<< /Type /Catalog >>"],
        [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"],
        [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [7 0 R] /Count 1 >>"],
        [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 3 >>"],
    ],
)
def test_a_document_without_the_pages_it_promises_never_yields_pictures(objects: list[bytes]) -> None:
    try:
        extraction = extract(by_hand(objects))
    except DamagedDocumentError:
        return
    assert (extraction.pages, extraction.pictures) == (0, ())


def test_ten_thousand_pages_are_too_many() -> None:
    error = refused(of_pages(10_000))
    assert isinstance(error, TooManyPagesError)
    assert "10,000" in error.detail
    assert extract(of_pages(1000)).pages == 1000


def test_pictures_are_counted_wherever_they_are_shown() -> None:
    draft = Draft()
    draft.page(at("I", 0, 0, 9, 9) * 11, {"I": draft.jpeg(jpeg(64, 64))})
    assert isinstance(refused(draft.save(), max_pictures=10), TooManyPicturesError)
    assert len(extract(draft.save(), max_pictures=11).pictures) == 11


def test_pixels_are_refused_before_they_exist() -> None:
    extraction = extract(image_bomb((60_000, 60_000), megabytes=64))
    assert (extraction.pictures, extraction.skipped) == ((), {Skip.TOO_MANY_PIXELS: 1})


def test_a_jpeg_that_is_larger_than_the_document_says_is_measured_itself() -> None:
    draft = Draft()
    draft.show(draft.image(jpeg(300, 200), (100, 100), filters=Name.DCTDecode))
    assert extract(draft.save(), max_pixels=50_000).skipped == {Skip.TOO_MANY_PIXELS: 1}


def test_data_beyond_the_declared_size_is_not_looked_at() -> None:
    extraction = extract(image_bomb((100, 100), megabytes=64))
    assert [item.picture.fingerprint.width for item in extraction.pictures] == [100]


# ---- how it is read


@pytest.mark.parametrize("algorithm", ALGORITHMS.values())
def test_the_algorithm_is_the_one_asked_for(algorithm) -> None:  # type: ignore[no-untyped-def]
    data = jpeg(700, 600)
    (item,) = pdf.extract(showing(data), Reading(algorithm, LIMITS)).pictures
    assert item.picture.fingerprint == fingerprint(data, algorithm)


def test_contents_and_thumbnails_are_left_out_unless_asked_for() -> None:
    document = showing(jpeg(300, 200))
    (bare,) = pdf.extract(document, Reading(FAST, LIMITS, thumbnails=False)).pictures
    assert (bare.picture.content, bare.picture.thumbnail) == (None, None)
    (full,) = pdf.extract(document, Reading(FAST, LIMITS, keep_content=True)).pictures
    assert full.picture.thumbnail is not None
    assert Image.open(io.BytesIO(full.picture.thumbnail)).format == "JPEG"


def test_a_pdf_written_by_hand_is_read_like_any_other() -> None:
    data = jpeg(64, 48)
    image = b"/Type /XObject /Subtype /Image /Width 64 /Height 48 /BitsPerComponent 8 /ColorSpace /DeviceRGB"
    document = one_page(at("I", 0, 0, 64, 48), stream(image + b" /Filter /DCTDecode", data))
    extraction = extract(document)
    assert only(extraction) == data
    assert extraction.sha256 == hashlib.sha256(document).hexdigest()
