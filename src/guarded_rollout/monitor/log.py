"""The monitoring log: JSON lines, one file a session. It holds every sample, so a session can be replayed."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from guarded_rollout.errors import NotALogError, NotWritableError
from guarded_rollout.gates.panel import Change
from guarded_rollout.gates.samples import Recording, Sample
from guarded_rollout.gates.verdict import GateOutcome, News
from guarded_rollout.logs import JUDGED, SAMPLE, LogLine, parse


class MonitorLog:
    """Writes one session's lines, and passes each to `listeners`."""

    def __init__(
        self,
        file: TextIO,
        path: Path,
        environment: str,
        listeners: tuple[Callable[[LogLine], None], ...] = (),
    ) -> None:
        self._file = file
        self.path = path
        self._environment = environment
        self._listeners = listeners

    @classmethod
    def open(
        cls, path: Path, environment: str, listeners: tuple[Callable[[LogLine], None], ...] = ()
    ) -> "MonitorLog":
        """Begin a session's file, or append to it. Raises `NotWritableError`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torn = path.exists() and not path.read_bytes().endswith(b"\n")
            file = path.open("a", encoding="utf-8")
            if torn and path.stat().st_size:  # the last writer was killed in the middle of a line
                file.write("\n")
        except OSError as error:
            raise NotWritableError(path=path, reason=error.strerror) from None
        return cls(file, path, environment, listeners)

    def write(self, at: float, level: str, message: str, /, **data: Any) -> None:
        """Write a line that survives the death of this process."""
        line = LogLine(at, level, message, self._environment, data)
        with suppress(OSError):  # a full disk costs the line, not the watching
            self._file.write(line.as_json() + "\n")
            self._file.flush()
        for listener in self._listeners:
            listener(line)

    def sample(self, sample: Sample) -> None:
        self.write(sample.at, "debug", SAMPLE, **sample.as_json())

    def change(self, change: Change) -> None:
        """Write a gate's news in the words that operators grep for."""
        verdict = change.verdict
        level, words = _words(change)
        self.write(
            change.at,
            level,
            f"{JUDGED} {words}: {verdict.gate}: {verdict.reason}",
            news=change.news.value,
            actions=[action.value for action in change.actions],
            **verdict.as_json(),
        )

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()


def _words(change: Change) -> tuple[str, str]:
    match change.news, change.verdict.outcome:
        case News.FAILED, _:
            return "error", "failed"
        case News.RECOVERED, _:
            return "info", "recovered"
        case News.SILENT, _:
            return "warning", "silent"
        case News.HEARD, _:
            return "info", "heard again"
        case _, GateOutcome.PASS:
            return "info", "passed"
        case _, GateOutcome.FAIL:
            return "warning", "still failing"
        case _, GateOutcome.INSUFFICIENT:
            return "info", "undecided"
        case _:
            return "info", "without data"


def read(path: Path) -> Iterator[LogLine]:
    """Yield the lines of a log; a line that was torn by a crash is left out. Raises `NotALogError`."""
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise NotALogError(path=path, reason=error.strerror) from None
    usable = False
    with file:
        for text in file:
            line = parse(text)
            if line is not None:
                usable = True
                yield line
    if not usable:
        raise NotALogError(path=path, reason="no line of it is one of a monitoring log")


def recording_of(lines: Iterable[LogLine]) -> Recording:
    """Return what these lines hold for a replay, and for the next process of their session."""
    samples: list[Sample] = []
    began_at = opened_at = None
    for line in lines:
        if began_at is None and "began_at" in line.data:
            began_at = float(line.data["began_at"])
        if "opened_at" in line.data:
            opened_at = float(line.data["opened_at"])
        elif opened_at is None and line.data.get("shifting"):
            opened_at = math.inf
        if (sample := sample_of(line)) is not None:
            samples.append(sample)
    return Recording(tuple(samples), began_at, opened_at)


def sample_of(line: LogLine) -> Sample | None:
    """Return the sample that a line holds; None if it holds none."""
    if line.message != SAMPLE:
        return None
    try:
        return Sample.from_json(line.data)
    except (ValueError, KeyError, TypeError):
        return None
