"""Submitting and searching over HTTP, beside the bare function on the same cores."""

import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.dhash_service.serving import Server, serving
from tests.guarded_rollout.sandbox import Sandbox
from tests.pictures import jpeg

from bench.clients import Address, Camera, Load, Request, bare_server, distinct, load, rate
from bench.started import started
from bench.table import Table, Target, duration
from dhash_service.pictures.fingerprint import FAST, fingerprint, read_picture
from dhash_service.store.store import Store

CONCURRENCY = 8


def tables(quick: bool) -> list[Table]:
    return [submitting(quick), by_clients(quick), *searching(quick)]


def port_of(server: Server) -> int:
    return int(server.env["DHASH_PORT"])


# ---- submitting


def submitting(quick: bool) -> Table:
    """Every round hashes fresh pictures with the bare function, then sends them to each server."""
    camera = Camera(7)
    count, rounds = (80, 3) if quick else (240, 5)
    bare: list[float] = []
    with_thumbnail: list[float] = []
    seen: dict[str, list[Load]] = {}
    size = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        threads = stack.enter_context(ThreadPoolExecutor(2))
        servers = {
            "HTTP": port_of(stack.enter_context(serving(folder))),
            "floor: uvicorn, picture read, nothing kept": stack.enter_context(bare_server("reads")).port,
            "floor: uvicorn, body received": stack.enter_context(bare_server("takes")).port,
        }
        for round_ in range(rounds + 1):
            pictures = [camera.picture() for _ in range(count)]
            size = sum(map(len, pictures)) // count
            alone = rate(threads, fingerprint, pictures)
            alone_with_thumbnail = rate(threads, read_picture, pictures)
            requests = [("POST", "/api/dhash", data) for data in pictures]
            answered = {name: load(port, requests, CONCURRENCY) for name, port in servers.items()}
            if round_:  # the first one warms up
                bare.append(alone)
                with_thumbnail.append(alone_with_thumbnail)
                for name, one in answered.items():
                    seen.setdefault(name, []).append(one)
    shares = [each.rate / alone for each, alone in zip(seen["HTTP"], bare, strict=True)]
    share = statistics.median(shares)
    base = statistics.median(bare)
    return Table(
        f"Submitting 2 MP JPEGs ({size / 1000:.0f} KB), durable writes on, concurrency {CONCURRENCY}",
        ("", "images/s", "of bare", "p50", "p99"),
        [
            *(row(name, answers, base) for name, answers in seen.items()),
            (f"bare {FAST.name}, 2 threads", f"{base:.0f}", "100 %", "", ""),
            (
                "the same with SHA-256 and thumbnail",
                f"{statistics.median(with_thumbnail):.0f}",
                f"{statistics.median(with_thumbnail) / base:.0%}",
                "",
                "",
            ),
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


def row(name: str, answers: Sequence[Load], base: float) -> tuple[str, ...]:
    """A server's row: medians over the rounds."""
    median = statistics.median(each.rate for each in answers)
    times = (statistics.median(each.percentile(q) for each in answers) for q in (0.5, 0.99))
    return (name, f"{median:.0f}", f"{median / base:.0%}", *map(duration, times))


def by_clients(quick: bool) -> Table:
    """Small pictures, so that it is the service that is measured and not the decoder, by clients and way."""
    picture = jpeg(320, 240, 5)
    count = 200 if quick else 2_000
    fresh = iter(range(1 << 40))
    rows = []
    with guarded() as (direct, public), bare_server("reads") as floor:
        ways: dict[str, Address] = {
            "direct (unix socket)": direct,
            "through Caddy": public,
            "floor: uvicorn, picture read, nothing kept": floor.port,
        }
        for clients in (1, 8, 64):
            for name, address in ways.items():
                requests = [("POST", "/api/dhash", distinct(picture, next(fresh))) for _ in range(count)]
                load(address, requests[: count // 10], clients)
                seen = load(address, requests[count // 10 :], clients)
                times = (seen.percentile(q) for q in (0.5, 0.99))
                rows.append((f"{clients} clients", name, f"{seen.rate:.0f}", *map(duration, times)))
    return Table(
        f"Submitting small JPEGs ({len(picture) / 1000:.0f} KB), durable writes on, in a rollout's slot",
        ("", "", "images/s", "p50", "p99"),
        rows,
        note="All look the same, so that each also finds, and reads from the store, sixteen neighbours.",
    )


@contextmanager
def guarded() -> Iterator[tuple[Path, int]]:
    """A rollout of the service that has ended well: its slot's socket, and its public port."""
    sandbox = Sandbox(None)
    try:
        sandbox.deploy()
        slot = sandbox.site.traffic.serving()
        assert slot is not None
        yield sandbox.site.slots.socket(slot), sandbox.port
    finally:
        sandbox.close()


# ---- searching


@contextmanager
def filled(rows: int) -> Iterator[Path]:
    """A folder with a store of that many random fingerprints."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "bench.fill", f"sqlite:///{folder}/dhash.db", str(rows)], check=True
        )
        yield Path(folder)


def while_writing(server: Server, requests: Sequence[Request]) -> Load:
    """Searches that have to catch up first, since somebody writes all the time."""
    ended = threading.Event()

    def write() -> None:
        picture, number = jpeg(64, 48, 5), 0
        while not ended.is_set():
            load(
                port_of(server), [("POST", "/api/dhash", distinct(picture, number + n)) for n in range(20)], 1
            )
            number += 20

    writer = threading.Thread(target=write)
    writer.start()
    try:
        return load(port_of(server), requests, CONCURRENCY)
    finally:
        ended.set()
        writer.join()


def cost_of_asking(folder: Path) -> float:
    """Seconds that it takes to see that nobody has written since the index was last brought up to date."""
    with Store.open(f"sqlite:///{folder}/dhash.db", release="bench", algorithm=None) as store:
        begin = time.perf_counter()
        for _ in range(1000):
            store.feed.version()
        return (time.perf_counter() - begin) / 1000


def searching(quick: bool) -> list[Table]:
    """Searches and start-up with a million rows in the store."""
    rows = 100_000 if quick else 1_000_000
    chance = random.Random(7)
    with filled(rows) as folder, filled(0) as empty:
        starts: dict[Path, list[float]] = {folder: [], empty: []}
        for _ in range(3):
            for place, taken in starts.items():
                begin = time.perf_counter()
                with started(place):
                    taken.append(time.perf_counter() - begin)
        with serving(folder) as server:
            paths = [
                f"/api/dhash/search?hash={chance.getrandbits(64):016x}&radius=10"
                for _ in range(500 if quick else 4000)
            ]
            seen = load(port_of(server), [("GET", path, b"") for path in paths], CONCURRENCY)
            floor = load(port_of(server), [("GET", "/health/live", b"")] * len(paths), CONCURRENCY)
            written = while_writing(server, [("GET", path, b"") for path in paths])
            asked = cost_of_asking(folder)
    p99 = seen.percentile(0.99)
    start, none = (statistics.median(taken) for taken in starts.values())
    return [
        Table(
            f"GET search?hash= at radius 10 with {rows:,} rows, concurrency {CONCURRENCY}",
            ("", "requests/s", "p50", "p99"),
            [
                ("search", f"{seen.rate:.0f}", duration(seen.percentile(0.5)), duration(p99)),
                (
                    "search, while one client submits without a pause",
                    f"{written.rate:.0f}",
                    duration(written.percentile(0.5)),
                    duration(written.percentile(0.99)),
                ),
                ("asking the store whether anybody has written", "", duration(asked), ""),
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
            "From start to ready",
            ("", "median", "slowest"),
            [
                (f"with {rows:,} rows", duration(start), duration(max(starts[folder]))),
                ("with none", duration(none), duration(max(starts[empty]))),
            ],
            [
                Target("start to ready", "≤ 3 s", duration(start), start <= 3),
                Target("of starting with none", "≤ 1.3 ×", f"{start / none:.2f} ×", start <= 1.3 * none),
            ],
        ),
    ]
