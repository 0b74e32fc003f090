"""The pictures inside PDFs, read in worker processes with limits on time and memory.

reader      documents in, futures out
files       paths in, answers out: what `dhash index` reads
lane        the parent's side of one process, replaced when it dies, hangs or eats too much
worker      the process's side: its limits, and its end when the parent is gone
pdf         PDF → pictures with page and box, by pdfium
tiles       strips and tiles → one picture
bitmap      decoded pixels → one canonical file
extraction  the values that cross the border
"""

from dhash_service.documents.extraction import Box, ExtractedPicture, Extraction, Skip, is_document
from dhash_service.documents.reader import DocumentReader

__all__ = ["Box", "DocumentReader", "ExtractedPicture", "Extraction", "Skip", "is_document"]
