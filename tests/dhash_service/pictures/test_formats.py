"""Formats beyond the six: named in the refusal, and read where the rules allow them."""

import pytest

from dhash_service.errors import UnsupportedFormatError
from dhash_service.pictures.decoding import Opening
from dhash_service.pictures.fingerprint import VISUAL, fingerprint
from dhash_service.pictures.formats import FURTHER, allowed, sniff
from tests.pictures import encode, photo

PICTURE = photo(256, 192, 3)
BY_PILLOW = ["AVIF", "JPEG2000", "TGA", "PPM", "ICO"]


@pytest.mark.parametrize("format", BY_PILLOW)
def test_a_further_format_is_refused_by_name_and_read_where_it_is_allowed(format: str) -> None:
    data = encode(PICTURE, format)
    assert sniff(data) == format
    (title,) = (known.title for known in FURTHER.values() if known.pillow == format)
    with pytest.raises(UnsupportedFormatError, match=title):
        fingerprint(data, VISUAL)
    found = fingerprint(data, VISUAL, opening=Opening(formats=allowed(FURTHER)))
    plain = fingerprint(encode(PICTURE, "PNG"), VISUAL)
    assert (found.value ^ plain.value).bit_count() <= 3


@pytest.mark.parametrize("depth", ["L", "I;16"])
def test_gray_maps_of_both_depths_are_read(depth: str) -> None:
    gray = PICTURE.convert("L")
    stored = gray if depth == "L" else gray.convert("I").point(lambda level: level * 257).convert("I;16")
    data = encode(stored, "PPM")
    found = fingerprint(data, VISUAL, opening=Opening(formats=allowed(["pnm"])))
    assert found.value == fingerprint(encode(gray, "PNG"), VISUAL).value


def test_what_a_phone_sends_is_named() -> None:
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    with pytest.raises(UnsupportedFormatError, match="HEIC"):
        fingerprint(heic)
    with pytest.raises(UnsupportedFormatError, match="JPEG XL"):
        fingerprint(b"\xff\x0a" + bytes(100))
