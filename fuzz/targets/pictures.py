"""Image intake: any bytes are a picture with its fingerprint, or refused as the caller's fault."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image
from tests.pictures import photo, samples

from dhash_service.errors import RejectedError
from dhash_service.pictures.fingerprint import EXACT, FAST, read_picture
from dhash_service.pictures.formats import Opening
from fuzz.damage import damaged
from fuzz.engine import Check, Target, require

MAX_PIXELS = 2_000_000
FILES = [sample.data for sample in samples(photo(48, 36))]


@contextmanager
def opened() -> Iterator[Check]:
    yield check


def check(data: bytes) -> None:
    """Both algorithms take it or refuse it; what they take has the same value every time."""
    try:
        found = read_picture(data, FAST, opening=Opening(MAX_PIXELS))
        again = read_picture(data, FAST, opening=Opening(MAX_PIXELS))
        exact = read_picture(data, EXACT, opening=Opening(MAX_PIXELS), thumbnail=False)
    except RejectedError as error:
        require(400 <= error.status < 500, repr(error))
        return
    require(found == again, "two readings of one file differ")
    value = found.fingerprint
    require(0 <= value.value < 2**64 and 0.0 <= value.quality <= 1.0, f"{value}")
    require(value.width * value.height <= MAX_PIXELS, f"{value}")
    require(
        (value.width, value.height) == (exact.fingerprint.width, exact.fingerprint.height), "sizes differ"
    )
    require(found.thumbnail is not None, "there is no thumbnail")
    with Image.open(io.BytesIO(found.thumbnail or b"")) as small:
        small.load()
        require(max(small.size) <= 256, f"a thumbnail of {small.size}")


TARGET = Target("pictures", damaged(FILES, [data[:24] for data in FILES]), opened)
