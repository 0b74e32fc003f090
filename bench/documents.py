"""How fast are the pictures inside a PDF read, and what does reading them in another process cost?"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256

import imagehash
import pikepdf
import pypdfium2
from PIL import Image
from tests.dhash_service.documents.pdfs import Draft, at
from tests.pictures import encode, photo

from bench.table import Table, duration, side_by_side
from dhash_service.documents import DocumentReader
from dhash_service.documents.extraction import Limits, Reading
from dhash_service.documents.pdf import extract
from dhash_service.pictures.fingerprint import FAST
from dhash_service.settings import Settings

LIMITS = Limits(max_pages=10_000, max_pictures=10_000, max_pixels=100_000_000)
RENDERED_AT = 150 / 72  # 150 dpi, a common choice for archives


def tables(quick: bool) -> list[Table]:
    with closing(DocumentReader(Settings.load(document_workers=1))) as reader:
        return [reading(quick, reader), handing_over(quick, reader)]


def document(pages: int) -> bytes:
    """A report: on each page a 2 MP photo as JPEG and a 0.5 MP screenshot as deflate, none shown twice."""
    draft = Draft()
    for number in range(pages):
        shot = draft.flate(photo(816, 612, number, grain=0))
        large = draft.jpeg(encode(photo(1632, 1224, number), "JPEG", quality=85))
        draft.page(at("A", 50, 400, 500, 375) + at("B", 50, 50, 400, 300), {"A": large, "B": shot})
    return draft.save()


def reading(quick: bool, reader: DocumentReader) -> Table:
    """One process, all of a document."""
    pages = 4 if quick else 20
    data = document(pages)
    plain = Reading(FAST, LIMITS, thumbnails=False)
    contestants: dict[str, tuple[str, Callable[[], object]]] = {
        "rendering pages (pdfium), imagehash": (
            "one hash a page, of the page as it looks",
            lambda: [imagehash.dhash(image) for image in _rendered(data)],
        ),
        "pikepdf, imagehash": (
            "fingerprints; no place, no forms",
            lambda: [imagehash.dhash(image.as_pil_image()) for image in _of_pikepdf(data)],
        ),
        "pikepdf, files alone": (
            "files, deflate as PNG; no fingerprint",
            lambda: [image.extract_to(stream=io.BytesIO()) for image in _of_pikepdf(data)],
        ),
        "ours, fingerprints": ("files, places, fingerprints", lambda: extract(data, plain)),
        "ours, as the service does it": (
            "and thumbnails, from another process",
            lambda: reader.extract(data, FAST).result(),
        ),
    }
    times = side_by_side({name: call for name, (_, call) in contestants.items()}, repeats=3 if quick else 7)
    return Table(
        question=f"Pictures of a PDF: {pages} pages, {len(data) / 1e6:.0f} MB, two pictures a page",
        columns=("way", "pages/s", "pictures/s", "time", "gives"),
        rows=[
            (
                name,
                f"{pages / times[name].median:,.0f}",
                "–" if "rendering" in name else f"{2 * pages / times[name].median:,.0f}",
                str(times[name]),
                gives,
            )
            for name, (gives, _) in contestants.items()
        ],
    )


def handing_over(quick: bool, reader: DocumentReader) -> Table:
    """What it costs that a document goes through a pipe to another process."""
    rows = []
    for megabytes in (0, 10, 50):
        draft = Draft()
        draft.page(b"")
        draft.pdf.Root.Ballast = draft.pdf.make_stream(os.urandom(megabytes * 2**20))
        data = draft.save()
        plain = Reading(FAST, LIMITS, thumbnails=False)
        times = side_by_side(
            {
                "digest": lambda data=data: sha256(data),
                "here": lambda data=data, plain=plain: extract(data, plain),
                "there": lambda data=data: reader.extract(data, FAST).result(),
            },
            repeats=5 if quick else 15,
        )
        cost = times["there"].median - times["here"].median
        rows.append(
            (f"{megabytes} MB", str(times["digest"]), str(times["here"]), str(times["there"]), duration(cost))
        )
    return Table(
        question="Another process: a page without pictures, and ballast",
        columns=("document", "SHA-256 alone", "in this process", "in another", "difference"),
        rows=rows,
    )


def _rendered(data: bytes) -> Iterator[Image.Image]:
    with pypdfium2.PdfDocument(data) as pdf:
        for page in pdf:
            yield page.render(scale=RENDERED_AT).to_pil()


def _of_pikepdf(data: bytes) -> Iterator[pikepdf.PdfImage]:
    with pikepdf.open(io.BytesIO(data)) as pdf:
        for page in pdf.pages:
            yield from (
                pikepdf.PdfImage(image) for image in page.images.values() if isinstance(image, pikepdf.Stream)
            )
