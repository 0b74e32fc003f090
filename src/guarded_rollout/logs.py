"""Logs: JSON lines with `timestamp level message environment data`, in files that have one writer each."""

import gzip
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO, cast

from guarded_rollout.clock import Clock, SystemClock
from guarded_rollout.errors import NotWritableError

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

LEVELS = ("debug", "info", "warning", "error", "critical")
MODE = 0o640
OWN = ("timestamp", "level", "message", "environment")
SAMPLE, JUDGED = "Sample", "Quality gate"
"""What the messages of a monitoring log begin with: a sample, a verdict."""


def sentence(words: str) -> str:
    """Return these words with a full stop, unless they end as a sentence does."""
    return words if words.endswith((".", "!", "?")) else f"{words}."


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log. `at` is unix time."""

    at: float
    level: str
    message: str
    environment: str
    data: Mapping[str, Any]

    @property
    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    @property
    def words(self) -> str:
        """The message as people read it; the file has it as programs look for it."""
        return sentence(self.message) if self.level == "warning" else self.message

    def as_json(self) -> str:
        return json.dumps(
            {
                "timestamp": stamp(self.at),
                "level": self.level,
                "message": self.message,
                "environment": self.environment,
                "data": self.data,
            },
            default=str,
        )


def stamp(at: float) -> str:
    """Format unix time as ISO 8601 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%FT%T}.{moment.microsecond // 1000:03d}Z"


def parse(text: str) -> LogLine | None:
    """Parse a line of a log; return None for anything else."""
    try:
        found = json.loads(text)
        return LogLine(
            datetime.fromisoformat(found["timestamp"]).timestamp(),
            str(found["level"]),
            str(found["message"]),
            str(found["environment"]),
            dict(found["data"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def open_log(path: Path) -> TextIO:
    """Open a log to read, compressed or not."""
    return cast(TextIO, (gzip.open if path.suffix == ".gz" else open)(path, "rt", errors="replace"))


def path_for(folder: Path, name: str, environment: str, at: datetime) -> Path:
    """Return `<name>_<env>_<ISO time, ":" and "." as "-">.log`; never a name that is taken."""
    path = folder / f"{name}_{environment}_{at:%FT%H-%M-%S}-{at.microsecond // 1000:03d}Z.log"
    return path if not path.exists() else path_for(folder, name, environment, at + timedelta(milliseconds=1))


class LogFile:
    """The log of a command, line by line."""

    def __init__(self, file: TextIO, path: Path, environment: str, clock: Clock) -> None:
        self._file = file
        self.path = path
        self._environment = environment
        self._clock = clock

    @classmethod
    def open(cls, folder: Path, name: str, environment: str, clock: Clock | None = None) -> Self:
        """Begin `monitor_logs/<name>_<env>_<time>.log`. Raises `NotWritableError`."""
        clock = clock or SystemClock()
        path = path_for(folder, name, environment, clock.now())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(path, flags, MODE)
        except OSError as error:
            raise NotWritableError(path=path, reason=error.strerror) from None
        return cls(os.fdopen(descriptor, "a", encoding="utf-8"), path, environment, clock)

    def write(self, level: str, message: str, /, **data: object) -> None:
        """Write a line that survives the death of this process, with what is bound (the rollout's id)."""
        data = {**bound(), **data}
        line = LogLine(self._clock.now().timestamp(), level, message, self._environment, data)
        with suppress(OSError):  # a full disk costs the line, not the rollout
            self._file.write(line.as_json() + "\n")
            self._file.flush()

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()


class Printer:
    """Prints to a stream, or to the stderr of that moment; a closed terminal ends nobody."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def msg(self, text: str) -> None:
        with suppress(OSError, ValueError):
            print(text, file=self._stream or sys.stderr, flush=True)

    debug = info = warning = error = critical = exception = msg


class ModuleLog:
    """The log of a module, by structlog, which is imported with its first line: most commands write none."""

    def __getattr__(self, level: str) -> Any:
        import structlog

        if _WAITING:
            _configure_once()
        return getattr(structlog.get_logger(), level)


_WAITING: list[Callable[[], None]] = []
"""What `configure` was asked for last, until structlog is there and does it."""
_CONFIGURING = threading.Lock()


def _configure_once() -> None:
    """Configure structlog; no thread goes on meanwhile, whose line would stand among a command's output."""
    with _CONFIGURING:
        if _WAITING:
            _WAITING[-1]()
            _WAITING.clear()


def bound() -> dict[str, Any]:
    """Return what is bound to every line (the rollout's id)."""
    if "structlog" not in sys.modules:
        return {}
    from structlog.contextvars import get_contextvars

    return get_contextvars()


def configure(level: str = "warning", environment: str = "", stream: TextIO | None = None) -> None:
    """Send the modules' logs to stderr: in words on a terminal, as JSON lines elsewhere."""
    _WAITING[:] = [partial(_configure, level, environment, stream)]
    if "structlog" in sys.modules:
        _configure_once()


def _configure(level: str, environment: str, stream: TextIO | None) -> None:
    import structlog

    renderers: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if (stream or sys.stderr).isatty()
        else [structlog.processors.EventRenamer("message"), as_contract, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            lambda logger, method, fields: {"environment": environment, **fields},
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: Printer(stream),
        cache_logger_on_first_use=False,
    )


def as_contract(logger: object, method: str, fields: "EventDict") -> "EventDict":
    """Return the contract's five fields in their order; whatever else a line has is its data."""
    data = {name: value for name, value in fields.items() if name not in OWN}
    return {**{name: fields.get(name, "") for name in OWN}, "data": data}
