"""One HTTP request, over a unix socket or TCP: enough for checks, without a client library's weight."""

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guarded_rollout.errors import NoAnswerError


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> object:
        """The body as JSON; None if it is not."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def summary(self) -> str:
        """One line for people."""
        return f"{self.status} {self.body[:300].decode(errors='replace').strip()}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service answers: a unix socket's path, or a host with its port."""

    address: Path | tuple[str, int]
    timeout_seconds: float = 5.0

    def ask(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request. Raises `NoAnswerError` when nothing, or nothing sensible, came back in time."""
        connection = _Connection(self.address, self.timeout_seconds)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
            raise NoAnswerError(endpoint=self, request=f"{method} {path}", problem=problem) from None
        finally:
            connection.close()

    def __str__(self) -> str:
        return (
            str(self.address)
            if isinstance(self.address, Path)
            else f"http://{self.address[0]}:{self.address[1]}"
        )


class _Connection(http.client.HTTPConnection):
    def __init__(self, address: Path | tuple[str, int], timeout: float) -> None:
        host, port = ("localhost", 80) if isinstance(address, Path) else address
        super().__init__(host, port, timeout=timeout)
        self._path = address if isinstance(address, Path) else None

    def connect(self) -> None:
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
