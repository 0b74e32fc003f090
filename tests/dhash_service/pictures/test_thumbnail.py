"""What reviewers see: small, upright, in color, without the file's metadata."""

import io
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageOps

from dhash_service.pictures.fingerprint import ALGORITHMS, read_picture
from dhash_service.pictures.thumbnail import SIDE
from tests.pictures import encode, graphic, kinds, photo, turned


def thumbnail_of(data: bytes, algorithm: str = "dhash-64-fast") -> Image.Image:
    picture = read_picture(data, ALGORITHMS[algorithm])
    assert picture.thumbnail is not None
    image = Image.open(io.BytesIO(picture.thumbnail))
    assert image.format == ("WEBP" if image.mode == "RGBA" else "JPEG")
    return image


@cache
def file_of(size: tuple[int, int], format: str) -> bytes:
    return encode(photo(*size), format)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference in levels between two pictures, at the size of the first."""
    other = other.convert("RGB").resize(one.size, Image.Resampling.BOX)
    return float(np.abs(np.asarray(one.convert("RGB"), np.int16) - np.asarray(other, np.int16)).mean())


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
@pytest.mark.parametrize(
    "size", [(1, 1), (255, 3), (256, 256), (257, 100), (640, 480), (3000, 2000), (8000, 3)]
)
def test_the_longest_side_is_at_most_256_and_at_least_half_of_that_where_there_is_more(
    size: tuple[int, int], algorithm: str
) -> None:
    for format in ("JPEG", "PNG"):
        shown = thumbnail_of(file_of(size, format), algorithm)
        assert max(shown.size) <= SIDE
        assert max(shown.size) >= min(max(size), SIDE // 2)
        assert shown.width >= shown.height if size[0] >= size[1] else shown.height > shown.width


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_it_shows_the_picture_in_its_colors_whatever_the_file_holds(algorithm: str) -> None:
    image = photo(700, 500, 4)
    gray = image.convert("L")
    assert difference(gray, image) > 30  # so that a gray thumbnail of a color picture cannot pass
    for sample in kinds(700, 500, 4):
        if sample.kind == "turned by EXIF":
            continue
        is_gray = sample.kind in ("L", "LA", "gray", "16-bit", "1", "fax")
        assert difference(thumbnail_of(sample.data, algorithm), gray if is_gray else image) < 16, sample


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_it_is_upright(orientation: int, format: str) -> None:
    data = turned(graphic(400, 300, 2), orientation, format=format)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert upright is not None
    shown = thumbnail_of(data)
    assert (shown.width > shown.height) == (upright.width > upright.height)
    assert difference(shown, upright) < 8


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_broken_metadata_leaves_it_as_stored(exif: bytes) -> None:
    data = encode(photo(80, 60), "JPEG", exif=exif)
    assert thumbnail_of(data).size == (80, 60)


def test_metadata_is_left_behind() -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    data = encode(photo(80, 60), "JPEG", exif=exif, icc_profile=b"profile" * 100, comment=b"secret comment")
    thumbnail = read_picture(data).thumbnail
    assert thumbnail is not None
    for secret in (b"where I live", b"profile", b"secret", b"EXIF", b"ICCP", b"XMP"):
        assert secret not in thumbnail


def test_transparency_is_kept() -> None:
    image = photo(300, 200)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    shown = thumbnail_of(encode(image, "PNG"))
    assert shown.mode == "RGBA"
    lowest, highest = shown.getchannel("A").getextrema()
    assert lowest < 20
    assert highest > 235


def test_it_stays_small_even_for_noise() -> None:
    for image in (photo(3000, 2000, grain=12), photo(250, 250, grain=40)):
        thumbnail = read_picture(encode(image, "JPEG", quality=95)).thumbnail
        assert thumbnail is not None
        assert len(thumbnail) < 24_000
