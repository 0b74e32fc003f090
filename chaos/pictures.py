"""Pictures that follow from a number, and their fingerprints as an oracle computes them. Pure."""

import hashlib
import io
import zlib
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image

SIZE = (96, 72)


@dataclass(frozen=True, slots=True)
class Picture:
    """A file, and what the service must say about it: `sha256` and `hash` as hex digits."""

    data: bytes
    sha256: str
    hash: str


def picture(seed: int, number: int) -> Picture:
    """A PNG: a smooth field of random gray, so that each has a fingerprint of its own."""
    drawn = field(seed, number)
    file = io.BytesIO()
    drawn.save(file, "PNG", compress_level=1)
    return Picture(file.getvalue(), hashlib.sha256(file.getvalue()).hexdigest(), oracle(drawn))


def field(seed: int, number: int) -> Image.Image:
    random = np.random.default_rng([seed, number])
    coarse = random.integers(0, 256, (8, 10), dtype=np.uint8)
    return Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)


def oracle(drawn: Image.Image) -> str:
    """The 64-bit difference hash, by the library that defines it."""
    return str(imagehash.dhash(drawn))


def document(seed: int, number: int) -> tuple[bytes, str]:
    """A PDF of one page that shows such a picture without loss, and the picture's fingerprint."""
    drawn = field(seed, number)
    pixels = zlib.compress(drawn.tobytes(), 1)
    image = (
        b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent 8"
        b" /ColorSpace /DeviceGray /Filter /FlateDecode /Length %d >>\nstream\n" % (*SIZE, len(pixels))
    ) + pixels
    content = b"q 96 0 0 72 10 10 cm /I Do Q"
    return _file(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R"
        b" /Resources << /XObject << /I 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n" % len(content) + content + b"\nendstream",
        image + b"\nendstream",
    ), oracle(drawn)


def _file(*objects: bytes) -> bytes:
    """A PDF file of these objects, numbered from 1; the first is the catalog (ISO 32000-1, 7.5)."""
    file = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    file += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(file)
