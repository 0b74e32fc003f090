"""A picture for the screen: large enough to compare by eye, in a format that every browser shows."""

import io

from PIL import Image

from dhash_service.pictures.appearance import go_to_first_frame, shown
from dhash_service.pictures.decoding import decoding, open_picture
from dhash_service.pictures.formats import Opening
from dhash_service.pictures.thumbnail import upright

SIDE = 1024
"""The longest side, in pixels."""

CLOSE = 4096
"""The longest side for somebody who looks closely."""

QUALITY = 80


def large(content: bytes, opening: Opening, side: int = SIDE) -> tuple[bytes, str]:
    """The picture upright, at most `side` pixels wide and high, as JPEG (WebP where it is transparent), and
    its media type.

    Nothing of the file's own bytes is passed on. Raises the errors of `open_picture`.
    """
    picture: Image.Image = open_picture(content, opening)
    with decoding(picture):
        picture.draft("RGB", (side, side))
        go_to_first_frame(picture)
        picture.load()
        turn = upright(picture)
        if picture.has_transparency_data and picture.mode[0] not in "IF":
            picture = picture.convert("RGBA")
        else:
            picture = shown(picture).convert("RGB")
        picture.thumbnail((side, side))
        if turn is not None:
            picture = picture.transpose(turn)
        file = io.BytesIO()
        if picture.mode == "RGBA":
            picture.save(file, "WEBP", quality=QUALITY)
            return file.getvalue(), "image/webp"
        picture.save(file, "JPEG", quality=QUALITY, comment=b"", exif=b"", icc_profile=b"")
        return file.getvalue(), "image/jpeg"
