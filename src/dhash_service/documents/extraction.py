"""The values that cross the border to a worker process: how to read, and what was found."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dhash_service.facts import Algorithm, Picture, Sha256
from dhash_service.pictures.formats import Opening, is_apart

Box = tuple[float, float, float, float]
"""Left, bottom, right, top in points (1/72 inch), in the page's own coordinates: y grows upwards."""

HEADER = b"%PDF-"
HEADER_WITHIN = 1024  # bytes: as far as pdfium (and Acrobat) look for the header


def is_document(data: bytes) -> bool:
    """True for bytes that claim to be a PDF. A polyglot that is a picture as well counts as a PDF."""
    return HEADER in data[:HEADER_WITHIN]


class Skip(StrEnum):
    """The reason for not taking something that is drawn as a picture."""

    TINY = "tiny"  # shorter side below `pdf.SHORTEST_SIDE` pixels
    TOO_MANY_PIXELS = "too_many_pixels"  # more than the settings allow
    MASK = "mask"  # a stencil: one bit a pixel through which a colour is painted; a shape on its page
    PATTERN = "pattern"  # a pattern that fills a shape: hatching, or a picture too plain to be told from it
    ANNOTATION = "annotation"  # stamps and the like, on a page where they cannot be drawn
    NESTED = "nested"  # forms drawn inside forms, deeper than `pdf.DEEPEST_FORM`
    NOWHERE = "nowhere"  # drawn without any width or height, or at no finite position
    DAMAGED = "damaged"  # its data cannot be decoded
    DECODER_FAILED = "decoder_failed"  # its data looks valid, and our decoder failed all the same


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds for a document, named like the settings."""

    max_pages: int
    max_pictures: int
    max_pixels: int
    take_cut: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """Instructions for reading a document."""

    algorithm: Algorithm
    limits: Limits
    keep_content: bool = False  # each picture's bytes as well
    thumbnails: bool = True


@dataclass(frozen=True, slots=True)
class PictureReading:
    """Instructions for reading a picture by itself; `turns` asks for its variants' fingerprints instead."""

    algorithm: Algorithm
    opening: Opening
    thumbnail: bool = True
    keep_content: bool = False
    turns: bool = False


@dataclass(frozen=True, slots=True)
class LargeReading:
    """Instructions for drawing a picture for the screen, at most `side` pixels wide and high."""

    opening: Opening
    side: int


@dataclass(frozen=True, slots=True)
class FileRules:
    """Instructions for reading files of any kind, of at most `largest` bytes each."""

    document: Reading
    picture: PictureReading
    largest: int

    def apart(self, data: bytes) -> Reading | PictureReading | None:
        """The instructions for what is only read under a limit on memory; None for an ordinary picture."""
        if is_document(data):
            return self.document
        return self.picture if is_apart(data, self.picture.opening.formats) else None


@dataclass(frozen=True, slots=True)
class ExtractedPicture:
    """A place where a document shows a picture: page from 1, and the box around it."""

    page: int
    box: Box
    picture: Picture


@dataclass(frozen=True, slots=True)
class Extraction:
    """A document's pictures in the order in which its pages draw them.

    A picture shown in several places stands in `pictures` once per place, as the same `Picture`. `skipped`
    counts by reason what was drawn but not taken.
    """

    sha256: Sha256  # of the document
    pages: int
    pictures: tuple[ExtractedPicture, ...]
    skipped: Mapping[Skip, int]
