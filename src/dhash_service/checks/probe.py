"""Asks a service over HTTP; anything but the expected answer fails the check, in one sentence."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode
from uuid import uuid4

ATTEMPTS = 5  # at a service that answers 429: it is alive, and says when to come back
LONGEST_PAUSE = 5.0  # seconds


class CheckFailed(Exception):
    """A failed check; its message is the reason, in one sentence."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, media type and body of one answer."""

    status: int
    media_type: str
    body: bytes

    def json(self) -> Any:
        """The body's JSON; None if there is no body. Raises `ValueError`."""
        return json.loads(self.body) if self.body else None


class Probe:
    """Asks one service, over one connection that is kept open.

    `connect` makes a connection, `address` is how a person names it, `limit_ms` is what a lookup may take.
    """

    def __init__(
        self,
        connect: Callable[[], HTTPConnection],
        address: str,
        *,
        token: str | None = None,
        limit_ms: float = 2000.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connect()
        self._address = address
        self._token = token
        self._pause = pause
        self.limit_ms = limit_ms

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @property
    def has_token(self) -> bool:
        return bool(self._token)

    def get(self, path: str, *, expect: Iterable[int] = (200,), **query: str) -> Mapping[str, Any]:
        """GET a JSON object. Raises `CheckFailed`."""
        return self.read(self.ask("GET", path, expect=expect, query=query), path)

    def post(
        self,
        path: str,
        body: bytes,
        media_type: str,
        *,
        expect: Iterable[int] = (200, 201),
        query: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """POST a body, get a JSON object. Raises `CheckFailed`."""
        answer = self.ask("POST", path, expect=expect, body=body, media_type=media_type, query=query)
        return self.read(answer, path)

    def ask(
        self,
        method: str,
        path: str,
        *,
        expect: Iterable[int],
        body: bytes | None = None,
        media_type: str | None = None,
        query: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> Answer:
        """Send one request. Raises `CheckFailed` unless the status is expected.

        `token` stands in for the probe's own; "" sends none.
        """
        bearer = self._token if token is None else token
        headers = {"Accept": "text/html" if media_type == "text/html" else "application/json"}
        if body is not None and media_type:
            headers["Content-Type"] = media_type
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        target = path + (f"?{urlencode(query)}" if query else "")
        wanted = tuple(expect)
        for attempt in range(1, ATTEMPTS + 1):
            answer, retry_after = self._exchange(method, target, body, headers)
            if answer.status != 429 or 429 in wanted or attempt == ATTEMPTS:
                break
            self._pause(min(retry_after, LONGEST_PAUSE))
        if answer.status not in wanted:
            shown = " or ".join(map(str, wanted))
            said = brief(answer.body.decode(errors="replace"))
            raise CheckFailed(f"{method} {path} answered {answer.status} instead of {shown}: {said}")
        return answer

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[Answer, float]:
        path = target.partition("?")[0]
        try:
            self._connection.request(method, target, body, headers)
            with self._connection.getresponse() as response:
                after = response.headers.get("Retry-After", "1")
                media_type = response.headers.get_content_type()
                answer = Answer(response.status, media_type, response.read())
                return answer, float(after) if after.isdigit() else 1.0
        except ConnectionRefusedError as error:
            raise self._broken(f"nothing answers at {self._address} ({error})") from None
        except FileNotFoundError:
            raise self._broken(f"nothing answers at {self._address} (there is no socket)") from None
        except TimeoutError:
            limit = self._connection.timeout or 0
            raise self._broken(f"{method} {path} gave no answer within {limit:g} s") from None
        except (OSError, HTTPException) as error:
            raise self._broken(f"{method} {path} broke off: {error or type(error).__name__}") from None

    def _broken(self, sentence: str) -> CheckFailed:
        self._connection.close()  # the next check begins with a new one
        return CheckFailed(sentence)

    def read(self, answer: Answer, path: str) -> Mapping[str, Any]:
        try:
            found = answer.json()
        except ValueError:
            said = brief(answer.body.decode(errors="replace"))
            raise CheckFailed(f"{path} answered {answer.status} with no JSON: {said}") from None
        if not isinstance(found, Mapping):
            raise CheckFailed(f"{path} is answered with {brief(json.dumps(found))} instead of an object")
        return found


def form(files: Iterable[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    """A multipart body (RFC 7578) of PNG files as (field, file name, bytes), and its media type."""
    boundary = uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + data
        + b"\r\n"
        for field, name, data in files
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def brief(text: str) -> str:
    """The beginning of a string, on one line."""
    return " ".join(text[:300].split()) or "nothing"
