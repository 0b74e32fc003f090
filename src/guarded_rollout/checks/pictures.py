"""Pictures that a service is asked about: drawn, sent, and found again.

They are drawn by hand, so that the guard needs no image library.
"""

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from guarded_rollout.checks.probe import SmokeFailure, SmokeProbe, brief
from guarded_rollout.clock import Clock

SEED = "rollout smoke"
FIND_SECONDS = 3.0  # longest time from an acknowledged submit to finding it


def submit(probe: SmokeProbe, picture: bytes, *, register: bool = True) -> Mapping[str, Any]:
    """Submit a picture, or only look it up; the service's answer. Raises `SmokeFailure`."""
    answer = probe.post("/api/dhash", picture, "image/png", register=register, expect=(200, 201))
    found = mapping(answer, "a submitted picture")
    if not re.fullmatch(r"[0-9a-f]{16}", str(found.get("hash"))):
        raise SmokeFailure(f"a submitted picture has the fingerprint {found.get('hash')!r}")
    return found


def find_again(probe: SmokeProbe, kept: Mapping[str, Any], picture: bytes, clock: Clock) -> None:
    """Find a submitted picture by its fingerprint. Raises `SmokeFailure` when `FIND_SECONDS` are over."""
    digest, value = hashlib.sha256(picture).hexdigest(), str(kept.get("hash"))
    if kept.get("sha256") != digest:
        raise SmokeFailure("the answer to a submitted picture is about another one")
    deadline = clock.monotonic() + FIND_SECONDS
    query = {"hash": value, "radius": "0", "limit": "1000"}
    while True:
        failure = SmokeFailure(f"a picture acknowledged as {value} is not found by it")
        try:
            found = mapping(probe.ask("GET", "/api/dhash/search", params=query, expect=(200,)), "the search")
            if any(near.get("sha256") == digest for near in found.get("results", [])):
                return
        except SmokeFailure as refused:
            failure = refused
        if clock.monotonic() > deadline:
            raise failure
        clock.sleep(0.1)


def mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SmokeFailure(f"{what} is answered with {brief(json.dumps(value))} instead of an object")
    return value


def draw(seed: str) -> bytes:
    """A gray PNG of 8 × 8 random squares, 72 × 64 pixels: the same for the same seed (ISO/IEC 15948)."""
    grays = hashlib.shake_256(seed.encode()).digest(9 * 8)
    rows = (grays[9 * line : 9 * line + 9] for line in range(8))
    lines = b"".join((b"\0" + b"".join(bytes([gray]) * 8 for gray in row)) * 8 for row in rows)
    header = struct.pack(">IIBBBBB", 72, 64, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def document() -> bytes:
    """A PDF (ISO 32000-1) of one page with one gray picture of 96 × 96 random squares' worth of pixels."""
    grays = hashlib.shake_256(SEED.encode()).digest(144)
    rows = [b"".join(bytes([gray]) * 8 for gray in grays[12 * row : 12 * row + 12]) * 8 for row in range(12)]
    image = zlib.compress(b"".join(rows))
    content = b"q 288 0 0 288 36 36 cm /Im Do Q"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 360 360]/Contents 4 0 R"
        b"/Resources<</XObject<</Im 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/XObject/Subtype/Image/Width 96/Height 96/ColorSpace/DeviceGray/BitsPerComponent 8"
        b"/Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (len(image), image),
    ]
    body, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    return body + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
        % (count, table, count, len(body))
    )


def multipart(field: str, pictures: Iterable[bytes]) -> tuple[bytes, str]:
    """A form (RFC 7578) with these PNG files, and its content type."""
    boundary = hashlib.sha256(SEED.encode()).hexdigest()
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{number}.png"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + picture
        for number, picture in enumerate(pictures)
    ]
    body = b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={boundary}"
