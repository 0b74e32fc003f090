"""Draws the golden folder: `dhash golden draw FOLDER`, then `dhash golden record --folder FOLDER`.

The files are kept with the project, because another release of an encoder may write other bytes. One file for
each path that pixels can take through the decoders, and a PDF with pictures stored in two ways.
"""

import io
import zlib
from pathlib import Path
from random import Random

from PIL import Image, ImageChops, ImageCms, ImageDraw

ORIENTATION = 0x0112  # EXIF
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # TIFF


def draw(folder: Path) -> list[Path]:
    """Draw every golden file into `folder`, which is made. Files that are there already are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, data in files().items():
        path = folder / name
        path.write_bytes(data)
        paths.append(path)
    return paths


def files() -> dict[str, bytes]:
    """Name → bytes of every golden file."""
    photo = scene(640, 480, 1)
    clear = scene(200, 150, 2)
    clear.putalpha(Image.radial_gradient("L").resize(clear.size))
    small = scene(120, 90, 3)
    deep = scene(120, 90, 4).convert("L").convert("I;16")
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    return {
        "photo.jpg": _file(photo, "JPEG", quality=85),
        "large.jpg": _file(scene(2304, 1856, 5), "JPEG", quality=8),
        "full-color.jpg": _file(scene(600, 450, 6), "JPEG", quality=60, subsampling=0),
        "progressive.jpg": _file(scene(450, 600, 7), "JPEG", quality=60, progressive=True),
        "gray.jpg": _file(scene(300, 200, 8).convert("L"), "JPEG", quality=80),
        "cmyk.jpg": _file(scene(300, 200, 9).convert("CMYK"), "JPEG", quality=70),
        "rgb.jpg": _file(scene(300, 200, 10), "JPEG", quality=70, keep_rgb=True),
        "turned.jpg": _file(scene(300, 400, 11), "JPEG", quality=70, exif=turned),
        "color.png": _file(small, "PNG"),
        "alpha.png": _file(clear.quantize(128, Image.Quantize.FASTOCTREE), "PNG"),
        "deep.png": _file(deep, "PNG"),
        "fax.png": _file(scene(320, 240, 12).convert("1"), "PNG"),
        "photo.webp": _file(scene(400, 300, 13), "WEBP", quality=70),
        "palette.gif": _file(scene(160, 120, 14).quantize(32), "GIF"),
        "color.bmp": _file(scene(80, 60, 15), "BMP"),
        "color.tiff": _file(scene(100, 75, 16), "TIFF", compression="tiff_lzw"),
        **depths_and_colors(),
        "pages.pdf": pdf(scene(320, 240, 17), scene(60, 80, 18)),
    }


def depths_and_colors() -> dict[str, bytes]:
    """A picture in twelve ways to store colour and depth, and lying on its side."""
    picture = scene(54, 40, 19)
    gray = picture.convert("L")
    clear = picture.copy()
    clear.putalpha(Image.radial_gradient("L").resize(picture.size))
    lying = Image.Exif()
    lying[ORIENTATION] = 6
    inverted = ImageChops.invert(picture.convert("CMYK"))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    lab = ImageCms.profileToProfile(picture, ImageCms.createProfile("sRGB"), profile, outputMode="LAB")
    assert lab is not None
    palette = picture.quantize(64)
    deep = gray.convert("I").point(lambda level: level * 257)
    return {
        "look-1-bit.png": _file(gray.convert("1"), "PNG"),
        "look-gray.png": _file(gray, "PNG"),
        "look-gray-alpha.png": _file(clear.convert("LA"), "PNG"),
        "look-gray-16.png": _file(deep.convert("I;16"), "PNG"),
        "look-gray-16.tiff": _file(deep.convert("I;16"), "TIFF", tiffinfo={PHOTOMETRIC: WHITE_IS_ZERO}),
        "look-float.tiff": _file(
            gray.convert("F").point(lambda level: level / 255), "TIFF", compression="tiff_lzw"
        ),
        "look-palette.png": _file(palette, "PNG"),
        "look-palette-clear.png": _file(palette, "PNG", transparency=palette.getpixel((0, 0))),
        "look-rgb.jpg": _file(picture, "JPEG", quality=80, exif=lying),
        "look-rgba.png": _file(clear, "PNG"),
        "look-cmyk.jpg": _without_adobe(_file(inverted, "JPEG", quality=80)),
        "look-lab.tiff": _file(lab, "TIFF", compression="tiff_lzw"),
    }


def _without_adobe(jpeg: bytes) -> bytes:
    """A CMYK JPEG without Adobe's mark, which says that its inks are stored inverted."""
    start = jpeg.index(b"\xff\xee")
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]


def scene(width: int, height: int, seed: int) -> Image.Image:
    """An RGB picture: clouds of five sizes, ellipses and rectangles."""
    random = Random(seed)
    picture = Image.new("RGB", (width, height), "gray")
    for cells in (3, 6, 12, 24, 48):
        clouds = Image.frombytes("RGB", (cells, cells), random.randbytes(3 * cells * cells))
        picture = Image.blend(picture, clouds.resize((width, height), Image.Resampling.BICUBIC), 0.35)
    brush = ImageDraw.Draw(picture)
    for number in range(8):
        left, top = random.randrange(width), random.randrange(height)
        right, bottom = left + random.randrange(1, width // 4), top + random.randrange(1, height // 4)
        shape = brush.ellipse if number % 2 else brush.rectangle
        shape((left, top, right, bottom), fill=tuple(random.randbytes(3)))
    return picture


def pdf(as_jpeg: Image.Image, as_pixels: Image.Image) -> bytes:
    """A PDF of two A5 pages: a JPEG stream on the first, deflated pixels inside a form on the second."""
    photo, pixels = _file(as_jpeg, "JPEG", quality=80), zlib.compress(as_pixels.tobytes(), 9)
    draw_photo, draw_form, draw_pixels = (
        b"q 360 0 0 270 30 300 cm /Photo Do Q",
        b"q 1 0 0 1 60 120 cm /Form Do Q",
        b"q 150 0 0 200 0 0 cm /Pixels Do Q",
    )
    page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 420 595] /Contents {} 0 R {} >>"
    image = "/Type /XObject /Subtype /Image /ColorSpace /DeviceRGB /BitsPerComponent 8 /Width {} /Height {} "
    form = "/Type /XObject /Subtype /Form /BBox [0 0 150 200] "
    shows = "/Resources << /XObject << /{} {} 0 R >> >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>",
        page.format(5, shows.format("Photo", 6)).encode(),
        page.format(7, shows.format("Form", 8)).encode(),
        _stream("", draw_photo),
        _stream(image.format(*as_jpeg.size) + "/Filter /DCTDecode", photo),
        _stream("", draw_form),
        _stream(form + shows.format("Pixels", 9), draw_pixels),
        _stream(image.format(*as_pixels.size) + "/Filter /FlateDecode", pixels),
    ]
    return _document(objects)


def _stream(entries: str, data: bytes) -> bytes:
    return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def _document(objects: list[bytes]) -> bytes:
    """Objects, numbered from 1, with the table of where each is (PDF 1.7, section 7.5)."""
    data, places = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n" % (count, table)
    return data + b"<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, data.index(b"xref\n0 "))


def _file(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
