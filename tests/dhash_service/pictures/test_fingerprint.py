"""`dhash-64` against imagehash, `dhash-64-fast` against `dhash-64`, and both against files made to hurt."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dhash_service.errors import (
    DamagedPictureError,
    DhashError,
    RejectedError,
    TooManyPixelsError,
    UnsupportedFormatError,
)
from dhash_service.facts import image_id
from dhash_service.pictures.decoding import open_picture
from dhash_service.pictures.fingerprint import (
    ALGORITHMS,
    EXACT,
    FAST,
    fingerprint,
    read_picture,
)
from dhash_service.pictures.formats import Opening
from tests import hostile
from tests.pictures import Sample, encode, graphic, jpeg, kinds, page, photo, samples, turned, varied_jpegs

SIZES = [
    (1, 1),
    (2, 1),
    (1, 7),
    (8, 8),
    (9, 8),
    (10, 9),
    (17, 15),
    (31, 200),
    (8000, 3),
    (3, 8000),
    (255, 257),
    (256, 224),
    (511, 449),
    (512, 448),
    (513, 447),
    (640, 480),
]


def oracle(data: bytes) -> str:
    return str(imagehash.dhash(Image.open(io.BytesIO(data))))


def distance(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def every_kind() -> Iterator[Sample]:
    for seed, size in enumerate(SIZES):
        yield from samples(photo(*size, seed))
    for seed in range(5):
        yield from samples(graphic(300 + seed, 200, seed))


@pytest.mark.filterwarnings("ignore:Palette images")
def test_the_exact_algorithm_is_imagehash_bit_for_bit_on_every_kind_of_picture() -> None:
    kinds = list(every_kind())
    assert len(kinds) > 600
    for sample in kinds:
        assert fingerprint(sample.data, EXACT).hex == oracle(sample.data), sample


def test_the_exact_algorithm_is_imagehash_at_twelve_megapixels_and_over_re_encodes() -> None:
    large = photo(4000, 3000)
    files = [encode(large, "JPEG"), encode(large, "PNG", compress_level=1), encode(large, "BMP")]
    files += [encode(photo(800, 600), "JPEG", quality=quality) for quality in range(5, 100, 10)]
    files += [encode(photo(800, 600).resize((400, 300)), "WEBP", quality=quality) for quality in (10, 90)]
    for data in files:
        assert fingerprint(data, EXACT).hex == oracle(data)


def test_the_fast_algorithm_is_the_exact_one_for_everything_but_jpeg() -> None:
    for sample in samples(photo(700, 500)):
        if sample.format != "JPEG":
            assert fingerprint(sample.data, FAST).value == fingerprint(sample.data, EXACT).value, sample


@pytest.mark.parametrize("files", [30, pytest.param(100, marks=pytest.mark.system)])
def test_the_fast_algorithm_drifts_less_than_saving_once_more_at_quality_75(files: int) -> None:
    drift, saved_again = [], []
    for data in varied_jpegs(files):
        exact = fingerprint(data, EXACT).value
        again = encode(Image.open(io.BytesIO(data)), "JPEG", quality=75)
        drift.append(distance(fingerprint(data, FAST).value, exact))
        saved_again.append(distance(fingerprint(again, EXACT).value, exact))
    assert np.mean(drift) <= 0.3
    assert max(drift) <= 5
    assert np.mean(drift) <= np.mean(saved_again)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(1, 1), (255, 257), (641, 479), (1234, 777), (2600, 1900)])
def test_luma_is_the_same_whether_or_not_color_is_decoded_with_it(
    size: tuple[int, int], subsampling: int
) -> None:
    for progressive in (False, True):
        data = encode(photo(*size), "JPEG", subsampling=subsampling, progressive=progressive)
        gray, color = open_picture(data, Opening()), open_picture(data, Opening())
        gray.draft("L", (256, 224))
        color.draft("YCbCr", (256, 224))
        assert color.getchannel(0).tobytes() == gray.tobytes()


def test_a_picture_has_the_bare_fingerprint_with_and_without_a_thumbnail() -> None:
    for size in ((1, 1), (300, 400), (900, 700)):
        for sample in kinds(*size):
            for algorithm in ALGORITHMS.values():
                bare = fingerprint(sample.data, algorithm)
                assert read_picture(sample.data, algorithm).fingerprint == bare, sample
                assert read_picture(sample.data, algorithm, thumbnail=False).fingerprint == bare, sample


def test_a_picture_says_what_its_bytes_are() -> None:
    data = encode(photo(90, 60), "PNG")
    picture = read_picture(data, keep_content=True)
    assert (picture.format, picture.size, picture.content) == ("PNG", len(data), data)
    assert (picture.fingerprint.width, picture.fingerprint.height) == (90, 60)
    assert picture.id == image_id(picture.sha256)
    assert read_picture(data).content is None
    assert read_picture(data, thumbnail=False).thumbnail is None


def test_exif_rotation_is_not_part_of_the_fingerprint() -> None:
    upright, lying = turned(photo(200, 300), 1), turned(photo(200, 300), 6)
    assert fingerprint(upright) == fingerprint(lying)


def test_a_picture_of_several_is_its_first() -> None:
    first, second = photo(120, 90, 1), photo(120, 90, 2)
    for format in ("GIF", "TIFF", "WEBP", "PNG", "MPO"):
        data = encode(first, format, save_all=True, append_images=[second])
        picture = read_picture(data)
        assert distance(picture.fingerprint.value, fingerprint(encode(first, "PNG")).value) <= 3
        assert picture.format == ("JPEG" if format == "MPO" else format)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_pixels_of_any_size_are_imagehash_in_a_lossless_file(data: st.DataObject) -> None:
    width, height = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    mode, channels = data.draw(st.sampled_from([("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)]))
    pixels = data.draw(st.binary(min_size=width * height * channels, max_size=width * height * channels))
    file = encode(Image.frombytes(mode, (width, height), pixels), data.draw(st.sampled_from(["PNG", "TIFF"])))
    found = fingerprint(file, EXACT)
    assert found.hex == oracle(file)
    assert 0 <= found.quality <= 1
    assert (found.quality == 1) == (not found.reasons)


@settings(max_examples=80, deadline=None)
@given(st.integers(32, 700), st.integers(32, 700), st.integers(20, 100), st.integers(0, 2), st.booleans())
def test_no_jpeg_moves_a_bit_whose_cells_are_clearly_apart(
    width: int, height: int, quality: int, subsampling: int, progressive: bool
) -> None:
    file = encode(
        photo(width, height), "JPEG", quality=quality, subsampling=subsampling, progressive=progressive
    )
    exact = fingerprint(file, EXACT)
    assert exact.hex == oracle(file)
    cells = np.asarray(Image.open(io.BytesIO(file)).convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    apart = np.packbits(np.abs(np.diff(cells.astype(int))) > 6)
    assert (fingerprint(file, FAST).value ^ exact.value) & int.from_bytes(apart.tobytes(), "big") == 0


# ---- quality


@pytest.mark.parametrize("seed", range(20))
def test_an_ordinary_photo_has_full_quality_and_no_reason(seed: int) -> None:
    found = fingerprint(jpeg(400, 300, seed))
    assert (found.quality, found.reasons) == (1.0, ())


@pytest.mark.parametrize(
    ("image", "reasons"),
    [
        (Image.new("RGB", (200, 100), "white"), ("flat", "low_entropy")),
        (Image.linear_gradient("L").rotate(90), ("low_entropy",)),
        (
            Image.fromarray(np.tile(np.arange(800) // 100 % 2 * 255, (600, 1)).astype(np.uint8)),
            ("low_entropy",),
        ),
        (Image.effect_noise((500, 500), 50), ("flat",)),
        (photo(16, 16, 1), ("tiny",)),
        (photo(1, 1), ("flat", "low_entropy", "tiny")),
    ],
    ids=["white", "gradient", "stripes", "noise", "icon", "one pixel"],
)
def test_a_picture_that_collides_has_a_low_quality_that_names_the_reason(
    image: Image.Image, reasons: tuple[str, ...]
) -> None:
    found = fingerprint(encode(image, "PNG"))
    assert found.reasons == reasons
    assert found.quality < 0.9


def test_a_page_of_text_is_not_mistaken_for_a_flat_picture() -> None:
    assert fingerprint(encode(page(1240, 1754), "PNG")).reasons == ()


# ---- what is refused, and how


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        encode(photo(20, 20), "PPM"),
        encode(photo(20, 20), "ICO"),
        encode(photo(20, 20), "JPEG2000"),
        encode(photo(20, 20), "AVIF"),
        encode(photo(20, 20), "TGA"),
        encode(photo(20, 20), "PDF"),
        encode(photo(20, 20), "EPS"),
    ],
)
def test_formats_that_are_not_listed_are_not_opened(data: bytes) -> None:
    with pytest.raises(UnsupportedFormatError):
        fingerprint(data)


def test_colors_that_have_no_gray_are_unsupported() -> None:
    lab = encode(Image.new("LAB", (20, 20)), "TIFF")
    for algorithm in (EXACT, FAST):
        with pytest.raises(UnsupportedFormatError, match="LAB"):
            fingerprint(lab, algorithm)


def test_every_truncated_file_is_damaged_or_still_a_picture() -> None:
    for sample in samples(photo(64, 48)):
        for size in range(12, len(sample.data), max(1, len(sample.data) // 50)):
            _accepted_or_rejected(Sample(sample.format, f"{sample.kind} cut at {size}", sample.data[:size]))


def test_a_jpeg_cut_in_half_is_damaged() -> None:
    data = jpeg(640, 480)
    for algorithm in ALGORITHMS.values():
        with pytest.raises(DamagedPictureError, match="truncated"):
            fingerprint(data[: len(data) // 2], algorithm)


def test_too_many_pixels_are_refused_from_the_header_alone() -> None:
    for sample in samples(photo(100, 50)):
        header_only = sample.data[: len(sample.data) * 2 // 3] if sample.format == "BMP" else sample.data
        with pytest.raises(TooManyPixelsError, match="100 × 50 is more than 4,999 pixels"):
            fingerprint(header_only, opening=Opening(4_999))
        fingerprint(sample.data, opening=Opening(5_000))


STARVED = """
import resource
from dhash_service.errors import DecoderFailedError
from dhash_service.pictures.fingerprint import fingerprint
from tests.hostile import png
picture = png(9000, 9000, pixels=bytes(9001 * 9000))
fingerprint(png(9, 8, pixels=bytes(80)))
resource.setrlimit(resource.RLIMIT_DATA, (50_000_000, resource.RLIM_INFINITY))
try:
    fingerprint(picture)
except DecoderFailedError as error:
    print(type(error.__cause__).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit")
def test_a_decoder_out_of_memory_is_our_failure_not_the_callers() -> None:
    assert _run(STARVED) == (0, "MemoryError\n", "")


def _run(program: str) -> tuple[int, str, str]:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    return run.returncode, run.stdout, run.stderr


def _accepted_or_rejected(sample: Sample) -> None:
    try:
        read_picture(sample.data, opening=Opening(10_000_000))
    except RejectedError:
        pass
    except DhashError as error:
        pytest.fail(f"{sample}: counted as our failure: {error}")
    except Exception as error:
        pytest.fail(f"{sample}: {error!r}")


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_are_pictures_or_the_callers_fault(seed: int) -> None:
    for sample in hostile.damaged(seed, 60):
        _accepted_or_rejected(sample)


def test_polyglots_are_what_their_first_bytes_say_or_refused() -> None:
    for sample in hostile.polyglots():
        _accepted_or_rejected(sample)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([sample.data[:24] for sample in samples(photo(20, 20))]), st.binary(max_size=400))
def test_any_bytes_behind_a_valid_start_are_answered(start: bytes, rest: bytes) -> None:
    _accepted_or_rejected(Sample("?", "invented", start + rest))


BOMBS = """
import resource, sys, time
from dhash_service.errors import RejectedError
from dhash_service.pictures.fingerprint import read_picture
from dhash_service.pictures.formats import Opening
from tests.hostile import bombs
from tests.pictures import jpeg
read_picture(jpeg(64, 48))
kibibytes = 1024 if sys.platform == "darwin" else 1  # what ru_maxrss counts in
for sample in bombs():
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        read_picture(sample.data, opening=Opening(10_000_000))
    except RejectedError:
        pass
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / kibibytes / 1024
    took = time.process_time() - begin
    assert grown < 150, f"{sample}: {grown} MiB"
    assert took < 5, f"{sample}: {took} s"
"""


def test_bombs_cost_little_memory_and_time_and_nothing_is_printed() -> None:
    assert _run(BOMBS) == (0, "", "")


QUIET = """
from dhash_service.errors import RejectedError
from dhash_service.pictures.fingerprint import read_picture
from tests.hostile import damaged
for sample in damaged(0, 20):
    try:
        read_picture(sample.data)
    except RejectedError:
        pass
"""


def test_no_warning_of_a_decoder_reaches_the_terminal() -> None:
    assert _run(QUIET) == (0, "", "")


def test_threads_do_not_disturb_each_other() -> None:
    files = [sample.data for sample in samples(photo(300, 200))] + [jpeg(300, 200)[:900], b"BM nothing"]

    def answer(data: bytes) -> object:
        try:
            return read_picture(data)
        except DhashError as error:
            return str(error)

    alone = [answer(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(answer, files * 6))
    assert together == alone * 6
