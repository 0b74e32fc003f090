"""Every request gets an id, a line in the log and its place in the metrics."""

import re
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dhash_service import logs
from dhash_service.facts import new_id
from dhash_service.metrics import Metrics

log = structlog.get_logger()

GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
WATCHING = frozenset({"/health", "/health/live", "/health/ready", "/metrics", "/status", "/review/progress"})
"""Asked every few seconds by monitors and open pages: logged only when they fail, and not counted, or the
watching itself would dilute the share of errors where there is little traffic, and raise it where health is
bad."""


class Observe:
    """ASGI middleware, outermost: what clients saw is what is counted, refusals by `Limits` included."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":  # answered as GET is; the server leaves the body out
            scope = {**scope, "method": "GET"}
        request_id = given_id(scope) or new_id().hex
        begin = time.perf_counter()
        code = 499  # the client went away before an answer began
        named = (b"x-request-id", request_id.encode("ascii"))

        async def send_with_id(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"] = [*message.get("headers", ()), named]
            await send(message)

        before = structlog.contextvars.bind_contextvars(request=request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            code = 500
            log.exception("unhandled error", method=method, path=scope["path"])
            raise
        finally:
            seconds = time.perf_counter() - begin
            watching = scope["path"] in WATCHING
            if not watching:
                self._metrics.count_request(route(scope), code, seconds)
            if code >= 400 or not watching:
                logs.answered(request_id, method, scope["path"], code, seconds)
            structlog.contextvars.reset_contextvars(**before)


def route(scope: Scope) -> str:
    """The path template that answered, so that metrics keep few labels whatever is asked for."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


def given_id(scope: Scope) -> str | None:
    """The caller's own request id, if it is one that cannot break a log line."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = str(value, "latin-1")
            return given if GIVEN_ID.fullmatch(given) else None
    return None
