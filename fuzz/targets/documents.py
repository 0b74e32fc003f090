"""PDF intake: any bytes give pictures or an error of the caller's, and the next document is read as ever."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pikepdf
from tests.dhash_service.documents.pdfs import showing
from tests.dhash_service.documents.test_fuzz import RICH
from tests.dhash_service.documents.test_tiles import PICTURE, cut
from tests.pictures import jpeg

from dhash_service.documents import DocumentReader
from dhash_service.errors import DhashError
from dhash_service.pictures.fingerprint import VISUAL_FAST
from dhash_service.settings import Settings
from fuzz.damage import damaged
from fuzz.engine import Check, Target, require

MEBIBYTE = 2**20
PLAIN = showing(jpeg(64, 48), deterministic_id=True)


def settled(data: bytes) -> bytes:
    """The same document with an id that follows from its contents: a seed must draw the same everywhere."""
    with pikepdf.open(io.BytesIO(data)) as document:
        del document.trailer.ID
        file = io.BytesIO()
        document.save(file, deterministic_id=True)
    return file.getvalue()


FILES = [
    settled(RICH),
    PLAIN,
    settled(cut(PICTURE, 320, 20)),
    showing(jpeg(64, 48), linearize=True, deterministic_id=True),
    showing(jpeg(64, 48), object_stream_mode=pikepdf.ObjectStreamMode.generate, deterministic_id=True),
]
ENCRYPTED = showing(jpeg(64, 48), encryption=pikepdf.Encryption(owner="a", user=""))
AGAIN = 50  # documents after which a good one must still be read


@contextmanager
def opened() -> Iterator[Check]:
    reader = DocumentReader(
        Settings.load(document_memory_bytes=256 * MEBIBYTE, document_seconds=20, document_workers=1)
    )
    tried = 0

    def check(data: bytes) -> None:
        nonlocal tried
        tried += 1
        _read(reader, data)
        if tried % AGAIN == 0:
            require(
                len(reader.extract(PLAIN, VISUAL_FAST).result().pictures) == 1,
                "a good one is not read any more",
            )
            require(reader.health()[0], reader.health()[1])

    try:
        yield check
    finally:
        reader.close()


def _read(reader: DocumentReader, data: bytes) -> None:
    try:
        found = reader.extract(data, VISUAL_FAST).result(timeout=60)
    except DhashError as error:
        require(400 <= error.status < 500, f"{error!r} is told as the service's failure")
        return
    require(all(1 <= one.page <= found.pages for one in found.pictures), "a picture of no page")


TARGET = Target("documents", damaged(FILES, [b"%PDF-1.7\n", PLAIN[:200]]), opened, (ENCRYPTED,))
