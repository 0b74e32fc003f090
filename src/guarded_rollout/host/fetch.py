"""One bounded GET: so much time in all, so many bytes, no redirect, a connection of its own."""

import time
from dataclasses import dataclass
from pathlib import Path

import httpx

MAX_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask: a base URL, or a unix socket. `timeout` is for the whole answer, in seconds."""

    url: str = "http://localhost"
    socket: Path | None = None
    timeout: float = 30.0
    user_agent: str = "dhash-monitor/1.0.0"

    def __str__(self) -> str:
        return str(self.socket) if self.socket else self.url


@dataclass(frozen=True, slots=True)
class Got:
    """An answer, or why there is none (`problem`). `seconds` is how long it took."""

    status: int = 0
    body: bytes = b""
    content_type: str = ""
    seconds: float = 0.0
    problem: str = ""


def get(place: Place, path: str, accept: str = "application/json") -> Got:
    """Ask once. Never raises: a monitor that cannot reach a service has learnt something too."""
    began = time.monotonic()
    got = _get(place, path, accept, deadline=began + place.timeout)
    return Got(got.status, got.body, got.content_type, time.monotonic() - began, got.problem)


def _get(place: Place, path: str, accept: str, deadline: float) -> Got:
    headers = {
        "User-Agent": place.user_agent,
        "Accept": accept,
        "Accept-Encoding": "identity",  # a small answer must not unpack to a large one
        "Connection": "close",  # one that was kept alive may have died, which says nothing of the service
    }
    url = path if path.startswith(("http://", "https://")) else place.url.rstrip("/") + path
    secure = url.startswith("https://")  # elsewhere no certificates are read, which takes long
    transport = httpx.HTTPTransport(uds=str(place.socket) if place.socket else None, verify=secure)
    try:
        with (
            httpx.Client(transport=transport, timeout=place.timeout, headers=headers) as client,
            client.stream("GET", url) as response,
        ):
            body = b""
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    return Got(response.status_code, problem=f"answered more than {MAX_BYTES} bytes")
                if time.monotonic() > deadline:
                    return Got(response.status_code, problem=_too_slow(place))
            return Got(response.status_code, body, response.headers.get("content-type", ""))
    except httpx.TimeoutException:
        return Got(problem=_too_slow(place))
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return Got(problem=f"does not answer: {error or type(error).__name__}")


def _too_slow(place: Place) -> str:
    return f"gave no whole answer within {place.timeout:g} s"
