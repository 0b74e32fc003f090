"""Submitting and searching over HTTP, beside the bare function on the same cores."""

import http.client
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.dhash_service.serving import Server, serving
from tests.pictures import encode, photo

from bench.table import Table, Target, duration
from dhash_service.fingerprint import FAST, fingerprint, read_picture

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


class Camera:
    """An endless supply of distinct 2 MP JPEGs: parts of one large photo, at a camera's quality."""

    QUALITY = 92

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._scene = photo(6400, 4800, seed)

    def picture(self) -> bytes:
        width, height = MEGAPIXELS_2
        left = self._chance.randrange(self._scene.width - width)
        top = self._chance.randrange(self._scene.height - height)
        part = self._scene.crop((left, top, left + width, top + height))
        turn = self._chance.choice((0, 180))
        return encode(part.rotate(turn), "JPEG", quality=self.QUALITY)


def submitting(quick: bool) -> Table:
    """Every round hashes fresh pictures with the bare function, then sends them to the service."""
    camera = Camera(7)
    count, rounds = (80, 3) if quick else (240, 5)
    bare: list[float] = []
    with_thumbnail: list[float] = []
    served: list[Load] = []
    size = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as server,
        ThreadPoolExecutor(2) as threads,
    ):
        for _ in range(rounds + 1):
            pictures = [camera.picture() for _ in range(count)]
            size = sum(map(len, pictures)) // count
            bare.append(rate(threads, fingerprint, pictures))
            with_thumbnail.append(rate(threads, read_picture, pictures))
            served.append(load(server, [("POST", "/api/dhash", data) for data in pictures], CONCURRENCY))
    del bare[0], with_thumbnail[0], served[0]  # the first round warms up
    shares = [each.rate / alone for each, alone in zip(served, bare, strict=True)]
    share = statistics.median(shares)
    return Table(
        f"Submitting 2 MP JPEGs ({size / 1000:.0f} KB), durable writes on, concurrency {CONCURRENCY}",
        ("", "images/s", "p50", "p99"),
        [
            (
                "HTTP",
                f"{statistics.median(each.rate for each in served):.0f}",
                duration(statistics.median(each.percentile(0.5) for each in served)),
                duration(statistics.median(each.percentile(0.99) for each in served)),
            ),
            (f"bare {FAST.name}, 2 threads", f"{statistics.median(bare):.0f}", "", ""),
            ("the same with SHA-256 and thumbnail", f"{statistics.median(with_thumbnail):.0f}", "", ""),
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


def rate(threads: ThreadPoolExecutor, work: Callable[[bytes], object], pictures: Sequence[bytes]) -> float:
    """Pictures a second."""
    begin = time.perf_counter()
    list(threads.map(work, pictures))
    return len(pictures) / (time.perf_counter() - begin)


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
