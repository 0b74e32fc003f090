"""Limits in front of the application: the whole body first, then a place to work.

A request takes a place among those in flight only once its body is here, and gives it back as its answer
begins, so that neither slow senders nor slow readers hold a place from others; what senders have sent so far
counts against one memory budget for all bodies.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dhash_service.api.observe import WATCHING
from dhash_service.api.problems import Page, as_json, headers_of, problem
from dhash_service.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    BusyError,
    DhashError,
    TooManyRequestsError,
)
from dhash_service.settings import Settings

MOST_VALUES = 100_000
"""In a body of JSON. Each becomes an object, and an error of a kilobyte where it is not what was asked for:
40 MB of numbers took 23 GB. A batch of a hundred pictures needs some thousand."""


class Limits:
    """ASGI middleware: 408, 413, 429 and 503 before work is begun or memory spent."""

    def __init__(self, app: ASGIApp, settings: Settings, page: Page | None = None) -> None:
        self._app = app
        self._settings = settings
        self._page = page
        self._in_flight: Counter[str] = Counter()  # by caller
        self._body_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in WATCHING:
            await self._app(scope, receive, send)  # operators need it most when the service is overloaded
            return
        try:
            if not announces_body(scope):
                await self._placed(scope, receive, send)
                return
            body = await self._body(scope, receive)
            try:
                await self._placed(scope, replay(body, receive), send)
            finally:
                self._body_bytes -= len(body)
        except ClientDisconnect:
            return
        except DhashError as error:  # the application answers its own: these are ours
            told, headers = problem(error), headers_of(error)
            page = await self._page(Request(scope), told, headers) if self._page else None
            await (page or as_json(told, headers))(scope, receive, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, accounted for; whoever has it takes it off the account again."""
        if declared_length(scope) > self._settings.max_body_bytes:
            raise BodyTooLargeError(
                f"The body has {declared_length(scope):,} bytes; "
                f"{self._settings.max_body_bytes:,} are allowed."
            )
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                async for chunk in received(receive):
                    self._admit(len(chunk), size)
                    size += len(chunk)
                    chunks.append(chunk)
            body = b"".join(chunks)
            require_few_values(scope, body)
            return body
        except BaseException as error:
            self._body_bytes -= size
            if isinstance(error, TimeoutError):
                late = f"The body was not here after {self._settings.body_seconds} s."
                raise BodyTimeoutError(late) from None
            raise

    def _admit(self, number: int, size: int) -> None:
        if size + number > self._settings.max_body_bytes:
            raise BodyTooLargeError(f"The body has more than {self._settings.max_body_bytes:,} bytes.")
        if self._body_bytes + number > self._settings.max_bodies_bytes:
            raise BusyError("The bodies being received fill the memory set aside for them.")
        self._body_bytes += number

    async def _placed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application work on a request, while its caller has a place; sending needs none."""
        who = caller(scope)
        if (total := self._in_flight.total()) >= self._settings.max_in_flight:
            raise BusyError(f"{total} requests are being worked on.")
        if self._in_flight[who] >= self._settings.max_in_flight_per_caller:
            raise TooManyRequestsError(f"{self._in_flight[who]} of your requests are being worked on.")
        self._in_flight[who] += 1
        placed = True

        def leave() -> None:
            nonlocal placed
            if placed:
                placed = False
                self._in_flight[who] -= 1
                if not self._in_flight[who]:
                    del self._in_flight[who]

        async def send_apart(message: Message) -> None:
            leave()
            await send(message)

        try:
            await self._app(scope, receive, send_apart)
        finally:
            leave()


async def received(receive: Receive) -> AsyncIterator[bytes]:
    """The chunks of a body as they arrive. Raises `ClientDisconnect`."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        yield message.get("body", b"")
        more = message.get("more_body", False)


def replay(body: bytes, receive: Receive) -> Receive:
    """An ASGI `receive` that gives the body in one piece, then what really follows: a disconnect."""
    pending = [body]

    async def replayed() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replayed


def announces_body(scope: Scope) -> bool:
    """True where a body follows (RFC 9112 §6.3), if only of unknown length."""
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return True
    return False


def header(scope: Scope, wanted: bytes) -> bytes | None:
    """The header's value, the last one where there are several."""
    return next((value for name, value in reversed(scope["headers"]) if name == wanted), None)


def require_few_values(scope: Scope, body: bytes) -> None:
    """Raise `BodyTooLargeError` for JSON of more than `MOST_VALUES`: between any two of them is a comma."""
    kinds = (value for name, value in scope["headers"] if name == b"content-type")
    media = (kind.partition(b";")[0].strip().lower() for kind in kinds)
    # Lists of JSON lines are read a line at a time: they may be long.
    if (
        any(kind == b"application/json" or kind.endswith(b"+json") for kind in media)
        and body.count(b",") > MOST_VALUES
    ):
        raise BodyTooLargeError(f"The JSON has more than {MOST_VALUES:,} values.", "Send less at once.")


def declared_length(scope: Scope) -> int:
    """Content-Length, 0 where there is none or it is no number (what arrives is counted anyway)."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def caller(scope: Scope) -> str:
    """The caller: its bearer token, else its address."""
    if authorization := header(scope, b"authorization"):
        return str(authorization, "latin-1")
    return address(scope)


def address(scope: Scope) -> str:
    """The address that the nearest proxy saw, else the connection's."""
    if forwarded := header(scope, b"x-forwarded-for"):
        return str(forwarded, "latin-1").rsplit(",", 1)[-1].strip()
    client = scope.get("client")
    return str(client[0]) if client else "local"
