"""uvicorn's HTTP protocol, with limits on heads and idle readers, and problems where it has plain text.

httptools keeps a head until it ends, however long it is: 60 MB of short headers took 1.2 GB. An answer waits
for its reader, however long that takes.
"""

import asyncio
from http import HTTPStatus

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from dhash_service.api.problems import MEDIA_TYPE, Problem

MOST_HEAD = 1024**2
"""Bytes of a request line and headers, or of trailers; what proxies let through is less."""


class Protocol(HttpToolsProtocol):
    """One connection. 431 for a head that does not end, 400 for what is no HTTP; then it is closed."""

    stall_seconds = 60.0
    """After which a client that takes nothing of its answer is given up."""

    _unread = 0  # bytes since a head or a piece of a body was last complete
    _stall: asyncio.TimerHandle | None = None
    _answering: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MOST_HEAD and not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"More than {MOST_HEAD:,} bytes of headers."
            )

    def on_headers_complete(self) -> None:
        self._unread = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def _watch(self, left: int) -> None:
        self._stall = self.loop.call_later(self.stall_seconds, self._look, left)

    def _look(self, left: int) -> None:
        now = self.transport.get_write_buffer_size()
        if now < left:
            self._watch(now)
        else:
            self.transport.abort()

    def resume_writing(self) -> None:
        self._rest()
        super().resume_writing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        # uvicorn knows the last request of a connection; of several the first is still being answered.
        if self._answering:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def _rest(self) -> None:
        if self._stall:
            self._stall.cancel()
            self._stall = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        # An answer that is being sent is not broken into.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(answer(status, detail))
        self.transport.close()


def answer(status: HTTPStatus, detail: str) -> bytes:
    """The whole answer to a request that no application sees."""
    name = status.phrase.lower().replace(" ", "-")
    advice = "Let an HTTP client make the request, with fewer headers."
    problem = Problem(
        type=f"/problems/{name}", title=status.phrase, status=status, detail=detail, advice=advice
    )
    body = problem.model_dump_json().encode()
    head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\nconnection: close\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
