"""Logs: one JSON object a line on stderr, the service's own and its libraries' alike."""

import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as _quoted
from typing import TextIO

import structlog

_release: str | None = None
"""The release that the lines of requests name; None where they are not wanted."""


class Printer:
    """Prints lines to a stream. One that cannot be written (its disk is full, its reader has gone) must not
    fail the request that had something to say."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = msg


def configure(level: str, release: str) -> None:
    """Send everything, standard library logging included, through structlog as JSON lines."""
    global _release
    _release = release if logging.getLevelNamesMapping()[level.upper()] <= logging.INFO else None

    def in_order(
        logger: object, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """Put first what people look for first; every line names the release."""
        first = {key: event.pop(key) for key in ("timestamp", "level", "message")}
        return {**first, "release": release, **event}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        in_order,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: Printer(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").disabled = True  # Observe writes that line


def answered(request: str, method: str, path: str, code: int, seconds: float) -> None:
    """Write the line of a request that was answered: as structlog would, in a tenth of its time."""
    if _release is None:
        return
    now = datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
    Printer(sys.stderr).msg(
        f'{{"timestamp": "{now}Z", "level": "info", "message": "request", "release": {_quoted(_release)}, '
        f'"method": {_quoted(method)}, "path": {_quoted(path)}, "code": {code}, "ms": {seconds * 1000:.2f}, '
        f'"request": {_quoted(request)}}}'
    )
