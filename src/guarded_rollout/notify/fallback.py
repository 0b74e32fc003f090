"""The fallback file: undelivered events, one JSON object per line, for `rollout notify --replay`."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guarded_rollout.errors import FallbackFileError
from guarded_rollout.files import locked_folder, write_atomic
from guarded_rollout.logs import ModuleLog
from guarded_rollout.notify import message as messages
from guarded_rollout.notify.events import Event, Facts, Kind, Level

log = ModuleLog()

FILE = "notification_fallback.jsonl"
MODE = 0o600  # a reason may quote what others must not read


@dataclass(frozen=True, slots=True)
class FallbackLine:
    """A line of the file. `event` is None if it cannot be sent again."""

    text: str
    event: Event | None
    replayed: bool


class Fallback:
    """The file. Any process appends to it; `mark` rewrites it, and both take the folder's lock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def add(self, event: Event, message: str, results: Mapping[str, str], reason: str) -> None:
        """Append a line durably. Raises `FallbackFileError`."""
        line = {
            "timestamp": event.at.astimezone(UTC).isoformat(),
            "environment": event.environment,
            "level": event.level,
            "message": message,
            "data": event.facts,
            "notification_results": results,
            "fallback_reason": reason,
            "id": event.id,
            "event": json.loads(event.as_json()),
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked_folder(self.path.parent):
                descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
                try:
                    _append(descriptor, (json.dumps(line, default=str) + "\n").encode())
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise FallbackFileError(path=self.path, verb="written", reason=error.strerror) from None

    def save(self, event: Event, results: Mapping[str, str], reason: str) -> bool:
        """Append an event, or log it where even that fails. Never raises; returns True if the file has it."""
        title = event.message or messages.render(event, messages.shipped(event.kind)).title
        try:
            self.add(event, title, results, reason)
        except FallbackFileError as error:
            log.error(error.sentence, notification=event.as_json())
            return False
        return True

    def lines(self) -> Iterator[FallbackLine]:
        """Yield every line, the oldest first; a missing file has none. Raises `FallbackFileError`."""
        try:
            text = self.path.read_text(errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            raise FallbackFileError(path=self.path, verb="read", reason=error.strerror) from None
        for line in text.splitlines():
            if line.strip():
                yield read_line(line)

    def mark(self, results: Mapping[str, Mapping[str, str]], now: datetime) -> None:
        """Note by id when events were sent after all, and with which results. Raises `FallbackFileError`."""
        try:
            with locked_folder(self.path.parent):
                lines = [_marked(line, results, now) for line in self.lines()]
                write_atomic(self.path, "".join(f"{line}\n" for line in lines), mode=MODE)
        except OSError as error:
            raise FallbackFileError(path=self.path, verb="written", reason=error.strerror) from None


def _append(descriptor: int, line: bytes) -> None:
    # All of it or nothing: a disk that fills up takes half a line without an error.
    before = os.fstat(descriptor).st_size
    if os.write(descriptor, line) < len(line):
        os.ftruncate(descriptor, before)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_line(line: str) -> FallbackLine:
    """Parse a line of this file, or of an older one without ids: then the id follows from the line."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        given: dict[str, Any] = json.loads(line)
        replayed = bool(given.get("replayed_at"))
        if "event" in given:
            return FallbackLine(line, Event.from_json(json.dumps(given["event"])), replayed)
        known = {key: value for key, value in given.items() if key != "replayed_at"}
        data = given.get("data") or {}
        event = Event(
            kind=Kind.MESSAGE,
            environment=str(given["environment"]),
            at=datetime.fromisoformat(given["timestamp"]),
            level=Level(given["level"]),
            message=str(given["message"]),
            facts=Facts(data=dict(data)) if data else Facts(),
            id=hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32],
        )
        return FallbackLine(line, event, replayed)
    return FallbackLine(line, None, False)


def _marked(entry: FallbackLine, results: Mapping[str, Mapping[str, str]], now: datetime) -> str:
    if entry.event is None or entry.replayed or entry.event.id not in results:
        return entry.text
    outcome = {"notification_results": results[entry.event.id], "replayed_at": now.isoformat()}
    return json.dumps({**json.loads(entry.text), **outcome})
