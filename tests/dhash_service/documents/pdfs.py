"""PDFs for the tests, put together by pikepdf or by hand; and what is hostile about some of them."""

import io
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name, Object, Stream
from PIL import Image

Drawn = Mapping[str, Object]


def at(name: str, left: float, bottom: float, width: float, height: float) -> bytes:
    """The content that draws the XObject `name` upright into this box."""
    return f"q {width} 0 0 {height} {left} {bottom} cm /{name} Do Q\n".encode()


class Draft:
    """A PDF being put together; every method that makes an object registers it with the document."""

    def __init__(self) -> None:
        self.pdf = pikepdf.new()

    def image(
        self,
        data: bytes,
        size: tuple[int, int],
        color: Object | None = Name.DeviceRGB,
        bits: int = 8,
        filters: Object | None = None,
        **entries: object,
    ) -> Object:
        width, height = size
        given = {"ColorSpace": color, "Filter": filters, **entries}
        stream = Stream(
            self.pdf,
            data,
            Type=Name.XObject,
            Subtype=Name.Image,
            Width=width,
            Height=height,
            BitsPerComponent=bits,
            **{name: value for name, value in given.items() if value is not None},
        )
        return self.pdf.make_indirect(stream)

    def jpeg(self, data: bytes, **entries: Any) -> Object:
        picture = Image.open(io.BytesIO(data))
        color = {"L": Name.DeviceGray, "RGB": Name.DeviceRGB, "CMYK": Name.DeviceCMYK}[picture.mode]
        return self.image(data, picture.size, color, filters=Name.DCTDecode, **entries)

    def flate(self, picture: Image.Image, **entries: Any) -> Object:
        color = {"L": Name.DeviceGray, "RGB": Name.DeviceRGB, "CMYK": Name.DeviceCMYK}[picture.mode]
        data = zlib.compress(picture.tobytes(), 1)
        return self.image(data, picture.size, color, filters=Name.FlateDecode, **entries)

    def form(self, content: bytes, drawn: Drawn, **entries: object) -> Object:
        form = self.pdf.make_stream(content)
        form.Type, form.Subtype = Name.XObject, Name.Form
        form.BBox = Array([-10_000, -10_000, 10_000, 10_000])
        form.Resources = resources(drawn)
        for name, value in entries.items():
            form[f"/{name}"] = value
        return self.pdf.make_indirect(form)

    def page(self, content: bytes | Object, drawn: Drawn = {}) -> None:  # noqa: B006 (read only)
        page = self.pdf.add_blank_page(page_size=(612, 792)).obj
        page.Contents = self.pdf.make_stream(content) if isinstance(content, bytes) else content
        page.Resources = resources(drawn)

    def show(self, *images: Object) -> None:
        """A page that draws each image 100 points wide, one above the other."""
        names = {f"I{number}": image for number, image in enumerate(images)}
        self.page(b"".join(at(name, 0, 100 * row, 100, 100) for row, name in enumerate(names)), names)

    def save(self, **options: object) -> bytes:
        file = io.BytesIO()
        if "encryption" not in options:
            options["stream_decode_level"] = pikepdf.StreamDecodeLevel.none
        self.pdf.save(file, compress_streams=False, **options)  # type: ignore[arg-type]
        return file.getvalue()


def resources(drawn: Drawn) -> Object:
    return Dictionary(XObject=Dictionary({f"/{name}": image for name, image in drawn.items()}))


def showing(*jpegs: bytes, **options: object) -> bytes:
    """A PDF with one page for each of these JPEG files."""
    draft = Draft()
    for data in jpegs:
        draft.show(draft.jpeg(data))
    return draft.save(**options)


# ---- by hand


def by_hand(objects: Sequence[bytes]) -> bytes:
    """A PDF file of these objects, numbered from 1; the first is the catalog (ISO 32000-1, 7.5)."""
    file = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    file += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(file)


def stream(dictionary: bytes, data: bytes) -> bytes:
    return b"<< %b /Length %d >>\nstream\n%b\nendstream" % (dictionary, len(data), data)


def one_page(content: bytes, image: bytes, *, content_filter: bytes = b"") -> bytes:
    """A PDF written out by hand: one page, whose content may draw `/I`."""
    return by_hand(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
            b" /Resources << /XObject << /I 5 0 R >> >> >>",
            stream(content_filter, content),
            image,
        ]
    )


def of_pages(number: int) -> bytes:
    """A PDF of this many empty pages."""
    kids = b" ".join(b"%d 0 R" % (3 + index) for index in range(number))
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] >>"
    pages = b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, number)
    return by_hand([b"<< /Type /Catalog /Pages 2 0 R >>", pages, *[page] * number])


# ---- hostile


def inflating(megabytes: int) -> bytes:
    """A deflate stream of a kilobyte for each megabyte of blanks that it expands to."""
    packer = zlib.compressobj(9)
    start = packer.compress(b" ") + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)  # the same each time
    return start + piece * megabytes + packer.flush()


def content_bomb(megabytes: int = 4096) -> bytes:
    """A page whose content expands to `megabytes`."""
    return one_page(inflating(megabytes), b"null", content_filter=b"/Filter /FlateDecode")


def doubly_packed_bomb(megabytes: int = 4096) -> bytes:
    """The same, packed twice: 4 GB in some kilobytes."""
    packed = zlib.compress(inflating(megabytes), 9)
    return one_page(packed, b"null", content_filter=b"/Filter [/FlateDecode /FlateDecode]")


def packed_jpeg_bomb(megabytes: int = 4096) -> bytes:
    """A JPEG inside a deflate stream that expands to `megabytes`."""
    image = (
        b"/Type /XObject /Subtype /Image /Width 100 /Height 100 /BitsPerComponent 8 /ColorSpace /DeviceRGB"
    )
    data = inflating(megabytes)
    return one_page(at("I", 0, 0, 9, 9), stream(image + b" /Filter [/FlateDecode /DCTDecode]", data))


def image_bomb(size: tuple[int, int], megabytes: int = 4096) -> bytes:
    """An image that declares this size, with data that expands to `megabytes`."""
    image = (
        b"/Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent 8 /ColorSpace /DeviceRGB"
        % size
    )
    data = inflating(megabytes)
    return one_page(at("I", 0, 0, 100, 100), stream(image + b" /Filter /FlateDecode", data))


def laughing_forms(jpeg: bytes, each: int = 10, levels: int = 8) -> bytes:
    """Forms that draw the form below `each` times: 10^8 pictures in four kilobytes."""
    draft = Draft()
    drawn = draft.jpeg(jpeg)
    for _ in range(levels):
        drawn = draft.form(b"/X Do " * each, {"X": drawn})
    draft.page(b"/X Do", {"X": drawn})
    return draft.save()


def slow(pictures: int = 2000, side: int = 3000) -> bytes:
    """A page that draws a large picture again and again: a minute's work, all of it honest."""
    draft = Draft()
    large = draft.flate(Image.new("L", (side, side), 200))
    draft.page(at("I", 0, 0, 100, 100) * pictures, {"I": large})
    return draft.save()


def stuck(pages: int = 10, megabytes: int = 150) -> bytes:
    """Pages of nothing but clipping: loading each keeps pdfium busy for seconds, out of Python's reach."""
    draft = Draft()
    piece = draft.pdf.make_stream(b"q 0 0 9 9 re W n Q\n" * 55_188)
    for _ in range(pages):
        draft.page(Array([piece] * megabytes))
    return draft.save()
