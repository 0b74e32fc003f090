"""The edge's log: what clients got, as the proxy wrote it down, whatever the releases say of themselves.

Caddy writes a line for each request to the public port and for each answer that it had to cut off, and
rolls the file over (`host.caddy`). The lines are read as they come and kept as cumulative counts per slot:

    requests_total        requests that were answered, well or not
    failed_total          those that failed for their client: errors_total + cut_total + timed_out_total
    errors_total          5xx, an unreachable release among them
    cut_total             answers that ended in the middle
    timed_out_total       clients that gave up after five seconds and more
    passed_on_total       requests that were this slot's by its share, and that the other one answered
    unserved_total        requests that were this slot's by its share, and that got no answer of it: they were
                          asked again, or ended with 502
    acknowledged_total    answers by which a declared write was confirmed
    seconds               a histogram of the time to the end of an answer

All but those by share are also there for each route of rollout.toml, as `failed_total{route="…"}`.
A client that leaves earlier than that is counted nowhere: it was not failed, and not served either.
"""

import json
import math
import os
import threading
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import IO

from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Histogram, Sample, Side
from guarded_rollout.host.slots import Slot
from guarded_rollout.monitor.routes import Routes

REQUESTS, FAILED, ERRORS, CUT = "requests_total", "failed_total", "errors_total", "cut_total"
TIMED_OUT, PASSED_ON, ACKNOWLEDGED = "timed_out_total", "passed_on_total", "acknowledged_total"
UNSERVED = "unserved_total"
COUNTERS = (REQUESTS, FAILED, ERRORS, CUT, TIMED_OUT, PASSED_ON, UNSERVED, ACKNOWLEDGED)
BY_ROUTE = (REQUESTS, FAILED)  # always there, also for a route that nobody asks
SECONDS = "seconds"
EDGES = (*(round(0.001 * 10 ** (step / 10), 6) for step in range(51)), math.inf)  # 1 ms to 100 s, by 26 %

PATIENCE_SECONDS = 5.0  # a client that leaves after as long without an answer was made to wait
LEFT = 499  # Caddy's status of a request whose client has gone
NO_ANSWER = 502  # that of a request which the release took and did not answer
SWITCHED = 101


def of_route(name: str, route: str) -> str:
    """The name of a metric of one route."""
    return f'{name}{{route="{route}"}}'


@dataclass(slots=True)
class EdgeCounts:
    """What was counted of one slot."""

    counters: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0.0))
    seconds: dict[str, list[int]] = field(default_factory=lambda: {SECONDS: [0] * len(EDGES)})
    """Per histogram, the count of each bucket. That of all requests is there before the first: 0 is known."""

    def add(self, name: str, route: str = "") -> None:
        self.counters[name] += 1
        if route:
            own = of_route(name, route)
            self.counters[own] = self.counters.get(own, 0.0) + 1

    def time(self, value: float, route: str) -> None:
        at = bisect_left(EDGES, value)
        for name in (SECONDS, of_route(SECONDS, route)):
            self.seconds.setdefault(name, [0] * len(EDGES))[at] += 1

    def histograms(self) -> dict[str, Histogram]:
        return {
            name: Histogram(EDGES, tuple(map(float, accumulate(counts))))
            for name, counts in self.seconds.items()
        }


@dataclass(frozen=True, slots=True)
class Writes:
    """The answers that confirm a write: of these routes, with these statuses."""

    routes: Collection[str] = ()
    statuses: Collection[int] = (201,)


class EdgeLog:
    """Counts the lines of a log that is written meanwhile, from `begin` on. May be asked by several threads.

    `slots` are the slots by what the proxy dials for them. `newest` is how many bytes at its end are read
    at most at a time, instead of all since `begin`: what lies before them is left out.
    """

    def __init__(
        self,
        path: Path,
        routes: Routes,
        slots: Mapping[str, Slot],
        writes: Writes | None = None,
        *,
        newest: int | None = None,
    ) -> None:
        self.path, self.since, self._newest = path, math.inf, newest
        self.routes, self.slots, self._writes = routes, dict(slots), writes or Writes()
        self._counts: dict[str, EdgeCounts] = {slot: EdgeCounts() for slot in self.slots.values()}
        for counts in self._counts.values():
            counts.counters |= {of_route(name, route): 0.0 for route in routes.names for name in BY_ROUTE}
        self._confirmed: dict[str, tuple[float, int]] = {}  # since when, and how many
        self._file: IO[bytes] | None = None
        self._torn = b""
        self._lock = threading.Lock()

    def begin(self, since: float) -> None:
        """Count what was written after this moment, in seconds since 1970, rolled over or not."""
        self.since = since

    def counts(self, slot: Slot) -> EdgeCounts:
        """Read on, and return a copy of what was counted. Raises `OSError`."""
        with self._lock:
            self._read_on()
            found = self._counts[slot]
            return EdgeCounts(dict(found.counters), {name: list(one) for name, one in found.seconds.items()})

    def follow_writes(self, slot: Slot, since: float) -> None:
        """Count the confirmed writes of a slot that begin from now on."""
        self._confirmed[slot] = since, 0

    def confirmed(self, slot: Slot) -> int:
        """Read on, and return the writes confirmed since `follow_writes`. Raises `OSError`."""
        self.counts(slot)
        return self._confirmed[slot][1]

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    # ---- reading

    def _read_on(self) -> None:
        for line in self._lines():
            self._take(line)

    def _lines(self) -> Iterator[bytes]:
        """The whole lines that are new; a line that is being written is left for the next time."""
        if self._file is None:
            for path in self._rolled() if self._newest is None else ():
                with path.open("rb") as old:
                    yield from old
            self._file = self.path.open("rb")
        yield from self._rest(self._file)
        while os.fstat(self._file.fileno()).st_ino != self.path.stat().st_ino:  # rolled over meanwhile
            yield from self._rest(self._file)
            missed = self._rolled(after=os.fstat(self._file.fileno()).st_ino) if self._newest is None else []
            self._file.close()
            for path in missed:
                with path.open("rb") as old:
                    yield from old
            self._file = self.path.open("rb")
            yield from self._rest(self._file)

    def _rest(self, file: IO[bytes]) -> Iterator[bytes]:
        size = os.fstat(file.fileno()).st_size
        if self._newest is not None and size - file.tell() > self._newest:
            file.seek(size - self._newest)
            file.readline()
            self._torn = b""
        for line in file:
            if line.endswith(b"\n"):
                yield self._torn + line
                self._torn = b""
            else:
                self._torn += line

    def _rolled(self, after: int | None = None) -> list[Path]:
        """Earlier files, oldest first: those newer than `since`, or those after a file, by its inode."""
        pattern = f"{self.path.stem}-*{self.path.suffix}"
        found = sorted((path.stat().st_mtime, path) for path in self.path.parent.glob(pattern))
        if after is None:
            return [path for at, path in found if at >= self.since]
        inodes = [path.stat().st_ino for _, path in found]
        return [path for _, path in found[inodes.index(after) + 1 :]] if after in inodes else []

    # ---- counting

    def _counting(self, at: float) -> dict[str, EdgeCounts]:
        """The counts that a line of this moment belongs to, by slot."""
        return self._counts

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            if record["ts"] <= self.since:
                return
            request = record["request"]
            route = self.routes.of(request["method"], request["uri"])
            if "error" in record:
                self._cut(record, route)
            elif "upstream" in record:
                self._answered(record, route)
        except (ValueError, KeyError, TypeError):
            return  # torn when its writer died, or none of ours

    def _cut(self, record: Mapping[str, object], route: str) -> None:
        """An answer that ended in the middle, unless it was the client who left."""
        slot = self.slots.get(str(record.get("upstream")))
        reason = str(record["error"])
        if slot is None or not reason.startswith("reading:") or "context canceled" in reason:
            return
        counts = self._counting(float(str(record["ts"])))[slot]
        for name in (REQUESTS, FAILED, CUT):
            counts.add(name, route)

    def _answered(self, record: Mapping[str, object], route: str) -> None:
        chosen = str(record["slot"])
        slot = self.slots.get(str(record["upstream"]), chosen)  # the chosen one, where it came to none
        status, seconds = int(str(record["status"])), float(str(record["duration"]))
        by_slot = self._counting(float(str(record["ts"])))
        counts = by_slot[slot]
        if status == LEFT and seconds < PATIENCE_SECONDS:
            return
        counts.add(REQUESTS, route)
        if chosen != slot:
            by_slot[chosen].add(PASSED_ON)
        if record.get("retries") or status == NO_ANSWER:
            by_slot[chosen].add(UNSERVED)
        if status == LEFT:
            counts.add(TIMED_OUT, route)
            counts.add(FAILED, route)
        elif status >= 500 or status < 100:
            counts.add(ERRORS, route)
            counts.add(FAILED, route)
        elif status in self._writes.statuses and route in self._writes.routes:
            counts.add(ACKNOWLEDGED, route)
            since, known = self._confirmed.get(slot, (math.inf, 0))
            if float(str(record["ts"])) - seconds > since:
                self._confirmed[slot] = since, known + 1
        if status != SWITCHED:
            counts.time(seconds, route)


@dataclass(frozen=True, slots=True)
class EdgeSource:
    """One slot's part of the edge's log, as samples."""

    log: EdgeLog
    slot: Slot
    side: Side = Side.CANDIDATE
    source: Source = Source.EDGE

    def sample(self) -> Sample:
        try:
            found = self.log.counts(self.slot)
        except OSError as error:
            return _unreadable(error, self.side)
        return Sample(
            self.source,
            0.0,
            self.side,
            counters=found.counters,
            histograms=found.histograms(),
            started_at=self.log.since,
        )


def _unreadable(error: OSError, side: Side) -> Sample:
    problem = f"the proxy's log cannot be read: {error.strerror}"
    return Sample(Source.EDGE, 0.0, side, problem=problem)


BEFORE_BYTES = 5_000_000  # some 20,000 requests


@dataclass(frozen=True, slots=True)
class BeforeSource:
    """What the edge's log says of a slot until now, as far back as its newest megabytes reach."""

    log: EdgeLog
    slot: Slot
    side: Side = Side.BEFORE
    source: Source = Source.EDGE

    def sample(self) -> Sample:
        try:
            self.log.begin(self._since())
        except OSError as error:
            return _unreadable(error, self.side)
        return EdgeSource(self.log, self.slot, self.side).sample()

    def _since(self) -> float:
        """The time of the first whole line among the newest; infinite where there is none."""
        with self.log.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - BEFORE_BYTES))
            if size > BEFORE_BYTES:
                file.readline()
            for line in file:
                with suppress(ValueError, KeyError, TypeError):
                    return float(json.loads(line)["ts"]) - 1e-6
        return math.inf
