"""Further formats, in the process that decodes them: a picture, or refused; and the next one is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from tests.pictures import encode, photo

from dhash_service.documents import DocumentReader
from dhash_service.errors import DhashError, DocumentWorkerDiedError
from dhash_service.pictures.fingerprint import VISUAL_FAST
from dhash_service.settings import Settings
from fuzz.damage import damaged
from fuzz.engine import Check, Target, require

MEBIBYTE = 2**20
PLUGINS = ("pillow_heif.HeifImagePlugin", "pillow_jxl")
CAMERA = b"II*\0\x10\0\0\0CR\2\0"
AGAIN = 50  # pictures after which a good one must still be read


def encoded() -> list[bytes]:
    for plugin in PLUGINS:
        import_module(plugin)
    formats = ("AVIF", "HEIF", "JXL", "JPEG2000", "TGA", "PPM", "ICO")
    return [encode(photo(48, 36), format) for format in formats]


FILES = encoded()


@contextmanager
def opened() -> Iterator[Check]:
    settings = Settings.load(
        formats="all",
        max_pixels=2_000_000,
        document_memory_bytes=256 * MEBIBYTE,
        document_seconds=20,
        document_workers=1,
    )
    reader = DocumentReader(settings)
    tried = 0

    def check(data: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            found = reader.picture(data, VISUAL_FAST).fingerprint
            require(found.width * found.height <= settings.max_pixels, f"{found}")
        except DhashError as error:
            died = isinstance(error, DocumentWorkerDiedError) and "with status" in str(error)
            require(not died, f"what reads it ended by a fault of ours, {error!r}")
            require(400 <= error.status < 500, f"{error!r} is told as the service's failure")
        if tried % AGAIN == 0:
            require(reader.picture(FILES[0], VISUAL_FAST).format == "AVIF", "a good one is not read any more")

    try:
        yield check
    finally:
        reader.close()


TARGET = Target("formats", damaged(FILES, [*(data[:24] for data in FILES), CAMERA]), opened)
