"""PDF → pictures, by pdfium. Called in a worker process: hostile bytes may crash or exhaust it.

What is taken: every image that a page draws, in its content, through form XObjects and annotations, inline
images too; a picture that fills a shape as a tiling pattern; strips and tiles that touch,
as the one picture that they show; and a stencil mask that covers a quarter of its
page, which is how black-and-white scans are kept. Type 3 glyphs are not looked into.

What is not taken, and counted instead (`Skip`): other stencil masks, which are shapes rather than pictures,
images of more pixels than are allowed, and images whose shorter side has fewer than 32 pixels: a fingerprint
compares 9 × 8 cells, and with fewer than about four pixels a cell it describes bullets, rules and gradients,
which are alike in every document.

A JPEG is taken as it is: its bytes are those of the file that went into the document. (Lossless filters
around it are undone, which restores the same bytes.) Any other encoding becomes one canonical file, see
`bitmap`.

A visual algorithm fingerprints what the page shows. Where that is the file as it is, the file is taken;
where it does not (`/Decode`, a colour space, a soft mask, a matrix that mirrors, a page that is turned), the
canonical file of pdfium's rendering of that image alone is. Rendering ignores clips. An image drawn at an
angle is taken at the nearest right angle.
"""

import ctypes
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from typing import Any

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image
from pypdfium2.raw import FPDF_COLORSPACE_UNKNOWN

from dhash_service.documents.bitmap import canonical_bmp
from dhash_service.documents.extraction import ExtractedPicture, Extraction, Reading, Skip
from dhash_service.documents.matrices import area, box_of, unit_to, upright
from dhash_service.documents.pdf_file import opened, page_of, with_annotations
from dhash_service.documents.tiles import Tile, around, is_seamless, joined, layout, mosaic
from dhash_service.errors import (
    DamagedPictureError,
    DecoderFailedError,
    DhashError,
    TooManyPagesError,
    TooManyPicturesError,
    TooManyPixelsError,
    UnsupportedFormatError,
)
from dhash_service.facts import Picture, Sha256
from dhash_service.pictures.appearance import is_blank
from dhash_service.pictures.fingerprint import VISUAL, VISUAL_FAST, fingerprint, read_picture
from dhash_service.pictures.formats import Opening

SHORTEST_SIDE = 32  # pixels; see above
DEEPEST_FORM = 8  # forms within forms; pdfium itself stops at 40, which cuts cycles as well
JPEG_START = b"\xff\xd8\xff"
STENCIL_SHARE = 0.25  # of the page; a smaller stencil is a shape
SHOWN_BITS = 4  # that a file may be away from its rendering, and still be what the page shows
SHOWN_SIDE = 512  # pixels; the longest side of a rendering that is only compared
ASKEW = 0.001  # of a matrix's larger half; more is an angle
PLAIN = 24  # colours, of 4 bits a channel: a pattern of fewer is hatching
TILING = re.compile(rb"/PatternType\s*1\b")  # in the dictionary of a stream, which is never compressed


def extract(data: bytes, reading: Reading) -> Extraction:
    """Every picture that the document shows.

    Raises `NotADocumentError`, `EncryptedDocumentError`, `DamagedDocumentError`, and when a limit is passed
    `TooManyPagesError` or `TooManyPicturesError`.
    """
    with opened(data) as document:
        pages = len(document)
        if pages > reading.limits.max_pages:
            raise TooManyPagesError(f"The PDF has {pages:,} pages; {reading.limits.max_pages:,} are allowed.")
        album = _Album(reading, document, patterns=TILING.search(data) is not None)
        for number in range(1, pages + 1):
            with closing(page_of(document, number)) as page:
                try:
                    album.add_page(number, with_annotations(document, page, number, album.skipped))
                except (DhashError, MemoryError):
                    raise
                except Exception:  # whatever it is, it is this page's
                    album.skipped[Skip.DECODER_FAILED] += 1
    return Extraction(Sha256(sha256(data).hexdigest()), pages, tuple(album.pictures), dict(album.skipped))


class _Album:
    """The pictures taken so far; each is hashed once, however often it is shown."""

    def __init__(self, reading: Reading, document: Any, *, patterns: bool) -> None:
        self._document = document
        self._patterns = patterns
        self._visual = reading.algorithm in (VISUAL, VISUAL_FAST)
        self.pictures: list[ExtractedPicture] = []
        self.skipped: Counter[Skip] = Counter()
        self._reading = reading
        self._known: dict[str, Picture | Skip] = {}

    def add_page(self, number: int, page: Any) -> None:
        rotation = max(0, pdfium.FPDFPage_GetRotation(page))
        whole = page.get_width() * page.get_height()
        drawn = list(self._drawn(page, page, pypdfium2.PdfMatrix(), 0))
        cut = [_tile(image, matrix) for image, matrix in drawn]
        groups = {group[0]: group for group in joined(cut) if self._is_one_picture(group, cut)}
        done: set[int] = set()
        for place, (image, matrix) in enumerate(drawn):
            if place in done:
                continue
            box = box_of(matrix)
            if box is None:
                self.skipped[Skip.NOWHERE] += 1
                continue
            try:
                taken: Picture | Skip | None = None
                if group := groups.get(place):
                    tiles = [tile for tile in (cut[each] for each in group) if tile]
                    parts = [drawn[each] for each in group]
                    box = around([tile.box for tile in tiles])
                    taken = self._take_joined(parts, tiles, rotation, area(box) / whole)
                    done.update(group if taken else ())
                if taken is None and image.type == pdfium.FPDF_PAGEOBJ_PATH:
                    taken = self._take_pattern(image)
                elif taken is None:
                    box = box_of(matrix) or box
                    taken = self._take(image, upright(matrix, rotation), area(box) / whole)
            except (pypdfium2.PdfiumError, UnicodeDecodeError):  # no pixels, or a filter named in no encoding
                taken = Skip.DAMAGED
            except (DhashError, MemoryError):
                raise
            except Exception:  # whatever it is, it is this picture's
                taken = Skip.DECODER_FAILED
            if isinstance(taken, Skip):
                self.skipped[taken] += 1
            elif taken:
                self._add(ExtractedPicture(number, box, taken))

    def _is_one_picture(self, group: Sequence[int], tiles: Sequence[Tile | None]) -> bool:
        """True where images that touch may be joined. What can stand alone is joined for a visual algorithm
        only: the others keep the pictures that they had."""
        return self._visual or any(
            tile and min(tile.width, tile.height) < SHORTEST_SIDE
            for tile in (tiles[place] for place in group)
        )

    def _take_joined(
        self, parts: Sequence[tuple[Any, Any]], tiles: Sequence[Tile], rotation: int, share: float
    ) -> Picture | Skip | None:
        """The picture that images show together; None where they are pictures of their own."""
        (width, height), _ = layout(tiles)
        if min(width, height) < SHORTEST_SIDE:
            return None
        if width * height > self._reading.limits.max_pixels:
            return Skip.TOO_MANY_PIXELS
        if share < STENCIL_SHARE and all(_is_stencil(image) for image, _ in parts):
            return None
        shown = [self._shown(image, upright(matrix, 0), max(image.get_px_size())) for image, matrix in parts]
        whole = mosaic(tiles, shown)
        if is_blank(whole) or not is_seamless(whole, tiles):
            return None
        turn = _TURNS[rotation] if self._visual else None
        return self._kept(_bmp(whole if turn is None else whole.transpose(turn)))

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
            elif kind == pdfium.FPDF_PAGEOBJ_PATH and self._patterns and _may_be_pattern(handle):
                path = pypdfium2.PdfObject(handle, page=page)
                yield path, unit_to(path.get_bounds()).multiply(matrix)
            elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth == DEEPEST_FORM:
                self.skipped[Skip.NESTED] += 1
            elif kind == pdfium.FPDF_PAGEOBJ_FORM:
                form = pypdfium2.PdfObject(handle, page=page)
                yield from self._drawn(page, form, form.get_matrix().multiply(matrix), depth + 1)

    def _take(self, image: Any, turn: Image.Transpose | None, share: float) -> Picture | Skip:
        """The image's picture, or the reason for none; it covers a `share` of the page."""
        width, height = image.get_px_size()
        if max(width, height) >= 2**31:  # negative in the file
            return Skip.DAMAGED
        if min(width, height) < SHORTEST_SIDE:
            return Skip.TINY
        if width * height > self._reading.limits.max_pixels:
            return Skip.TOO_MANY_PIXELS
        content = _jpeg(image)
        if content is None:
            if _is_stencil(image):
                return self._take_stencil(image, turn, share)
            content = _decoded(image)
        picture = self._kept(content)
        if not self._visual or isinstance(picture, Skip):
            return picture
        shown = self._shown(image, turn, SHOWN_SIDE)
        if is_blank(shown):  # all of it masked out: what is there says more
            return picture
        found = fingerprint(_bmp(shown), self._reading.algorithm)
        if (found.value ^ picture.fingerprint.value).bit_count() <= SHOWN_BITS:
            return picture
        return self._kept(_bmp(self._shown(image, turn, max(width, height))))

    def _take_stencil(self, image: Any, turn: Image.Transpose | None, share: float) -> Picture | Skip:
        if share < STENCIL_SHARE:
            return Skip.MASK
        shown = self._shown(image, turn if self._visual else None, max(image.get_px_size()))
        return Skip.MASK if is_blank(shown) else self._kept(_bmp(shown))

    def _take_pattern(self, path: Any) -> Picture | Skip | None:
        """The picture that fills the path; None where no pattern does."""
        bitmap = pdfium.FPDFPageObj_GetRenderedFillPattern(self._document, path)
        if not bitmap:
            return None
        shown = _on_white(pypdfium2.PdfBitmap.from_raw(bitmap)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        if min(shown.size) < SHORTEST_SIDE:
            return Skip.TINY
        small = np.asarray(shown.resize((64, 64), Image.Resampling.NEAREST)) >> 4
        if len(np.unique(small.reshape(-1, 3), axis=0)) < PLAIN:
            return Skip.PATTERN
        return self._kept(_bmp(shown))

    def _shown(self, image: Any, turn: Image.Transpose | None, longest: int) -> Image.Image:
        """The image as the page shows it, alone and on white, at most `longest` pixels a side."""
        width, height = image.get_px_size()
        scale = min(1.0, longest / max(width, height))
        before = image.get_matrix()
        image.set_matrix(pypdfium2.PdfMatrix(max(1, width * scale), 0, 0, max(1, height * scale), 0, 0))
        try:
            bitmap = pdfium.FPDFImageObj_GetRenderedBitmap(self._document, image.page, image)
        finally:
            image.set_matrix(before)
        if not bitmap:
            raise pypdfium2.PdfiumError("The image cannot be rendered.")
        shown = _on_white(pypdfium2.PdfBitmap.from_raw(bitmap))
        return shown if turn is None else shown.transpose(turn)

    def _kept(self, content: bytes) -> Picture | Skip:
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
                Opening(reading.limits.max_pixels, take_cut=reading.limits.take_cut),
                thumbnail=reading.thumbnails,
                keep_content=reading.keep_content,
            )
        except TooManyPixelsError:
            return Skip.TOO_MANY_PIXELS
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


def _on_white(bitmap: Any) -> Image.Image:
    """pdfium's BGRA bitmap laid over white."""
    pixels = bitmap.to_numpy()
    alpha = Image.fromarray(np.ascontiguousarray(pixels[:, :, 3]))
    color = Image.fromarray(np.ascontiguousarray(pixels[:, :, 2::-1]))
    return Image.composite(color, Image.new("RGB", color.size, "white"), alpha)


def _bmp(picture: Image.Image) -> bytes:
    return canonical_bmp(np.asarray(picture)[:, :, ::-1])


def _may_be_pattern(path: Any) -> bool:
    """True for a path whose fill pdfium counts as the gray that it gives to patterns."""
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    if not pdfium.FPDFPageObj_GetFillColor(path, red, green, blue, alpha):
        return True
    return (red.value, green.value, blue.value) == (0xBF, 0xBF, 0xBF)


_TURNS = (None, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90)
"""By a page's rotation, in quarters clockwise."""


def _tile(image: Any, matrix: Any) -> Tile | None:
    """The image as a tile of a larger one; None where it can be none: no pixels, or drawn at an angle."""
    box = box_of(matrix)
    if box is None or image.type == pdfium.FPDF_PAGEOBJ_PATH:
        return None
    try:
        width, height = image.get_px_size()
    except pypdfium2.PdfiumError:
        return None
    a, b, c, d, _, _ = matrix.get()
    if not (0 < width < 2**31 and 0 < height < 2**31):
        return None
    if abs(b) + abs(c) <= ASKEW * (abs(a) + abs(d)):
        return Tile(box, width, height)
    return Tile(box, height, width) if abs(a) + abs(d) <= ASKEW * (abs(b) + abs(c)) else None
