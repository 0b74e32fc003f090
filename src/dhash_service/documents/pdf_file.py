"""A PDF as pdfium opens it, and its pages as a viewer shows them."""

import re
from collections import Counter
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium
from pypdfium2.raw import FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY

from dhash_service.documents.extraction import Skip, is_document
from dhash_service.errors import DamagedDocumentError, EncryptedDocumentError, NotADocumentError

UNFINISHED_REVISION = re.compile(rb"\d{1,10} \d{1,5} obj\b")


def opened(data: bytes) -> Any:
    """Open a document. Raises `NotADocumentError`, `EncryptedDocumentError`, `DamagedDocumentError`."""
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


def page_of(document: Any, number: int) -> Any:
    """Load a page, counted from 1. Raises `DamagedDocumentError`."""
    try:
        return document.get_page(number - 1)
    except pypdfium2.PdfiumError:
        raise DamagedDocumentError(f"Page {number:,} of the PDF cannot be read.") from None


def with_annotations(document: Any, page: Any, number: int, skipped: Counter[Skip]) -> Any:
    """The page with its annotations drawn into it: in memory alone, as a viewer shows them."""
    if pdfium.FPDFPage_GetAnnotCount(page) <= 0:
        return page
    if pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) != pdfium.FLATTEN_SUCCESS:
        if _has_drawn_annotation(page):
            skipped[Skip.ANNOTATION] += 1
        return page
    return page_of(document, number)


def _has_drawn_annotation(page: Any) -> bool:
    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        drawn = pdfium.FPDFAnnot_GetObjectCount(annotation)
        pdfium.FPDFPage_CloseAnnot(annotation)
        if drawn > 0:
            return True
    return False
