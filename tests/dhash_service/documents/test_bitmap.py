"""Decoded pixels as a file: exact, readable by others, and the same in every release."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from dhash_service.documents.bitmap import canonical_bmp
from tests.pictures import photo


@pytest.mark.parametrize("width", [1, 2, 3, 4, 33, 250])
@pytest.mark.parametrize("height", [1, 255, 256, 257])
def test_color_pixels_come_back_exactly(width: int, height: int) -> None:
    picture = photo(width, height)
    bgr = np.asarray(picture)[:, :, ::-1]
    back = Image.open(io.BytesIO(canonical_bmp(bgr)))
    assert (back.format, back.mode, back.size) == ("BMP", "RGB", (width, height))
    assert back.tobytes() == picture.tobytes()


@pytest.mark.parametrize("width", [1, 2, 3, 4, 33, 250])
def test_gray_pixels_come_back_exactly(width: int) -> None:
    picture = photo(width, 300).convert("L")
    back = Image.open(io.BytesIO(canonical_bmp(np.asarray(picture))))
    assert (back.mode, back.tobytes()) == ("L", picture.tobytes())


def test_a_fourth_channel_changes_nothing() -> None:
    bgr = np.asarray(photo(50, 40))[:, :, ::-1]
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 1), dtype=np.uint8)
    assert canonical_bmp(np.concatenate([bgr, noise], axis=2)) == canonical_bmp(bgr)


def test_what_a_row_is_padded_with_in_memory_does_not_reach_the_file() -> None:
    padded = np.full((20, 28), 255, np.uint8)
    gray = padded[:, :25]
    assert canonical_bmp(gray) == canonical_bmp(gray.copy())
    assert canonical_bmp(gray)[-3:] == b"\0\0\0"


def test_the_file_of_given_pixels_never_changes() -> None:
    """Content addresses in existing stores depend on it: the expected digests must stay as they are."""
    ramp = (np.arange(37 * 5 * 3) % 251).astype(np.uint8)
    color = hashlib.sha256(canonical_bmp(ramp.reshape(5, 37, 3))).hexdigest()
    gray = hashlib.sha256(canonical_bmp(ramp[: 37 * 5].reshape(5, 37))).hexdigest()
    assert color == "cd29e6058c5353e77b3a7048013de04fcc5f90609a674dd5cd2834783d2ca442"
    assert gray == "efddaca2c16d018f5827d16ecca92d54c8892d7c65da2818cd7db774c2f2c4eb"
