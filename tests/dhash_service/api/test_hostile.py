"""Hostile bytes over HTTP: every file is answered, none with a server error, and nobody is hurt."""

import hashlib
import io
import random
import zipfile
from collections.abc import Iterator

import httpx
import pikepdf
import psutil
import pytest

from tests.dhash_service.api.test_submit import problem
from tests.dhash_service.serving import Server
from tests.pictures import jpeg, photo, samples

CHANGES = 12  # of each file
MB = 1024**2


def document() -> bytes:
    """A small PDF with one JPEG and one deflated picture."""
    pdf = pikepdf.new()
    page = pdf.add_blank_page(page_size=(400, 300))
    data = jpeg(120, 90, 5)
    pictures = {
        "/A": pikepdf.Stream(pdf, data, Type=pikepdf.Name.XObject, Filter=pikepdf.Name.DCTDecode),
        "/B": pikepdf.Stream(pdf, photo(80, 60, 6).tobytes(), Type=pikepdf.Name.XObject),
    }
    for (width, height), stream in zip(((120, 90), (80, 60)), pictures.values(), strict=True):
        stream.Subtype, stream.ColorSpace = pikepdf.Name.Image, pikepdf.Name.DeviceRGB
        stream.Width, stream.Height, stream.BitsPerComponent = width, height, 8
    page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(pictures))
    page.Contents = pikepdf.Stream(pdf, b"q 100 0 0 80 10 10 cm /A Do Q q 90 0 0 70 150 10 cm /B Do Q")
    file = io.BytesIO()
    pdf.save(file)
    return file.getvalue()


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as inside:
        inside.writestr("zeros", bytes(4 * MB))
    return file.getvalue()


ORIGINALS = {
    **{f"{sample.format} {sample.kind}": sample.data for sample in samples(photo(120, 90, 3))},
    "PDF": document(),
}


def changed(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """Bits flipped, tails cut, pieces swapped, other files glued on."""
    for _ in range(CHANGES):
        broken = bytearray(data)
        match chance.randrange(5):
            case 0:
                for _ in range(chance.choice((1, 3, 20))):
                    broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
            case 1:
                del broken[chance.randrange(len(broken)) :]
            case 2:
                start = chance.randrange(len(broken))
                broken[start : start + chance.randrange(64)] = chance.randbytes(chance.randrange(64))
            case 3:
                other = chance.choice((document(), archive(), jpeg(40, 30)))
                broken += other
            case 4:
                start = chance.randrange(min(64, len(broken)))
                broken[start : start + 4] = b"\xff\xff\xff\xff"
        yield bytes(broken)


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_broken_file_is_answered_and_hurts_nobody(server: Server, client: httpx.Client, name: str) -> None:
    chance = random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
    path = "/api/dhash/extract" if name == "PDF" else "/api/dhash"
    refused = 0
    for data in changed(ORIGINALS[name], chance):
        answer = client.post(
            path,
            content=data,
            params={"register": False},
            headers={"Content-Type": "application/octet-stream"},
        )
        assert answer.status_code in (200, 413, 415, 422), (answer.status_code, data.hex()[:200])
        if answer.status_code != 200:
            problem(answer)
            refused += 1
    assert client.get("/health").status_code == 200
    assert server.process.poll() is None


def test_memory_is_what_it_was_after_bombs(server: Server, client: httpx.Client) -> None:
    process = psutil.Process(server.process.pid)
    client.post("/api/dhash", content=jpeg(2000, 1500, 9), headers={"Content-Type": "image/jpeg"})
    before = process.memory_info().rss
    bomb = io.BytesIO()
    from PIL import Image

    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    for _ in range(20):
        answer = client.post(
            "/api/dhash?register=false", content=bomb.getvalue(), headers={"Content-Type": "image/png"}
        )
        assert answer.status_code == 413
    assert process.memory_info().rss - before < 64 * MB
