"""Two ways to a file's fingerprints: this code, and a running service over HTTP."""

import json
import socket
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from dhash_service.documents import DocumentReader, is_document
from dhash_service.errors import BadRequestError, GoldenRecordError, ServiceAnswerError
from dhash_service.facts import Algorithm
from dhash_service.golden.record import Values
from dhash_service.pictures.fingerprint import ALGORITHMS
from dhash_service.settings import Settings

ATTEMPTS = 5  # at a service that answers 429 or 503: it is alive, and says when to come again
LONGEST_PAUSE = 5.0  # seconds

MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tiff": "image/tiff",
    ".pdf": "application/pdf",
}


class LocalReader:
    """Reads with the code at hand; documents in a worker process, as the service does."""

    def __init__(self, settings: Settings) -> None:
        self._documents = DocumentReader(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._documents.close()

    def read(self, file: str, data: bytes, algorithm: Algorithm) -> Values:
        if not is_document(data):
            return (self._documents.fingerprint(data, algorithm).hex,)
        extraction = self._documents.extract(data, algorithm, thumbnails=False).result()
        return tuple(found.picture.fingerprint.hex for found in extraction.pictures)


class ServiceReader:
    """Asks a running service, which keeps nothing of it (`?register=false`).

    `connect` makes a connection (`over_socket` or `over_url` below); one is kept open between the files.
    """

    def __init__(
        self,
        connect: Callable[[], HTTPConnection],
        token: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connect()
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._pause = pause

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def algorithm(self) -> Algorithm:
        """The one that the service's store holds. Raises `GoldenRecordError` for one not known here."""
        name = self._ask("GET", "/api/config").get("algorithm")
        if not isinstance(name, str) or name not in ALGORITHMS:
            raise GoldenRecordError(
                f"The service uses the algorithm {name!r}, and nothing is recorded for it."
            )
        return ALGORITHMS[name]

    def read(self, file: str, data: bytes, algorithm: Algorithm) -> Values:
        """Raises `ServiceAnswerError` for any answer but fingerprints, or none."""
        media_type = MEDIA_TYPES.get(Path(file).suffix, "application/octet-stream")
        try:
            if is_document(data):
                answer = self._ask("POST", "/api/dhash/extract?register=false", data, media_type)
                return tuple(str(picture["hash"]) for picture in answer["pictures"])
            return (str(self._ask("POST", "/api/dhash?register=false", data, media_type)["hash"]),)
        except (KeyError, TypeError) as error:
            raise ServiceAnswerError(f"The answer to {file} has no {error}.") from error

    def _ask(
        self, method: str, path: str, body: bytes | None = None, media_type: str | None = None
    ) -> dict[str, Any]:
        headers = self._headers | ({"Content-Type": media_type} if media_type else {})
        for attempt in range(1, ATTEMPTS + 1):
            status, retry_after, text = self._exchange(method, path, body, headers)
            if status not in (429, 503) or attempt == ATTEMPTS:
                break
            self._pause(min(retry_after, LONGEST_PAUSE))
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if status not in (200, 201) or not isinstance(answer, dict):
            said = answer.get("detail") if isinstance(answer, dict) else text[:200].decode(errors="replace")
            raise ServiceAnswerError(f"{method} {path} was answered with {status}: {said}")
        return answer

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, float, bytes]:
        try:
            self._connection.request(method, path, body, headers)
            with self._connection.getresponse() as response:
                after = response.headers.get("Retry-After", "1")
                return response.status, float(after) if after.isdigit() else 1.0, response.read()
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise ServiceAnswerError(
                f"{method} {path} got no answer: {error or type(error).__name__}."
            ) from error


class _SocketConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def over_socket(path: Path, timeout: float = 30) -> Callable[[], HTTPConnection]:
    """Connections to a service that listens on a unix socket; timeout in seconds."""
    return lambda: _SocketConnection(path, timeout)


def over_url(url: str, timeout: float = 30) -> Callable[[], HTTPConnection]:
    """Connections to http://host:port, https://host or unix:///path/of/a/socket.

    Raises `BadRequestError` for any other URL.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix" and not parts.netloc and len(parts.path) > 1:
        return over_socket(Path(parts.path), timeout)
    kinds = {"http": HTTPConnection, "https": HTTPSConnection}
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in kinds or not host or parts.path.strip("/"):
        raise BadRequestError(f"{url} is not the address of a service.", "Give http://HOST:PORT.")
    return lambda: kinds[parts.scheme](host, port, timeout=timeout)
