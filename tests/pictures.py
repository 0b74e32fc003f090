"""Test pictures, drawn: photo-like ones of any size, and each in every format that the service takes.

All of it follows from the seed alone, so a test that fails names the picture to look at.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

ORIENTATION = 0x0112  # EXIF 2.32, table 4: how the stored pixels have to be turned


def photo(width: int, height: int, seed: int = 0, *, grain: int = 6) -> Image.Image:
    """An RGB picture with the spectrum of a photograph: clouds of every size, a few hard edges, grain.

    `grain` is half the width of the noise in gray levels. At 6 a JPEG of 0.3 MP takes 0.17 bytes a pixel at
    quality 85 and one of 2 MP 0.15, like photographs do (0.15 to 0.26 at 0.1 to 0.4 MP); 12 gives 0.25.
    """
    return _photo(width, height, seed, grain).copy()


@lru_cache(maxsize=32)
def _photo(width: int, height: int, seed: int, grain: int) -> Image.Image:
    random = np.random.default_rng([seed, width, height])
    scene = _clouds(*_at_most(width, height, 1024), random)
    picture = scene.resize((width, height), Image.Resampling.BICUBIC)
    _draw_shapes(picture, random)
    return _add_grain(picture, grain, random) if grain else picture


def graphic(width: int, height: int, seed: int = 0) -> Image.Image:
    """An RGB picture without noise, like slides and logos: flat color, hard edges, a smooth ramp."""
    random = np.random.default_rng([seed, width, height])
    picture = Image.new("RGB", (width, height), tuple(random.integers(0, 256, 3).tolist()))
    ramp = Image.linear_gradient("L").resize(_at_most(width, height, max(width, height) // 2))
    picture.paste(ramp.convert("RGB"), tuple(random.integers(0, picture.size).tolist()))
    _draw_shapes(picture, random)
    return picture


def page(width: int, height: int, seed: int = 0) -> Image.Image:
    """A gray page of text: dark words of uneven length in lines on white."""
    random = np.random.default_rng([seed, width, height])
    picture = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(picture)
    line = max(4, height // 45)
    for top in range(2 * line, height - 2 * line, line):
        left, end = 2.0 * line, width * random.choice([0.4, 0.9, 0.9, 0.9])
        while left < end:
            right = left + line * random.uniform(0.3, 2.5)
            draw.rectangle((left, top, min(right, end), top + line // 2), fill=50)
            left = right + line * 0.3
    return picture


def varied_jpegs(number: int, seed: int = 0) -> Iterator[bytes]:
    """JPEGs of every kind: photos, graphics and pages, 0.02 to 4 MP, quality 50 to 97, each layout."""
    random = np.random.default_rng(seed)
    for index in range(number):
        area, shape = 10 ** random.uniform(4.3, 6.6), 2 ** random.uniform(-1, 1)
        width, height = round((area * shape) ** 0.5), round((area / shape) ** 0.5)
        kind = index % 5
        if kind < 3:
            picture = photo(width, height, index, grain=int(random.choice([0, 3, 6, 12])))
        else:
            picture = graphic(width, height, index) if kind == 3 else page(width, height, index)
        yield encode(
            picture,
            "JPEG",
            quality=int(random.integers(50, 98)),
            subsampling=int(random.integers(3)),
            progressive=bool(random.random() < 0.2),
        )


def _at_most(width: int, height: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _clouds(width: int, height: int, random: np.random.Generator) -> Image.Image:
    total = np.full((height, width, 3), 128.0, np.float32)
    strength, cells = 70.0, 3
    while cells <= max(width, height):
        grid = random.integers(0, 256, (*reversed(_at_most(width, height, cells)), 3), dtype=np.uint8)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(layer, np.float32) - 128) * (strength / 128)
        strength, cells = strength * 0.62, cells * 2
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def _draw_shapes(picture: Image.Image, random: np.random.Generator) -> None:
    draw = ImageDraw.Draw(picture)
    for number in range(6):
        center = random.uniform(0, picture.size)
        half = min(picture.size) * random.uniform(0.02, 0.2, 2)
        corners = [*(center - half), *(center + half)]
        color = tuple(random.integers(0, 256, 3).tolist())
        (draw.ellipse if number % 2 else draw.rectangle)(corners, fill=color)


def _add_grain(picture: Image.Image, grain: int, random: np.random.Generator) -> Image.Image:
    pixels = np.asarray(picture).astype(np.int16)
    pixels += random.integers(-grain, grain + 1, (*pixels.shape[:2], 1), dtype=np.int16)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    """The bytes of `image` as a file of `format` (Pillow's name), with Pillow's save options.

    A PNG is packed loosely unless they say otherwise: packing noise well takes most of a second a picture.
    """
    if format == "PNG":
        options.setdefault("compress_level", 1)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def jpeg(width: int, height: int, seed: int = 0, *, quality: int = 85, **options: object) -> bytes:
    """A photo as a JPEG file (4:2:0 unless `subsampling` says otherwise)."""
    return encode(photo(width, height, seed), "JPEG", quality=quality, **options)


def turned(image: Image.Image, orientation: int, *, format: str = "JPEG") -> bytes:
    """A file whose EXIF says how to turn the stored pixels (1 to 8)."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(image, format, exif=exif)


@dataclass(frozen=True, slots=True)
class Sample:
    """One file: its format as Pillow names it, what is special about it, and its bytes."""

    format: str
    kind: str
    data: bytes

    def __str__(self) -> str:
        return f"{self.format} {self.kind}, {len(self.data)} bytes"


def _with_palette(image: Image.Image, colors: int) -> Image.Image:
    """With the colors of the picture made small: counting those of all of it takes most of a second."""
    small = image.reduce(8 if min(image.size) > 8 else 1).quantize(colors)
    return image.quantize(palette=small, dither=Image.Dither.NONE)


@lru_cache(maxsize=4)
def kinds(width: int, height: int, seed: int = 0) -> tuple[Sample, ...]:
    """The samples of a photo, drawn once for all the tests that ask for them one after another."""
    return tuple(samples(photo(width, height, seed)))


def samples(image: Image.Image) -> Iterator[Sample]:
    """The same RGB picture in every format and pixel layout that the service takes."""
    gray = image.convert("L")
    clear = image.copy()
    clear.putalpha(gray)
    palette, colors = (_with_palette(image, number) for number in (64, 256))
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)

    yield Sample("JPEG", "4:4:4", encode(image, "JPEG", quality=90, subsampling=0))
    yield Sample("JPEG", "4:2:2", encode(image, "JPEG", quality=80, subsampling=1))
    yield Sample("JPEG", "4:2:0", encode(image, "JPEG", quality=75, subsampling=2))
    yield Sample("JPEG", "gray", encode(gray, "JPEG", quality=85))
    yield Sample("JPEG", "progressive", encode(image, "JPEG", quality=85, progressive=True))
    yield Sample("JPEG", "CMYK", encode(image.convert("CMYK"), "JPEG", quality=85))
    yield Sample("JPEG", "RGB inside", encode(image, "JPEG", quality=85, keep_rgb=True))
    yield Sample("JPEG", "turned by EXIF", turned(image, 6))
    yield Sample("JPEG", "restart markers", encode(image, "JPEG", restart_marker_rows=1))
    yield Sample("PNG", "1", encode(image.convert("1"), "PNG"))
    yield Sample("PNG", "L", encode(gray, "PNG"))
    yield Sample("PNG", "LA", encode(clear.convert("LA"), "PNG"))
    yield Sample("PNG", "P with a transparent color", encode(palette, "PNG", transparency=3))
    yield Sample("PNG", "P with transparent colors", encode(palette, "PNG", transparency=bytes(range(64))))
    yield Sample("PNG", "RGB", encode(image, "PNG"))
    yield Sample("PNG", "RGBA", encode(clear, "PNG"))
    yield Sample("PNG", "16-bit", encode(deep, "PNG"))
    yield Sample("WEBP", "lossy", encode(image, "WEBP", quality=70, method=0))
    yield Sample("WEBP", "lossless with alpha", encode(clear, "WEBP", lossless=True, quality=0, method=0))
    yield Sample("GIF", "still", encode(colors, "GIF"))
    half_turn = [palette.rotate(180)]
    yield Sample("GIF", "animated", encode(palette, "GIF", save_all=True, append_images=half_turn))
    yield Sample("BMP", "RGB", encode(image, "BMP"))
    yield Sample("BMP", "P", encode(palette, "BMP"))
    yield Sample("TIFF", "raw", encode(image, "TIFF"))
    yield Sample("TIFF", "LZW", encode(image, "TIFF", compression="tiff_lzw"))
    yield Sample("TIFF", "JPEG inside", encode(image, "TIFF", compression="jpeg", quality=85))
    yield Sample("TIFF", "16-bit", encode(deep, "TIFF", compression="tiff_adobe_deflate"))
    yield Sample("TIFF", "CMYK", encode(image.convert("CMYK"), "TIFF"))
    yield Sample("TIFF", "fax", encode(image.convert("1"), "TIFF", compression="group4"))
