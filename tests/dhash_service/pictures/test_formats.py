"""Formats beyond the six: named in the refusal, and read where the rules allow them."""

import io

import pytest
from PIL import Image

from dhash_service.errors import DamagedPictureError, SettingError, UnsupportedFormatError
from dhash_service.pictures.decoding import _PLUGINS
from dhash_service.pictures.fingerprint import VISUAL, fingerprint
from dhash_service.pictures.formats import FURTHER, Opening, allowed, is_apart, sniff
from dhash_service.settings import Settings
from tests.pictures import encode, photo

PICTURE = photo(256, 192, 3)
EVERY = Opening(formats=allowed(FURTHER))
ENCODED = ["AVIF", "JPEG2000", "TGA", "PPM", "ICO", "HEIF", "JXL"]


def encoded(format: str) -> bytes:
    """The picture in a format, by the plugin that a decoding would import."""
    if format in _PLUGINS:
        __import__(_PLUGINS[format])
    return encode(PICTURE, format)


@pytest.mark.parametrize("format", ENCODED)
def test_a_further_format_is_refused_by_name_and_read_where_it_is_allowed(format: str) -> None:
    data = encoded(format)
    assert sniff(data) == format
    (name,) = (name for name, known in FURTHER.items() if known.pillow == format)
    with pytest.raises(UnsupportedFormatError, match=FURTHER[name].title) as refused:
        fingerprint(data, VISUAL)
    assert f"DHASH_FORMATS={name}" in str(refused.value)
    found = fingerprint(data, VISUAL, EVERY)
    plain = fingerprint(encode(PICTURE, "PNG"), VISUAL)
    assert (found.value ^ plain.value).bit_count() <= 3
    assert is_apart(data, EVERY.formats)
    assert not is_apart(data, frozenset())


@pytest.mark.parametrize("depth", ["L", "I;16"])
def test_gray_maps_of_both_depths_are_read(depth: str) -> None:
    gray = PICTURE.convert("L")
    stored = gray if depth == "L" else gray.convert("I").point(lambda level: level * 257).convert("I;16")
    data = encode(stored, "PPM")
    found = fingerprint(data, VISUAL, Opening(formats=allowed(["pnm"])))
    assert found.value == fingerprint(encode(gray, "PNG"), VISUAL).value


HEIC_START = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_what_a_phone_sends_is_named() -> None:
    with pytest.raises(UnsupportedFormatError, match="HEIC"):
        fingerprint(HEIC_START + bytes(200))
    with pytest.raises(UnsupportedFormatError, match="JPEG XL"):
        fingerprint(b"\xff\x0a" + bytes(100))


@pytest.mark.parametrize(
    "data", [HEIC_START + bytes(200), b"\xff\x0a" + bytes(100), b"II*\0\x10\0\0\0CR" + bytes(100)]
)
def test_nonsense_in_a_further_format_is_the_files_fault_in_one_line(data: bytes) -> None:
    with pytest.raises(DamagedPictureError) as caught:
        fingerprint(data, VISUAL, EVERY)
    assert "\n" not in str(caught.value)


def camera_tiff(preview: bytes) -> bytes:
    """A minimal DNG as LibRaw reads it: a 16-bit mosaic, and a JPEG preview in a directory of its own."""
    file = io.BytesIO()
    tags = {
        254: 0, 271: "Acme", 272: "Acme One", 262: 32803, 277: 1, 33421: (2, 2), 33422: b"\0\1\1\2",
        50706: b"\1\4\0\0", 50708: "Acme One", 50721: (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    }  # fmt: skip
    from PIL import TiffImagePlugin

    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
    Image.new("I;16", (64, 48), 900).save(file, "TIFF", tiffinfo=directory)
    return file.getvalue() + preview


def test_a_cameras_tiff_is_told_from_others() -> None:
    data = camera_tiff(b"")
    assert is_apart(data, frozenset({"RAW"}))
    assert not is_apart(data, frozenset({"AVIF"}))
    assert not is_apart(encode(PICTURE, "TIFF"), frozenset({"RAW"}))
    with pytest.raises(UnsupportedFormatError, match="no preview"):
        fingerprint(data, VISUAL, EVERY)


@pytest.mark.parametrize(
    ("names", "read"),
    [("none", set()), ("avif, tga", {"AVIF", "TGA"}), ("all", {each.pillow for each in FURTHER.values()})],
)
def test_a_setting_says_which_are_read(names: str, read: set[str]) -> None:
    assert Settings.load(formats=names).opening.formats == read


def test_a_format_that_is_unknown_or_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="gif is none of"):
        Settings.load(formats="gif")
    monkeypatch.setattr("dhash_service.pictures.formats.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"mobius-dhash\[heif\]"):
        Settings.load(formats="heic")
    assert Settings.load(formats="all").opening.formats == {"AVIF", "JPEG2000", "TGA", "PPM", "ICO"}
