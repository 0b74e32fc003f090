"""Static files held in memory, compressed once, and named by their content so that browsers keep them."""

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

SHARED = Path(__file__).parent
SERVED = frozenset({".css", ".js", ".svg", ".png", ".ico", ".woff2"})
WORTH_COMPRESSING = frozenset({".css", ".js", ".svg"})
REFUSED = re.compile(r"q=0(\.0*)?")
KEPT = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file: its bytes, the same gzipped where that helps, media type, 12 digits of its SHA-256."""

    body: bytes
    gzipped: bytes | None
    media_type: str
    digest: str

    @classmethod
    def read(cls, path: Path) -> "Asset":
        """The file as it will be served."""
        body = path.read_bytes()
        packed = gzip.compress(body, mtime=0) if path.suffix in WORTH_COMPRESSING else None
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return cls(body, packed, kind, hashlib.sha256(body).hexdigest()[:12])


class Assets:
    """An ASGI application for the files of `folder` and those that both programs share.

    Mount it at `prefix`; `url("base.css")` is what pages link to. A file of `folder` hides a shared one of
    the same name. Everything is read once, so a page cannot mix two releases' files.
    """

    def __init__(self, folder: Path, prefix: str = "/static") -> None:
        self.prefix = prefix
        self._assets = {
            path.relative_to(root).as_posix(): Asset.read(path)
            for root in (SHARED, folder)
            for path in sorted(root.rglob("*"))
            if path.suffix in SERVED
        }

    def url(self, name: str) -> str:
        """Return the address of a file. Raises `KeyError` for one that does not exist."""
        return f"{self.prefix}/{name}?v={self._assets[name].digest}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 200 with the file, 304, 404 or 405."""
        request = Request(scope, receive)
        await self._answer(request)(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return Response(status_code=405, headers={"Allow": "GET, HEAD"})
        path = str(request.scope["path"]).removeprefix(str(request.scope.get("root_path", "")))
        asset = self._assets.get(path.removeprefix(self.prefix).lstrip("/"))
        if asset is None:
            return Response("There is no such file.", 404, media_type="text/plain")
        etag = f'"{asset.digest}"'
        headers = {
            "ETag": etag,
            "Cache-Control": KEPT if request.query_params.get("v") == asset.digest else "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Vary": "Accept-Encoding",
        }
        if etag in known_tags(request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        body = asset.body
        if asset.gzipped and takes_gzip(request.headers.get("accept-encoding", "")):
            body, headers["Content-Encoding"] = asset.gzipped, "gzip"
        return Response(body, headers=headers, media_type=asset.media_type)


def known_tags(header: str) -> list[str]:
    """The tags of an If-None-Match; a proxy that compresses has made them weak ones (RFC 9110 §13.1.2)."""
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]


def takes_gzip(header: str) -> bool:
    """True where an Accept-Encoding names gzip, and not to refuse it (RFC 9110 §12.5.3)."""
    weights = dict(part.replace(" ", "").lower().partition(";")[::2] for part in header.split(","))
    return "gzip" in weights and not REFUSED.fullmatch(weights["gzip"])
