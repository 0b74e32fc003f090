"""Pictures and a document to check a service with: the same bytes for the same seed."""

import hashlib
import io

from PIL import Image


def picture(seed: str) -> bytes:
    """A gray PNG of 9 × 8 random squares, 72 × 64 pixels. Each pair of neighbours is one bit."""
    return _png(_squares(seed, 9, 8))


def broken(seed: str) -> bytes:
    """The first half of a picture."""
    whole = picture(seed)
    return whole[: len(whole) // 2]


def document(seed: str) -> bytes:
    """A PDF of one page with one gray picture of 96 × 96 pixels."""
    out = io.BytesIO()
    _squares(seed, 12, 12).save(out, "PDF", resolution=72.0)
    return out.getvalue()


def _squares(seed: str, wide: int, high: int) -> Image.Image:
    grays = hashlib.shake_256(seed.encode()).digest(wide * high)
    small = Image.frombytes("L", (wide, high), grays)
    return small.resize((wide * 8, high * 8), Image.Resampling.NEAREST)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
