"""The service's counters, and the contract's gauges computed from it.

Everything is a cumulative counter or histogram (Prometheus's model), so that a monitor can compute its own
windows; the gauges of the JSON answer are differences of those same counters over the windows that the
contract names. Several server processes share their counters through prometheus_client's multiprocess files.
"""

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from dhash_service.errors import BusyError, DhashError, StoreError
from dhash_service.facts import Outcome

BUCKETS = tuple(
    round(step * 10.0**exponent, 6)
    for exponent in range(-3, 2)
    for step in (1, 1.25, 1.6, 2, 2.5, 3, 4, 5, 6.3, 8)
)
"""Upper edges in seconds, 1 ms to 80 s: ten a decade, so a quantile read off them is at most 33 % too high.
The gates' limits (2 s, 3 s) are edges, where nothing is lost to interpolation."""

STARTED_AT = "DHASH_STARTED_AT"
"""Set by `dhash serve` for several processes: their counters are one, so their beginning must be one too."""

GAUGES = {
    "extraction_failure_rate": "Percent of images and documents that failed on this replica in 10 minutes",
    "p95_hash_time_ms": "Milliseconds for one fingerprint on this replica, 95th percentile of 15 minutes",
    "low_confidence_queue_length": "Lookups in the store that wait for a person: the same on every replica",
    "memory_usage_percentage": "Percent of the memory that this replica may use",
    "error_rate": "Percent of this replica's requests in 5 minutes that ended in a server error",
}
"""The contract's gauges, and what each is of. None may be summed over replicas; their counters may."""

FAILURE_WINDOW = 600.0
HASH_TIME_WINDOW = 900.0
ERROR_WINDOW = 300.0
SNAPSHOT_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class CounterSnapshot:
    """The cumulative totals at one moment of the monotonic clock."""

    at: float
    images: Mapping[str, float]  # by outcome
    requests: float
    server_errors: float
    hash_buckets: tuple[float, ...]  # cumulative over the edges, the last is +Inf


class Metrics:
    """Counters and histograms of one slot. Thread-safe; cheap enough for every request."""

    def __init__(self, release: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.release = release
        self.started_at = float(os.environ.get(STARTED_AT) or time.time())
        self._clock = clock
        self._registry = CollectorRegistry()
        self._images = Counter(
            "dhash_images", "Images and documents by outcome", ["outcome"], registry=self._registry
        )
        self._requests = Counter(
            "dhash_requests", "HTTP requests by route and status", ["route", "code"], registry=self._registry
        )
        self._hash_seconds = Histogram(
            "dhash_hash_seconds", "Time to fingerprint one image", buckets=BUCKETS, registry=self._registry
        )
        self._request_seconds = Histogram(
            "dhash_request_seconds", "Time to answer one request", buckets=BUCKETS, registry=self._registry
        )
        for outcome in Outcome:
            self._images.labels(outcome.value)
        self._by_route: dict[tuple[str, int], Counter] = {}
        self._history: deque[CounterSnapshot] = deque()
        self._lock = threading.Lock()
        self._memory = MemoryGauge(clock)
        self.tick()

    # ---- counting

    def count_image(self, outcome: Outcome, number: int = 1) -> None:
        """Count an image (or a document that gave none)."""
        self._images.labels(outcome.value).inc(number)

    @contextmanager
    def counting(self, number: int = 1) -> Iterator[None]:
        """Count how a file ended: `number` pictures that went well, or one that did not."""
        try:
            yield
        except (BusyError, StoreError):  # says nothing about the file
            raise
        except DhashError as error:
            self.count_image(error.outcome)
            raise
        except Exception:
            self.count_image(Outcome.FAILED)
            raise
        if number:
            self.count_image(Outcome.OK, number)

    @contextmanager
    def hashing(self) -> Iterator[None]:
        """Time one fingerprint; a refused file is not timed."""
        begin = self._clock()
        yield
        self._hash_seconds.observe(self._clock() - begin)

    def count_request(self, route: str, code: int, seconds: float) -> None:
        """Count an answered request. `route` is a path template, never a path: labels must stay few."""
        counter = self._by_route.get((route, code))
        if counter is None:  # finding one by its labels costs more than counting
            counter = self._by_route[route, code] = self._requests.labels(route, str(code))
        counter.inc()
        self._request_seconds.observe(seconds)

    # ---- windows

    def tick(self) -> None:
        """Remember the totals of this moment, at most once per `SNAPSHOT_EVERY`."""
        now = self._clock()
        with self._lock:
            if self._history and now - self._history[-1].at < SNAPSHOT_EVERY:
                return
            self._history.append(self._snapshot(now))
            # One snapshot older than the longest window stays: it is that window's beginning.
            while len(self._history) > 1 and self._history[1].at <= now - HASH_TIME_WINDOW:
                self._history.popleft()

    def gauges(self, queue_length: int) -> dict[str, float]:
        """The contract's five gauges. Rates are percent, 0 while nothing happened in their window."""
        self.tick()
        now = self._snapshot(self._clock())
        with self._lock:
            history = tuple(self._history)
        failures = since(history, now.at - FAILURE_WINDOW)
        errors = since(history, now.at - ERROR_WINDOW)
        times = since(history, now.at - HASH_TIME_WINDOW)
        failed = now.images[Outcome.FAILED] - failures.images[Outcome.FAILED]
        ok = now.images[Outcome.OK] - failures.images[Outcome.OK]
        buckets = [new - old for new, old in zip(now.hash_buckets, times.hash_buckets, strict=True)]
        return {
            "extraction_failure_rate": percent(failed, ok + failed),
            "p95_hash_time_ms": round(quantile(0.95, buckets) * 1000, 3),
            "low_confidence_queue_length": queue_length,
            "memory_usage_percentage": self._memory.percent(),
            "error_rate": percent(now.server_errors - errors.server_errors, now.requests - errors.requests),
        }

    def as_json(self, queue_length: int) -> dict[str, object]:
        """The contract's gauges and the raw totals they come from."""
        gauges = self.gauges(queue_length)
        now = self._snapshot(self._clock())
        totals = self._totals()
        edges = [f"{edge:g}" for edge in BUCKETS] + ["+Inf"]
        return {
            **gauges,
            "release": self.release,
            "started_at": self.started_at,
            "counters": {
                **{f"images_{outcome}_total": value for outcome, value in now.images.items()},
                "requests_total": now.requests,
                "server_errors_total": now.server_errors,
            },
            "histograms": {
                "hash_seconds": {
                    "buckets": dict(zip(edges, now.hash_buckets, strict=True)),
                    "sum": totals["dhash_hash_seconds_sum"],
                    "count": totals["dhash_hash_seconds_count"],
                }
            },
        }

    def as_prometheus(self, queue_length: int) -> bytes:
        """The same in Prometheus's text format 0.0.4."""
        extra = CollectorRegistry()
        for name, value in self.gauges(queue_length).items():
            Gauge(f"dhash_{name}", GAUGES[name], registry=extra).set(value)
        info = Gauge(
            "dhash_build_info", "The running release, and its machine", ["release", "replica"], registry=extra
        )
        info.labels(self.release, socket.gethostname()).set(1)
        Gauge("dhash_start_time_seconds", "Unix time of the start", registry=extra).set(self.started_at)
        return generate_latest(self._collected()) + generate_latest(extra)

    def _collected(self) -> CollectorRegistry:
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self._registry
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return shared

    def _samples(self) -> Iterator[Any]:
        for metric in self._collected().collect():
            yield from metric.samples

    def _totals(self) -> dict[str, float]:
        return {sample.name: sample.value for sample in self._samples() if not sample.labels}

    def _snapshot(self, at: float) -> CounterSnapshot:
        images = {outcome.value: 0.0 for outcome in Outcome}
        requests = errors = 0.0
        buckets: dict[float, float] = dict.fromkeys((*BUCKETS, float("inf")), 0.0)
        for sample in self._samples():
            if sample.name == "dhash_images_total":
                images[sample.labels["outcome"]] += sample.value
            elif sample.name == "dhash_requests_total":
                requests += sample.value
                errors += sample.value if sample.labels["code"].startswith("5") else 0
            elif sample.name == "dhash_hash_seconds_bucket":
                buckets[float(sample.labels["le"])] += sample.value
        return CounterSnapshot(at, images, requests, errors, tuple(buckets.values()))


def since(history: tuple[CounterSnapshot, ...], moment: float) -> CounterSnapshot:
    """The newest snapshot at or before `moment`, or the oldest of a service younger than that."""
    return next((snapshot for snapshot in reversed(history) if snapshot.at <= moment), history[0])


def percent(part: float, whole: float) -> float:
    """`part` of `whole` in percent; nothing of nothing is 0."""
    return round(100 * part / whole, 4) if whole else 0.0


def quantile(q: float, cumulative: list[float]) -> float:
    """The q-quantile in seconds of a cumulative histogram over `BUCKETS` and +Inf; 0 when it is empty.

    Interpolated linearly inside the bucket, as Prometheus's histogram_quantile does; beyond the last
    edge the last edge is the answer.
    """
    total = cumulative[-1]
    if not total:
        return 0.0
    rank = q * total
    low, below = 0.0, 0.0
    for edge, count in zip(BUCKETS, cumulative, strict=False):
        if count >= rank:
            return low + (edge - low) * (rank - below) / (count - below)
        low, below = edge, count
    return BUCKETS[-1]


class MemoryGauge:
    """Memory of this process and its children against the cgroup's limit, or the machine's without one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._read_at = float("-inf")
        self._percent = 0.0
        self._limit = memory_limit()
        self._process = psutil.Process()

    def percent(self) -> float:
        """Percent of the limit, read at most once a second (walking the children is not free)."""
        if self._clock() - self._read_at >= 1:
            self._read_at = self._clock()
            self._percent = round(100 * self._used() / self._limit, 2)
        return self._percent

    def _used(self) -> int:
        used = 0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                used += process.memory_info().rss
            except psutil.Error:
                continue  # it ended while we looked
        return used


def memory_limit() -> int:
    """Bytes this process may use: the cgroup's limit (v2, then v1), or the machine's memory without one."""
    machine = psutil.virtual_memory().total
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path) as file:
                return min(machine, int(file.read()))
        except (OSError, ValueError):  # no such hierarchy, or "max"
            continue
    return machine
