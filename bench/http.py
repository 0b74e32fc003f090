"""Submitting and searching over HTTP, beside the bare function on the same cores."""

import http.client
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.dhash_service.serving import Server, serving
from tests.pictures import jpeg

from bench.table import Table, Target, duration
from dhash_service.fingerprint import FAST, fingerprint

CONCURRENCY = 8
MEGAPIXELS_2 = (1632, 1224)


@dataclass(frozen=True, slots=True)
class Load:
    """What a number of clients saw: how many answers a second, and how long each took."""

    rate: float
    seconds: Sequence[float]

    def percentile(self, q: float) -> float:
        return float(np.quantile(self.seconds, q))


def load(server: Server, requests: Sequence[tuple[str, str, bytes]], clients: int) -> Load:
    """Send every request once from `clients` keep-alive connections; each answer must be 2xx.

    http.client in threads: the clients' own work is on the same cores, and counted against the service.
    """
    todo = iter(requests)
    lock = threading.Lock()
    seconds: list[float] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", int(server.env["DHASH_PORT"]))
        while True:
            with lock:
                request = next(todo, None)
            if request is None:
                return connection.close()
            method, path, body = request
            begin = time.perf_counter()
            connection.request(method, path, body, {"Content-Type": "image/jpeg"} if body else {})
            answer = connection.getresponse()
            answer.read()
            seconds.append(time.perf_counter() - begin)
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status}")

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - begin
    if len(seconds) != len(requests):
        raise RuntimeError(f"{len(requests) - len(seconds)} requests failed")
    return Load(len(requests) / elapsed, seconds)


def distinct(picture: bytes, number: int) -> bytes:
    """The same JPEG as a file of its own: a comment segment after the first marker."""
    comment = number.to_bytes(8, "big")
    return picture[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + picture[2:]


def submitting(quick: bool) -> Table:
    """Every repeat sends pictures that are new to the service, and hashes as many with the bare function."""
    base = [jpeg(*MEGAPIXELS_2, seed) for seed in range(12 if quick else 40)]
    count, repeats = (80, 3) if quick else (240, 5)
    numbers = itertools.count()
    bare: list[float] = []
    served: list[Load] = []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        with ThreadPoolExecutor(2) as threads:
            for _ in range(repeats + 1):
                pictures = [distinct(base[n % len(base)], next(numbers)) for n in range(count)]
                begin = time.perf_counter()
                list(threads.map(fingerprint, pictures))
                bare.append(count / (time.perf_counter() - begin))
                requests = [("POST", "/api/dhash", data) for data in pictures]
                served.append(load(server, requests, CONCURRENCY))
    bare, served = bare[1:], served[1:]  # the first round warms up
    shares = [each.rate / alone for each, alone in zip(served, bare, strict=True)]
    share = statistics.median(shares)
    slowest = [each.percentile(0.99) for each in served]
    size = sum(map(len, base)) / len(base) / 1e6
    return Table(
        f"Submitting 2 MP JPEGs ({size:.1f} MB) over HTTP, durable writes on, concurrency {CONCURRENCY}",
        ("", "images/s", "p50", "p99"),
        [
            (
                "HTTP",
                f"{statistics.median(each.rate for each in served):.0f}",
                duration(statistics.median(each.percentile(0.5) for each in served)),
                duration(statistics.median(slowest)),
            ),
            (f"bare {FAST.name}, 2 threads", f"{statistics.median(bare):.0f}", "", ""),
        ],
        [
            Target(
                "HTTP against the bare function",
                "≥ 70 %",
                f"{share:.0%} (rounds {min(shares):.0%} to {max(shares):.0%})",
                share >= 0.70,
            )
        ],
        note="The clients run on the same cores as the service and the bare function.",
    )


@contextmanager
def filled(rows: int) -> Iterator[Path]:
    """A folder with a store of that many random fingerprints."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "bench.fill", f"sqlite:///{folder}/dhash.db", str(rows)], check=True
        )
        yield Path(folder)


def searching(quick: bool) -> list[Table]:
    """Searches and start-up with a million rows in the store."""
    rows = 100_000 if quick else 1_000_000
    chance = random.Random(7)
    with filled(rows) as folder:
        starts: list[float] = []
        for _ in range(3):
            begin = time.perf_counter()
            with serving(folder):
                starts.append(time.perf_counter() - begin)
        with serving(folder) as server:
            paths = [
                f"/api/dhash/search?hash={chance.getrandbits(64):016x}&radius=10"
                for _ in range(500 if quick else 4000)
            ]
            seen = load(server, [("GET", path, b"") for path in paths], CONCURRENCY)
            floor = load(server, [("GET", "/health/live", b"")] * len(paths), CONCURRENCY)
    p99 = seen.percentile(0.99)
    start = statistics.median(starts)
    return [
        Table(
            f"GET search?hash= at radius 10 with {rows:,} rows, concurrency {CONCURRENCY}",
            ("", "requests/s", "p50", "p99"),
            [
                ("search", f"{seen.rate:.0f}", duration(seen.percentile(0.5)), duration(p99)),
                (
                    "floor: /health/live",
                    f"{floor.rate:.0f}",
                    duration(floor.percentile(0.5)),
                    duration(floor.percentile(0.99)),
                ),
            ],
            [Target("p99", "≤ 25 ms", duration(p99), p99 <= 0.025)],
        ),
        Table(
            f"From start to ready with {rows:,} rows",
            ("", "median", "slowest"),
            [("dhash serve", duration(start), duration(max(starts)))],
            [Target("start to ready", "≤ 3 s", duration(start), start <= 3)],
        ),
    ]


def tables(quick: bool) -> list[Table]:
    return [submitting(quick), *searching(quick)]
