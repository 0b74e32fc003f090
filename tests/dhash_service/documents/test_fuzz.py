"""Damaged, spliced and contradictory PDFs: each gets pictures or one of our errors, nothing else happens."""

import io
import itertools
import random
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pikepdf
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pikepdf import Array, Dictionary, Name, String

from dhash_service.documents import DocumentReader, Extraction
from dhash_service.errors import DhashError
from dhash_service.pictures.fingerprint import FAST
from dhash_service.settings import Settings
from tests.dhash_service.documents.pdfs import Draft, at, one_page, showing, stream
from tests.pictures import encode, jpeg, photo

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def reader() -> Iterator[DocumentReader]:
    """One reader for all of this: no document may spoil it for the next."""
    opened = DocumentReader(Settings.load(document_memory_bytes=256 * MEBIBYTE, document_seconds=20))
    yield opened
    opened.close()


def rich() -> bytes:
    """One small picture in every encoding, in forms, inline, masked, and as text beside it."""
    draft, picture = Draft(), photo(48, 40)
    palette = picture.quantize(8)
    colors = String(bytes(palette.getpalette()[:24]))  # type: ignore[index]
    bits = picture.convert("1").tobytes()
    gray = picture.convert("L")
    drawn = {
        "A": draft.jpeg(encode(picture, "JPEG")),
        "B": draft.flate(picture, SMask=draft.flate(gray)),
        "C": draft.image(palette.tobytes(), (48, 40), Array([Name.Indexed, Name.DeviceRGB, 7, colors])),
        "D": draft.image(bits, (48, 40), Name.DeviceGray, bits=1),
        "E": draft.image(encode(picture, "JPEG2000"), (48, 40), None, filters=Name.JPXDecode),
        "F": draft.image(bits, (48, 40), None, bits=1, ImageMask=True),
        "G": draft.flate(picture.convert("CMYK")),
        "H": draft.image(
            encode(gray, "JPEG").hex().encode() + b">",
            (48, 40),
            Name.DeviceGray,
            filters=Array([Name.ASCIIHexDecode, Name.DCTDecode]),
        ),
        "K": draft.image(
            bytes(400),
            (48, 40),
            Name.DeviceGray,
            bits=1,
            filters=Name.CCITTFaxDecode,
            DecodeParms=Dictionary(K=-1, Columns=48, Rows=40),
        ),
    }
    content = b"".join(at(name, 10, 60 * row, 48, 40) for row, name in enumerate(drawn))
    inline = b"q 48 0 0 40 0 0 cm BI /W 48 /H 40 /BPC 8 /CS /G ID " + gray.tobytes() + b"\nEI Q\n"
    draft.page(content + inline, drawn)
    draft.page(b"/X Do", {"X": draft.form(content, drawn, Matrix=Array([2, 0, 0, 2, 0, 0]))})
    return draft.save()


RICH = rich()
WHOLE = [
    RICH,
    showing(jpeg(64, 48), linearize=True),
    showing(jpeg(64, 48), object_stream_mode=pikepdf.ObjectStreamMode.generate),
    showing(jpeg(64, 48), encryption=pikepdf.Encryption(owner="a", user="")),
]


def flip_bits(whole: bytes, dice: random.Random) -> bytes:
    damaged = bytearray(whole)
    for _ in range(dice.choice([1, 3, 10, 100])):
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def cut(whole: bytes, dice: random.Random) -> bytes:
    return whole[: dice.randrange(len(whole))]


def remove(whole: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(whole))
    return whole[:start] + whole[start + dice.choice([1, 10, 1000]) :]


def repeat(whole: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(whole))
    return whole[:start] + whole[start : start + 2000] * dice.choice([2, 50]) + whole[start + 2000 :]


def splice(whole: bytes, dice: random.Random) -> bytes:
    other = dice.choice(WHOLE)
    return whole[: dice.randrange(len(whole))] + other[dice.randrange(len(other)) :]


def change_numbers(whole: bytes, dice: random.Random) -> bytes:
    """Put extreme numbers where the structure has ordinary ones: lengths, sizes, offsets, references."""
    damaged = bytearray(whole)
    digits = [place for place in range(len(damaged)) if damaged[place : place + 1].isdigit()]
    for place in sorted(dice.sample(digits, 5), reverse=True):
        damaged[place : place + 1] = dice.choice([b"0", b"-1", b"65536", b"2147483647", b"99999999999"])
    return bytes(damaged)


def outcome(future: Future[Extraction]) -> str:
    """What came of a document, having checked that it is something a caller may see."""
    try:
        extraction = future.result()
    except DhashError as error:
        return type(error).__name__ if 400 <= error.status < 500 else pytest.fail(repr(error))
    assert extraction.pages >= 0
    assert all(item.page <= extraction.pages for item in extraction.pictures)
    return "Extraction"


@pytest.mark.parametrize("damage", [flip_bits, cut, remove, repeat, splice, change_numbers])
def test_damaged_bytes_give_pictures_or_one_of_our_errors(
    reader: DocumentReader, damage: Callable[[bytes, random.Random], bytes]
) -> None:
    before = psutil.Process().memory_info().rss
    documents = [
        damage(whole, random.Random(f"{damage.__name__} {number}"))
        for number, whole in zip(range(60), itertools.cycle(WHOLE))
    ]
    outcomes = Counter(outcome(future) for future in [reader.extract(one, FAST) for one in documents])
    assert outcomes["DamagedDocumentError"] + outcomes["Extraction"] >= 40, outcomes
    assert damage is cut or outcomes["Extraction"] > 5, outcomes
    assert psutil.Process().memory_info().rss - before < 64 * MEBIBYTE
    assert reader.extract(RICH, FAST).result().pages == 2


NAMES = st.sampled_from(
    [b"/DeviceRGB", b"/DeviceGray", b"/DeviceCMYK", b"[/Indexed /DeviceRGB 255 <00>]", b"null"]
)
NUMBERS = st.one_of(st.integers(-2, 70), st.sampled_from([4096, 65_535, 2**31 - 1, -(2**31), 10**12]))
FILTERS = st.lists(
    st.sampled_from(
        [
            b"/FlateDecode",
            b"/LZWDecode",
            b"/DCTDecode",
            b"/JPXDecode",
            b"/CCITTFaxDecode",
            b"/JBIG2Decode",
            b"/RunLengthDecode",
            b"/ASCII85Decode",
            b"/Crypt",
            b"/\xff\xfe",
        ]
    ),
    max_size=3,
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    width=NUMBERS,
    height=NUMBERS,
    bits=st.sampled_from([-1, 0, 1, 2, 3, 4, 8, 16, 32]),
    color=NAMES,
    filters=FILTERS,
    extra=st.sampled_from(
        [b"", b"/ImageMask true", b"/SMask 5 0 R", b"/Decode [1 0]", b"/Mask [0 9 0 9 0 9]"]
    ),
    data=st.one_of(st.binary(max_size=300), st.just(jpeg(64, 48)), st.just(bytes(5000))),
)
def test_images_that_contradict_themselves_are_read_or_refused(
    reader: DocumentReader,
    width: int,
    height: int,
    bits: int,
    color: bytes,
    filters: list[bytes],
    extra: bytes,
    data: bytes,
) -> None:
    entries = (
        b"/Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent %d /ColorSpace %b %b"
        % (
            width,
            height,
            bits,
            color,
            extra,
        )
    )
    image = stream(entries + b" /Filter [%b]" % b" ".join(filters), data)
    assert outcome(reader.extract(one_page(at("I", 0, 0, 50, 50), image), FAST))


def _zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inside.pdf", content)
    return file.getvalue()


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(RICH + _zipped(b"hello"), id="a ZIP behind the PDF"),
        pytest.param(_zipped(b"hello") + RICH, id="a ZIP before the PDF"),
        pytest.param(_zipped(RICH), id="a ZIP that holds the PDF as it is"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x10JFIF\0" + RICH, id="a JPEG's header before the PDF"),
        pytest.param(b"GIF89a" + RICH, id="a GIF's header before the PDF"),
        pytest.param(b"#!/bin/sh\nexit\n" + RICH, id="a script before the PDF"),
        pytest.param(RICH + b"\0" * 5000, id="zeros behind the PDF"),
        pytest.param(RICH + RICH, id="twice the PDF"),
    ],
)
def test_polyglots_are_read_as_the_pdf_that_they_are(reader: DocumentReader, document: bytes) -> None:
    assert len(reader.extract(document, FAST).result().pictures) == 8 + 1 + 8
