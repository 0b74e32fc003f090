"""The visual algorithms: what a person sees is what is fingerprinted."""

import io
import struct
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageOps

from dhash_service.errors import DamagedPictureError
from dhash_service.facts import Algorithm
from dhash_service.golden.draw import _without_adobe as without_adobe
from dhash_service.pictures.appearance import turned as turn_box
from dhash_service.pictures.fingerprint import (
    EXACT,
    FAST,
    TURNS,
    VISUAL,
    VISUAL_FAST,
    fingerprint,
    read_picture,
    variants,
)
from dhash_service.pictures.formats import Opening
from tests.hostile import png, png_chunk
from tests.pictures import encode, graphic, kinds, photo, turned

PHOTO = photo(320, 240, 5)
BOTH = pytest.mark.parametrize("algorithm", [VISUAL, VISUAL_FAST], ids=str)


def distance(data: bytes, picture: Image.Image, algorithm: Algorithm) -> int:
    """Bits between a file and a drawn picture kept without loss."""
    found, drawn = (fingerprint(each, algorithm) for each in (data, encode(picture, "PNG")))
    assert (found.width, found.height) == picture.size
    return (found.value ^ drawn.value).bit_count()


@BOTH
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(320, 240), (240, 321), (1400, 1001)])
def test_a_photo_is_seen_upright_whichever_way_the_camera_was_held(
    size: tuple[int, int], orientation: int, algorithm: Algorithm
) -> None:
    lying, seen, upright = lying_and_seen(size, orientation)
    found, drawn = (fingerprint(each, algorithm) for each in (lying, seen))
    assert (found.width, found.height) == upright
    assert (found.value ^ drawn.value).bit_count() <= 3
    as_stored, _, _ = lying_and_seen(size, 1)
    assert fingerprint(lying, EXACT).value == fingerprint(as_stored, EXACT).value


@cache
def lying_and_seen(size: tuple[int, int], orientation: int) -> tuple[bytes, bytes, tuple[int, int]]:
    """A photo as the camera kept it, as it is seen (without loss), and its size then."""
    lying = turned(photo(*size), orientation)
    seen = ImageOps.exif_transpose(Image.open(io.BytesIO(lying)))
    return lying, encode(seen, "PNG"), seen.size


@BOTH
def test_upright_opaque_eight_bit_pictures_are_as_before(algorithm: Algorithm) -> None:
    before = FAST if algorithm == VISUAL_FAST else EXACT
    for picture in (photo(640, 480), graphic(300, 200), photo(301, 1000)):
        for data in (encode(picture, "JPEG"), encode(picture, "PNG"), encode(picture.convert("L"), "WEBP")):
            assert fingerprint(data, algorithm).value == fingerprint(data, before).value


@BOTH
def test_every_file_has_one_fingerprint_with_and_without_a_thumbnail(algorithm: Algorithm) -> None:
    for size in ((1, 1), (300, 400), (900, 700)):
        for sample in kinds(*size):
            bare = fingerprint(sample.data, algorithm)
            assert read_picture(sample.data, algorithm).fingerprint == bare, sample


@BOTH
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(format: str, algorithm: Algorithm) -> None:
    gray = PHOTO.convert("L")
    deep = encode(Image.fromarray(np.asarray(gray).astype(np.uint16) * 257), format)
    assert distance(deep, gray, algorithm) == 0
    assert fingerprint(deep, EXACT).quality == 0


@BOTH
def test_what_is_transparent_is_laid_over_white(algorithm: Algorithm) -> None:
    logo = Image.new("RGBA", (300, 200))
    ImageDraw.Draw(logo).polygon([(10, 190), (150, 10), (290, 190)], fill="black")
    white = Image.new("RGB", logo.size, "white")
    white.paste(logo, mask=logo)
    assert fingerprint(encode(white, "PNG"), algorithm).value  # there is something to see
    for data in (encode(logo, "PNG"), encode(logo, "WEBP", lossless=True), encode(logo.convert("LA"), "PNG")):
        assert distance(data, white, algorithm) == 0
        assert fingerprint(data, EXACT).value == 0


@BOTH
def test_a_clear_level_of_sixteen_bits_is_laid_over_white(algorithm: Algorithm) -> None:
    for picture, color, clear in ((PHOTO, 2, (30_000, 20_000, 10_000)), (PHOTO.convert("L"), 0, (12_345,))):
        deep = np.asarray(picture).astype(np.uint16).reshape(240, 320, -1) * 257
        deep[:, :120] = clear
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
        level = png_chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))
        white = picture.copy()
        white.paste("white", (0, 0, 120, 240))
        assert distance(png(320, 240, level, pixels=rows, depth=16, color=color), white, algorithm) <= 1


@BOTH
def test_a_bitmap_of_which_nothing_would_be_seen_is_opaque(algorithm: Algorithm) -> None:
    pixels = PHOTO.copy()
    pixels.putalpha(0)
    assert fingerprint(encode(pixels, "PNG"), algorithm).quality == 0
    data = bitmap(pixels)
    assert distance(data, PHOTO, algorithm) == 0
    shown = Image.open(io.BytesIO(read_picture(data, algorithm).thumbnail)).convert("RGBA")
    assert shown.getchannel("A").getextrema() == (255, 255)


def bitmap(picture: Image.Image) -> bytes:
    """A BMP with an alpha mask (BITMAPV4HEADER), which Pillow does not write."""
    pixels = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    masks = struct.pack("<4L4s", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs") + bytes(48)
    info = struct.pack("<LllHHLLllLL", 108, *picture.size, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks
    return b"BM" + struct.pack("<LHHL", 122 + len(pixels), 0, 0, 122) + info + pixels


@BOTH
@pytest.mark.parametrize("marked", [True, False])
def test_cmyk_follows_adobe_s_mark(marked: bool, algorithm: Algorithm) -> None:
    inks = PHOTO.convert("CMYK")
    data = encode(inks if marked else ImageChops.invert(inks), "JPEG", quality=95)
    assert distance(data if marked else without_adobe(data), PHOTO, algorithm) <= 2


@BOTH
def test_a_profile_that_makes_no_sense_is_passed_over(algorithm: Algorithm) -> None:
    profile = bytes(16) + b"CMYK" + bytes(200)
    data = encode(PHOTO.convert("CMYK"), "JPEG", quality=95, icc_profile=profile)
    assert distance(data, PHOTO, algorithm) <= 2


@BOTH
def test_lab_is_seen_in_its_colors(algorithm: Algorithm) -> None:
    lab = ImageCms.profileToProfile(
        PHOTO, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert distance(encode(lab, "TIFF"), PHOTO, algorithm) <= 2


@BOTH
@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("intro", ["black", "white"])
def test_an_animation_is_its_first_frame_that_is_not_blank(
    intro: str, format: str, algorithm: Algorithm
) -> None:
    dark = Image.new("RGB", PHOTO.size, intro)
    data = encode(dark, format, save_all=True, append_images=[dark, PHOTO, photo(320, 240, 6)], duration=50)
    assert distance(data, PHOTO, algorithm) <= 3
    assert read_picture(data, algorithm).fingerprint == fingerprint(data, algorithm)
    blank = encode(dark, format, save_all=True, append_images=[dark.copy()], duration=50)
    assert fingerprint(blank, algorithm).value == 0


@BOTH
def test_a_still_for_programs_that_move_nothing_is_no_frame(algorithm: Algorithm) -> None:
    still, frames = photo(320, 240, 6), [PHOTO, photo(320, 240, 7)]
    data = encode(still, "PNG", save_all=True, append_images=frames, default_image=True)
    assert distance(data, PHOTO, algorithm) == 0


@pytest.mark.parametrize("algorithm", [EXACT, FAST, VISUAL, VISUAL_FAST], ids=str)
@pytest.mark.parametrize("size", [(640, 480), (333, 500), (1601, 1203)])
def test_a_variant_is_the_fingerprint_of_the_copy_that_was_turned(
    size: tuple[int, int], algorithm: Algorithm
) -> None:
    data = encode(photo(*size), "JPEG", quality=92)
    found = variants(data, algorithm)
    assert [variant.turn for variant in found] == list(TURNS)
    assert found[0].fingerprint == fingerprint(data, algorithm)
    for variant in found:
        copy, upright = turned_copy(size, variant.turn)
        other = fingerprint(copy, algorithm)
        assert (variant.fingerprint.value ^ other.value).bit_count() <= 4, variant.turn
        assert (variant.fingerprint.width, variant.fingerprint.height) == upright
        assert (other.width, other.height) == upright


@cache
def turned_copy(size: tuple[int, int], turn: str) -> tuple[bytes, tuple[int, int]]:
    """A photo that somebody turned and kept without loss, and its size."""
    how = TURNS[turn]
    copy = photo(*size) if how is None else photo(*size).transpose(how)
    return encode(copy, "PNG"), copy.size


def test_a_box_turns_with_its_picture() -> None:
    canvas = Image.new("L", (50, 30))
    canvas.paste(255, (0, 0, 41, 22))
    for turn in TURNS.values():
        moved, box = turn_box(canvas, (0, 0, 41, 22), turn)
        assert box is not None
        assert moved.getbbox() == tuple(map(round, box))


# ---- JPEGs that are cut off


def test_a_jpeg_that_is_cut_off_is_taken_if_the_rules_say_so_and_says_it() -> None:
    data = encode(PHOTO, "JPEG", quality=92)
    for algorithm in (EXACT, FAST, VISUAL, VISUAL_FAST):
        for share in (0.75, 0.9):
            cut = data[: int(len(data) * share)]
            with pytest.raises(DamagedPictureError):
                fingerprint(cut, algorithm)
            found = fingerprint(cut, algorithm, opening=Opening(take_cut=True))
            assert found.reasons == ("cut",)
            assert 0.5 <= found.quality <= 0.9
            whole = fingerprint(data, algorithm)
            assert (found.value ^ whole.value).bit_count() <= 20 * (1 - share) + 6
        without_end = fingerprint(data[:-2], algorithm, opening=Opening(take_cut=True))
        assert without_end.value == fingerprint(data, algorithm).value


def test_a_jpeg_of_which_little_is_left_is_damaged_all_the_same() -> None:
    data = encode(PHOTO, "JPEG", quality=92)
    for length in range(3, len(data) // 3, 97):  # two bytes are no JPEG's beginning yet
        with pytest.raises(DamagedPictureError):
            fingerprint(data[:length], VISUAL, opening=Opening(take_cut=True))
