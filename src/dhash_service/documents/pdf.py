"""PDF → pictures, by pdfium. Called in a worker process: hostile bytes may crash or exhaust it.

What is taken: every image that a page draws, in its content or through form XObjects, inline images too.
Annotations, tiling patterns and Type 3 glyphs are not looked into; an image's soft mask is not applied.

What is not taken, and counted instead (`Skip`): stencil masks, which are shapes rather than pictures, and
images whose shorter side has fewer than 32 pixels: a fingerprint compares 9 × 8 cells, and with fewer than
about four pixels a cell it describes bullets, rules and gradients, which are alike in every document.

A JPEG is taken as it is: its bytes are those of the file that went into the document. (Lossless filters
around it are undone, which restores the same bytes.) Any other encoding becomes one canonical file, see
`bitmap`.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium
from pypdfium2.raw import FPDF_COLORSPACE_UNKNOWN, FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY

from dhash_service.documents.bitmap import canonical_bmp
from dhash_service.documents.extraction import (
    Box,
    ExtractedPicture,
    Extraction,
    Reading,
    Skip,
    is_document,
)
from dhash_service.errors import (
    DamagedDocumentError,
    DamagedPictureError,
    DecoderFailedError,
    EncryptedDocumentError,
    NotADocumentError,
    TooManyPagesError,
    TooManyPicturesError,
    TooManyPixelsError,
    UnsupportedFormatError,
)
from dhash_service.facts import Picture, Sha256
from dhash_service.pictures.fingerprint import read_picture

SHORTEST_SIDE = 32  # pixels; see above
DEEPEST_FORM = 8  # forms within forms; pdfium itself stops at 40, which cuts cycles as well
JPEG_START = b"\xff\xd8\xff"
UNFINISHED_REVISION = re.compile(rb"\d{1,10} \d{1,5} obj\b")


def extract(data: bytes, reading: Reading) -> Extraction:
    """Every picture that the document shows.

    Raises `NotADocumentError`, `EncryptedDocumentError`, `DamagedDocumentError`, and when a limit is passed
    `TooManyPagesError`, `TooManyPicturesError` or `TooManyPixelsError`.
    """
    with _open(data) as document:
        pages = len(document)
        if pages > reading.limits.max_pages:
            raise TooManyPagesError(f"The PDF has {pages:,} pages; {reading.limits.max_pages:,} are allowed.")
        album = _Album(reading)
        for number in range(1, pages + 1):
            with closing(_page(document, number)) as page:
                album.add_page(number, page)
    return Extraction(Sha256(sha256(data).hexdigest()), pages, tuple(album.pictures), dict(album.skipped))


# ---- the document


def _open(data: bytes) -> Any:
    if not is_document(data):
        raise NotADocumentError("The file has no PDF header.")
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code == FPDF_ERR_PASSWORD:
            raise EncryptedDocumentError("The PDF opens with a password only.") from None
        if error.err_code == FPDF_ERR_SECURITY:
            raise EncryptedDocumentError("The PDF is encrypted in a way that is not supported.") from None
        raise DamagedDocumentError("The PDF is truncated or damaged: its structure cannot be read.") from None
    if _is_cut_short(data, document):
        document.close()
        raise DamagedDocumentError("The PDF is truncated: its end is missing.")
    return document


def _is_cut_short(data: bytes, document: Any) -> bool:
    """True where the file's end is missing, although pdfium could rebuild a table of what is there.

    A rebuilt table alone is no reason to refuse: many PDFs in use have slightly wrong offsets.
    """
    end = data.rfind(b"%%EOF")
    if end < 0:
        return not pdfium.FPDF_DocumentHasValidCrossReferenceTable(document)
    return UNFINISHED_REVISION.search(data, end) is not None


def _page(document: Any, number: int) -> Any:
    try:
        return document.get_page(number - 1)
    except pypdfium2.PdfiumError:
        raise DamagedDocumentError(f"Page {number:,} of the PDF cannot be read.") from None


# ---- its pictures


class _Album:
    """The pictures taken so far; each is hashed once, however often it is shown."""

    def __init__(self, reading: Reading) -> None:
        self.pictures: list[ExtractedPicture] = []
        self.skipped: Counter[Skip] = Counter()
        self._reading = reading
        self._known: dict[str, Picture | Skip] = {}

    def add_page(self, number: int, page: Any) -> None:
        for image, matrix in self._drawn(page, page, pypdfium2.PdfMatrix(), 0):
            if (box := _box(matrix)) is None:
                self.skipped[Skip.NOWHERE] += 1
                continue
            try:
                taken = self._take(image)
            except (pypdfium2.PdfiumError, UnicodeDecodeError):  # no pixels, or a filter named in no encoding
                taken = Skip.DAMAGED
            if isinstance(taken, Skip):
                self.skipped[taken] += 1
            else:
                self._add(ExtractedPicture(number, box, taken))

    def _add(self, picture: ExtractedPicture) -> None:
        allowed = self._reading.limits.max_pictures
        if len(self.pictures) == allowed:
            raise TooManyPicturesError(f"The PDF shows more than {allowed:,} pictures.")
        self.pictures.append(picture)

    def _drawn(self, page: Any, container: Any, matrix: Any, depth: int) -> Iterator[tuple[Any, Any]]:
        """The images that a page or form draws, each with the matrix from its unit square to the page.

        Through pdfium's bare functions: a page of maps draws a million paths, and none needs a wrapper.
        """
        if depth == 0:
            count, get = pdfium.FPDFPage_CountObjects, pdfium.FPDFPage_GetObject
        else:
            count, get = pdfium.FPDFFormObj_CountObjects, pdfium.FPDFFormObj_GetObject
        for index in range(count(container)):
            handle = get(container, index)
            kind = pdfium.FPDFPageObj_GetType(handle)
            if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
                image = pypdfium2.PdfObject(handle, page=page)
                yield image, image.get_matrix().multiply(matrix)
            elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth == DEEPEST_FORM:
                self.skipped[Skip.NESTED] += 1
            elif kind == pdfium.FPDF_PAGEOBJ_FORM:
                form = pypdfium2.PdfObject(handle, page=page)
                yield from self._drawn(page, form, form.get_matrix().multiply(matrix), depth + 1)

    def _take(self, image: Any) -> Picture | Skip:
        """The image's picture, or why there is none. Raises `TooManyPixelsError` before pixels exist."""
        width, height = image.get_px_size()
        if max(width, height) >= 2**31:  # negative in the file
            return Skip.DAMAGED
        if min(width, height) < SHORTEST_SIDE:
            return Skip.TINY
        if width * height > self._reading.limits.max_pixels:
            raise TooManyPixelsError(
                f"The PDF holds a picture of {width:,} × {height:,} pixels; "
                f"{self._reading.limits.max_pixels:,} pixels are allowed."
            )
        content = _jpeg(image)
        if content is None:
            if _is_stencil(image):
                return Skip.MASK
            content = _decoded(image)
        key = sha256(content).hexdigest()
        if key not in self._known:
            self._known[key] = self._read(content)
        return self._known[key]

    def _read(self, content: bytes) -> Picture | Skip:
        reading = self._reading
        try:
            return read_picture(
                content,
                reading.algorithm,
                max_pixels=reading.limits.max_pixels,
                thumbnail=reading.thumbnails,
                keep_content=reading.keep_content,
            )
        except (UnsupportedFormatError, DamagedPictureError):
            return Skip.DAMAGED
        except DecoderFailedError:
            return Skip.DECODER_FAILED


def _jpeg(image: Any) -> bytes | None:
    """The JPEG file that the image's stream is, if it is one."""
    filters = image.get_filters()
    if not filters or filters[-1] != "DCTDecode" or not set(filters[:-1]) <= set(image.SIMPLE_FILTERS):
        return None
    content = bytes(image.get_data(decode_simple=len(filters) > 1))
    return content if content.startswith(JPEG_START) else None


def _is_stencil(image: Any) -> bool:
    """Only a stencil has one bit a pixel and no colour space; a black-and-white scan is gray or indexed."""
    metadata = pdfium.FPDF_IMAGEOBJ_METADATA()
    if not pdfium.FPDFImageObj_GetImageMetadata(image, image.page, metadata):
        return False
    return bool(metadata.bits_per_pixel == 1 and metadata.colorspace == FPDF_COLORSPACE_UNKNOWN)


def _decoded(image: Any) -> bytes:
    """The canonical file of the image's pixels. Raises `PdfiumError` where pdfium finds none."""
    return canonical_bmp(image.get_bitmap().to_numpy())


def _box(matrix: Any) -> Box | None:
    """The box around the unit square under this matrix, to a hundredth of a point; None for no box."""
    left, bottom, right, top = matrix.on_rect(0, 0, 1, 1)
    if not math.isfinite(left + bottom + right + top) or left == right or bottom == top:
        return None
    return round(left, 2), round(bottom, 2), round(right, 2), round(top, 2)
