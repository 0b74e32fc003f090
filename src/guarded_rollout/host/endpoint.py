"""A bounded HTTP request, to a unix socket or a URL: so much time in all, so many bytes, no redirect.

`http.client` costs a fraction of a client library's import, which every command would pay.
"""

import base64
import http.client
import io
import json
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from guarded_rollout.errors import NoAnswerError
from guarded_rollout.host.certificate import trust

MAX_BYTES = 2_000_000
_AS_THEY_STAND = "%/:=&?~+!$,;'@()*[]|"  # what a configured path or query may hold already


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or the reason that there is none: then `status` is 0 and `problem` completes "it …".

    An answer that is too long has a status, a problem and the beginning of its body. `headers` are in lower
    case; `seconds` is how long it took.
    """

    status: int = 0
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> object:
        """The body as JSON; None if it is not, or nested too deeply to be read."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def beginning(self, characters: int = 200) -> str:
        """The beginning of the body on one line, harmless to a terminal."""
        words = "".join(sign if sign.isprintable() else " " for sign in self.text[:characters])
        return " ".join(words.split())

    def summary(self) -> str:
        """The status and the beginning of the body, on one line."""
        return f"{self.status} {self.beginning(300)}".rstrip()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a service: a unix socket, or a base URL.

    `timeout_seconds` is for a whole answer, `headers` go with every request. One that is `proxied` is reached
    through the proxy that the environment names (HTTPS_PROXY, NO_PROXY). By https, `root` is the file of the
    only CA that is trusted, and one that is `here` is this machine, wherever its name leads.
    """

    address: Path | str
    timeout_seconds: float = 5.0
    headers: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int = MAX_BYTES
    proxied: bool = False
    root: Path | None = None
    here: bool = False

    def ask(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request. Raises `NoAnswerError` unless a whole answer came back in time."""
        answer = self.fetch(method, path, body=body, headers=headers)
        if answer.problem:
            raise NoAnswerError(endpoint=self, request=f"{method} {path}", problem=answer.problem)
        return answer

    def fetch(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request, over a connection of its own. Never raises: see `Answer.problem`."""
        began = time.monotonic()
        try:
            url = urlsplit(self._url(path))
            sent = {"Connection": "close", **_credentials(url), **self.headers, **(headers or {})}
            answer = self._exchange(method, url, body, sent, began + self.timeout_seconds)
        except TimeoutError:
            answer = Answer(problem=f"timed out after {self.timeout_seconds:g} s")
        except (OSError, http.client.HTTPException, ValueError) as error:
            absent = isinstance(error, FileNotFoundError) and isinstance(self.address, Path)
            why = "nothing listens on its unix socket" if absent else str(error) or type(error).__name__
            answer = Answer(problem=f"does not answer: {why}")
        return replace(answer, seconds=time.monotonic() - began)

    def _url(self, path: str) -> str:
        base = "http://localhost" if isinstance(self.address, Path) else self.address
        if path.startswith(("http://", "https://")):
            return path
        return base.rstrip("/") + path if path else base

    def _exchange(
        self, method: str, url: SplitResult, body: bytes | None, headers: Mapping[str, str], deadline: float
    ) -> Answer:
        connection, target = self._connection(url)
        try:
            connection.connect()
            connection.sock.settimeout(_left(deadline))
            with suppress(BrokenPipeError):  # a refusal may come before all of the body was read
                connection.request(method, target, body=body, headers=dict(headers))
            response = http.client.HTTPResponse(_Reader(connection.sock, deadline), method=method)  # type: ignore[arg-type]
            response.begin()
            content = response.read(self.max_bytes + 1)
        finally:
            connection.close()
        answered = {name.lower(): value for name, value in response.getheaders()}
        if len(content) > self.max_bytes:
            problem = f"answered more than {self.max_bytes} bytes"
            return Answer(response.status, content[: self.max_bytes], answered, problem=problem)
        if response.length:
            raise http.client.IncompleteRead(content, response.length)
        return Answer(response.status, content, answered)

    def _connection(self, url: SplitResult) -> tuple[http.client.HTTPConnection, str]:
        """A connection that is not made yet, and the target of the request's first line."""
        target = quote(url._replace(scheme="", netloc="", fragment="").geturl() or "/", safe=_AS_THEY_STAND)
        target = target if target.startswith("/") else f"/{target}"
        if isinstance(self.address, Path):
            return UnixConnection(self.address, self.timeout_seconds), target
        secure, host = url.scheme == "https", url.hostname or ""
        port = url.port or (443 if secure else 80)
        proxy = _proxy(url) if self.proxied else None
        at = (proxy.hostname or "", proxy.port or 80) if proxy else (host, port)
        if not secure:
            if proxy:
                target = f"http://{url.netloc.rpartition('@')[2]}{target}"
            return http.client.HTTPConnection(*at, timeout=self.timeout_seconds), target
        kind = _HereConnection if self.here else http.client.HTTPSConnection
        connection = kind(*at, timeout=self.timeout_seconds, context=trust(self.root))
        if proxy:
            connection.set_tunnel(host, port, _credentials(proxy, "Proxy-Authorization"))
        return connection, target

    def __str__(self) -> str:
        return str(self.address)


def is_url(text: str) -> bool:
    """True for an address such as https://host:1/path."""
    try:
        url = urlsplit(text)
        known = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        return False
    return known and text.isprintable() and not any(sign.isspace() for sign in text)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket; without a `timeout` (seconds) it waits for ever."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _HereConnection(http.client.HTTPSConnection):
    """To this machine, whose certificate is for a name that may lead elsewhere."""

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        try:
            self.sock = self._context.wrap_socket(plain, server_hostname=self.host)  # type: ignore[attr-defined]
        except OSError:
            plain.close()
            raise


class _Reader(io.RawIOBase):
    """A connected socket as `http.client` reads it; a receiver that drips does not move the deadline."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket, self._deadline = connected, deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._socket.settimeout(_left(self._deadline))
        return self._socket.recv_into(buffer)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _credentials(url: SplitResult, header: str = "Authorization") -> dict[str, str]:
    if url.username is None:
        return {}
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return {header: "Basic " + base64.b64encode(pair.encode()).decode()}


def _proxy(url: SplitResult) -> SplitResult | None:
    from urllib.request import getproxies, proxy_bypass  # slow to import

    named = getproxies()
    address = named.get(url.scheme) or named.get("all") or ""
    if not address or proxy_bypass(url.hostname or ""):
        return None
    return urlsplit(address if "://" in address else f"http://{address}")
