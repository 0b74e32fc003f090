"""The formats that pictures come in: how each begins, what it is called, and which package reads it.

Six are always read. The others are read where the caller's `Opening` allows them: in a worker process, for
their decoders are young or seldom used.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec

MAX_PIXELS = 100_000_000
ALWAYS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""By Pillow's names."""


@dataclass(frozen=True, slots=True)
class Format:
    """A further format: Pillow's name of it (RAW is ours), the usual one, and its files' suffixes.

    `module` has to be installed, by our `extra`; None where Pillow itself reads it.
    """

    pillow: str
    title: str
    suffixes: tuple[str, ...]
    module: str | None = None
    extra: str | None = None

    @property
    def installed(self) -> bool:
        """True where its decoder can be imported."""
        return self.module is None or find_spec(self.module) is not None


RAW_SUFFIXES = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw")

FURTHER = {
    "avif": Format("AVIF", "AVIF", (".avif",)),
    "jpeg2000": Format("JPEG2000", "JPEG 2000", (".jp2", ".j2k", ".jpx", ".jpf", ".j2c")),
    "tga": Format("TGA", "TGA", (".tga",)),
    "pnm": Format("PPM", "PPM/PGM", (".ppm", ".pgm", ".pbm", ".pnm")),
    "ico": Format("ICO", "ICO", (".ico",)),
    "heic": Format("HEIF", "HEIC", (".heic", ".heif", ".hif"), "pillow_heif", "heif"),
    "jxl": Format("JXL", "JPEG XL", (".jxl",), "pillow_jxl", "jxl"),
    "raw": Format("RAW", "camera raw", RAW_SUFFIXES, "rawpy", "raw"),
}
"""By a short name."""

BY_PILLOW = ",".join(name for name, format in FURTHER.items() if format.module is None)
"""The short names of those that Pillow itself reads."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The rules for opening a picture.

    `formats` are allowed beyond `ALWAYS`, by Pillow's names. `take_cut` takes a JPEG whose end is missing.
    """

    max_pixels: int = MAX_PIXELS
    formats: frozenset[str] = frozenset()
    take_cut: bool = False


AS_USUAL = Opening()

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".apng",
        ".webp",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".pdf",
    ]
    + [suffix for format in FURTHER.values() for suffix in format.suffixes]
)
"""Of the files that may hold pictures, read here or not."""


def allowed(names: Collection[str]) -> frozenset[str]:
    """Pillow's names of the further formats with these names that are installed."""
    return frozenset(FURTHER[name].pillow for name in names if FURTHER[name].installed)


def refusal(pillow: str) -> tuple[str, str]:
    """What to say of a further format that is not read here, and how it can be."""
    name, format = next((name, format) for name, format in FURTHER.items() if format.pillow == pillow)
    needs = f" with `mobius-dhash[{format.extra}]` installed" if format.extra else ""
    return (
        f"It is {format.title}, which is not read here.",
        f"Send JPEG, PNG, WebP, GIF, BMP or TIFF; an operator allows it by DHASH_FORMATS={name}{needs}.",
    )


def is_apart(data: bytes, formats: frozenset[str]) -> bool:
    """True for a picture in one of these further formats: it is to be decoded in a worker process."""
    if not formats:
        return False
    format = sniff(data)
    return format in formats or (format == "TIFF" and "RAW" in formats and is_camera_tiff(data))


def sniff(data: bytes) -> str | None:
    """Pillow's name of the format that the bytes announce, None where it is none of ours."""
    for format, beginnings in _BEGINNINGS.items():
        if data.startswith(beginnings):
            return format
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _of_brands(data)
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "PPM"
    return "TGA" if _is_targa(data) else None


def is_camera_tiff(data: bytes) -> bool:
    """True for a TIFF whose first picture is a small copy of a camera's raw one, as in DNG and NEF."""
    if len(data) < 8 or data[:4] not in (b"II*\0", b"MM\0*"):
        return False
    order = "<" if data[:2] == b"II" else ">"
    try:
        (offset,) = struct.unpack_from(order + "L", data, 4)
        (number,) = struct.unpack_from(order + "H", data, offset)
        entries = [
            struct.unpack_from(order + "HHL4s", data, offset + 2 + 12 * index) for index in range(number)
        ]
    except struct.error:
        return False
    tags = {tag: value for tag, _, _, value in entries}
    reduced = _NEW_SUBFILE in tags and struct.unpack(order + "L", tags[_NEW_SUBFILE])[0] == 1
    return _DNG_VERSION in tags or (reduced and _SUB_DIRECTORIES in tags and _MAKE in tags)


_NEW_SUBFILE, _MAKE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 271, 330, 50706

_BEGINNINGS: dict[str, tuple[bytes, ...]] = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "RAW": (b"II*\0\x10\0\0\0CR", b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JPEG2000": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    "JXL": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
    "ICO": (b"\0\0\1\0",),
}

_BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "RAW": {b"crx "},
    "HEIF": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"},
}


def _of_brands(data: bytes) -> str | None:
    """The format of an ISO base media file, by its major brand and the compatible ones."""
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12]} | {data[start : start + 4] for start in range(16, size, 4)}
    return next((format for format, known in _BRANDS.items() if brands & known), None)


def _is_targa(data: bytes) -> bool:
    """True for what a TGA's header allows: it has no magic number, and its footer is optional."""
    if len(data) < 18 + 3:
        return False
    _, map_type, kind, _, _, _, _, _, width, height, depth, flags = struct.unpack_from("<BBBHHBHHHHBB", data)
    return (
        map_type in (0, 1)
        and (kind, map_type) in {(1, 1), (9, 1), (2, 0), (3, 0), (10, 0), (11, 0)}
        and depth in ((8, 16) if kind in (1, 3, 9, 11) else (16, 24, 32))
        and width > 0
        and height > 0
        and flags & 0xC0 == 0
    )
