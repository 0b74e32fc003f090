"""Pictures written to a folder: names that are safe and say where each comes from; nothing is overwritten."""

import os
import re
import secrets
from itertools import count
from pathlib import Path

from dhash_service.errors import UnwritableFolderError

EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}

_LONGEST_STEM = 50  # characters, of up to four bytes each: file systems end names at 255 bytes
_UNSAFE = re.compile(r"[^\w.-]+")


def name_of(document: Path, page: int | None, sha256: str, format: str) -> str:
    """`report-p3-0123456789ab.jpg`: the file it comes from, the page if any, its bytes, its format."""
    stem = _UNSAFE.sub("_", document.stem).lstrip(".-")[:_LONGEST_STEM] or "picture"
    place = "" if page is None else f"-p{page}"
    return f"{stem}{place}-{sha256[:12]}.{EXTENSIONS[format]}"


class PictureFolder:
    """A folder that pictures are added to. A file with the same bytes counts as added already."""

    def __init__(self, folder: Path) -> None:
        """Raises `UnwritableFolderError` where there is no such folder and none can be made."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnwritableFolderError(f"{folder}: {error.strerror}.") from error

    def add(self, content: bytes, name: str) -> Path:
        """Write a picture under `name`, or with a number added where another file has that name.

        It appears whole or not at all. Raises `UnwritableFolderError`.
        """
        unfinished = self.folder / f".{secrets.token_hex(8)}.part"
        try:
            with unfinished.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            return self._place(unfinished, content, name)
        except OSError as error:
            raise UnwritableFolderError(f"{self.folder / name}: {error.strerror}.") from error
        finally:
            unfinished.unlink(missing_ok=True)

    def _place(self, unfinished: Path, content: bytes, name: str) -> Path:
        stem, _, extension = name.rpartition(".")
        for number in count(2):
            path = self.folder / name
            try:
                os.link(unfinished, path)  # unlike a rename it never replaces anything
                return path
            except FileExistsError:
                if path.is_file() and path.read_bytes() == content:
                    return path
            name = f"{stem}-{number}.{extension}"
        raise AssertionError("count() does not end")
