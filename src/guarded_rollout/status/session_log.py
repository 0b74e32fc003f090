"""A monitoring log while it is being written: each new line once, and what the lines say so far."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from guarded_rollout.gates.verdict import News, Verdict
from guarded_rollout.logs import JUDGED, SAMPLE, LogLine, open_log, parse

IS_SAMPLE = f'"message": "{SAMPLE}"'
WARNINGS = 12  # of the newest lines that somebody should see


class Gained(NamedTuple):
    """The lines that a log gained. `restarted`: its file was replaced or cut; these are all lines."""

    lines: list[str]
    restarted: bool


class Tail:
    """A log that is read on from where the last reading ended; a line that is not whole waits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: tuple[int, int] | None = None
        self._at = 0

    def gained(self) -> Gained:
        """The lines since the last reading. Raises `OSError`."""
        with self.path.open("rb") as file:
            found = os.fstat(file.fileno())
            restarted = (found.st_dev, found.st_ino) != self._file or found.st_size < self._at
            if restarted:
                self._file, self._at = (found.st_dev, found.st_ino), 0
            if found.st_size == self._at:
                return Gained([], restarted)
            file.seek(self._at)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._at += len(whole) + len(newline)
        return Gained(whole.decode(errors="replace").splitlines() if newline else [], restarted)


@dataclass(frozen=True, slots=True)
class Judged:
    """The newest thing said about a gate. `at` is unix time; `failing`: a breach of it is not over, and
    `broke` is the verdict that began it."""

    verdict: Verdict
    at: float
    failing: bool
    broke: Verdict | None = None


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A monitoring log's content so far. Times are unix time, `written_at` that of its last write."""

    path: Path
    rollout: str = ""
    release: str = ""
    began_at: float | None = None
    written_at: float = 0.0
    judged: tuple[Judged, ...] = ()  # one a gate, in the order of the gates file
    warnings: tuple[LogLine, ...] = ()  # the newest warnings and worse, oldest first
    over: bool = False


class SessionReader:
    """Reads one monitoring log as it grows; samples are passed over."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self._facts = SessionFacts(path)
        self._judged: dict[str, Judged] = {}
        self._warnings: list[LogLine] = []

    def read(self) -> SessionFacts:
        """Raises `OSError`."""
        lines, restarted = self._tail.gained()
        if restarted:
            self._facts = SessionFacts(self._tail.path)
            self._judged.clear()
            self._warnings.clear()
        for text in lines:
            if IS_SAMPLE not in text and (line := parse(text)) is not None:
                self._take(line)
        if lines or restarted:
            self._facts = replace(
                self._facts,
                written_at=self._tail.path.stat().st_mtime,
                judged=tuple(self._judged.values()),
                warnings=tuple(self._warnings[-WARNINGS:]),
            )
        return self._facts

    def read_whole(self, until: float) -> SessionFacts:
        """Read a log that is over, compressed or not, up to a moment. Raises `OSError`, `EOFError`."""
        with open_log(self._tail.path) as file:
            for text in file:
                if IS_SAMPLE not in text and (line := parse(text)) is not None and line.at <= until:
                    self._take(line)
        judged, warnings = tuple(self._judged.values()), tuple(self._warnings[-WARNINGS:])
        return replace(self._facts, judged=judged, warnings=warnings)

    def _take(self, line: LogLine) -> None:
        if "began_at" in line.data:
            self._facts = replace(
                self._facts,
                rollout=str(line.data.get("rollout", "")),
                release=str(line.data.get("release", "")),
                began_at=float(line.data["began_at"]),
            )
        self._facts = replace(self._facts, over=line.message == "Monitoring session completed")
        if line.message.startswith(JUDGED) and "gate" in line.data:
            self._judge(line)
        if line.level in ("warning", "error", "critical"):
            self._warnings.append(line)

    def _judge(self, line: LogLine) -> None:
        try:
            verdict, news = Verdict.from_json(line.data), line.data.get("news")
        except (KeyError, ValueError, TypeError):
            return
        before = self._judged.get(verdict.gate)
        failing = news == News.FAILED or (before is not None and before.failing and news != News.RECOVERED)
        broke = verdict if news == News.FAILED else before.broke if before and failing else None
        self._judged[verdict.gate] = Judged(verdict, line.at, failing, broke)
