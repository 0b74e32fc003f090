"""The processor time of a request, by path, beside the least that a server can do with it in the same run."""

import json
import os
import random
import statistics
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from tests.dhash_service.serving import Server, serving
from tests.pictures import encode, jpeg, photo

from bench.clients import Camera, Load, Request, bare_server, distinct, load
from bench.drawing import Bar, bars
from bench.fill import fill
from bench.table import Table, Target, duration
from dhash_service.pictures.fingerprint import read_picture
from dhash_service.search.index import HammingIndex

CLIENTS = 8
RADIUS = 10
HASHES = 100
BATCH = 100
LIGHT = 1_500  # light requests in a round: the system counts processor time in hundredths of a second
SEARCH = "GET search by hash, nothing near"


@dataclass(slots=True)
class Asked:
    """One kind of request: who answers it, how many pictures or hashes are in it, and what was seen."""

    name: str
    process: psutil.Process
    port: int
    requests: Callable[[], Sequence[Request]]
    floor: str = ""  # the name of what it is compared with
    wanted: float = 0.0  # of the floor's rate
    number: int = 1
    loads: list[Load] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def ask(self, *, counted: bool) -> None:
        """Send the requests of one round."""
        requests = self.requests()
        before = cpu_seconds(self.process)
        seen = load(self.port, requests, CLIENTS)
        if counted:
            self.loads.append(seen)
            self.cpu.append((cpu_seconds(self.process) - before) / len(requests) / self.number)

    @property
    def rate(self) -> float:
        """Pictures or hashes a second."""
        return statistics.median(each.rate for each in self.loads) * self.number

    @property
    def spent(self) -> float:
        """Seconds of the server's processor time for each: the least of the rounds, which others disturb."""
        return min(self.cpu)


def tables(quick: bool) -> list[Table]:
    rows, rounds = (20_000, 3) if quick else (1_000_000, 5)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fill(f"sqlite:///{folder}/dhash.db", rows)
        asked = list(kinds(stack.enter_context(serving(folder)), stack, rows))
        for round_ in range(rounds + 1):
            for each in asked:
                each.ask(counted=round_ > 0)  # the first one warms up
        by_name = {each.name: each for each in asked}
    return [shown(by_name, rows), many_at_once(by_name, rows)]


def kinds(server: Server, stack: ExitStack, rows: int) -> Iterator[Asked]:
    """Every kind of request that is measured, floors first."""
    ours = psutil.Process(server.process.pid), int(server.env["DHASH_PORT"])
    bare = stack.enter_context(bare_server("reads"))
    floor = psutil.Process(bare.pid), bare.port
    takes = stack.enter_context(bare_server("takes"))
    least_of_all = psutil.Process(takes.pid), takes.port
    chance, fresh = random.Random(7), iter(range(1 << 40))
    known = np.random.default_rng(0).integers(0, 2**64, min(rows, 20_000), dtype=np.uint64).tolist()
    camera, alike = Camera(7), jpeg(320, 240, 5)
    scene = photo(3200, 2400, 3)

    def searches(values: Callable[[], int]) -> Callable[[], list[Request]]:
        path = f"/api/dhash/search?radius={RADIUS}&hash="
        return lambda: [("GET", f"{path}{values():016x}", b"") for _ in range(LIGHT)]

    def small() -> bytes:
        left, top = chance.randrange(2880), chance.randrange(2160)
        return encode(scene.crop((left, top, left + 320, top + 240)), "JPEG", quality=85)

    def submits(number: int, picture: Callable[[], bytes]) -> Callable[[], list[Request]]:
        return lambda: [("POST", "/api/dhash", picture()) for _ in range(number)]

    def again() -> bytes:
        return distinct(alike, next(fresh))

    def many() -> Request:
        asked = {"hashes": [f"{chance.getrandbits(64):016x}" for _ in range(HASHES)], "radius": RADIUS}
        return "POST", "/api/dhash/search/batch", json.dumps(asked).encode()

    def batch() -> Request:
        items = [{"input": b64encode(small()).decode()} for _ in range(BATCH)]
        return "POST", "/api/dhash/batch", json.dumps({"batch": items}).encode()

    live, least = "GET /health/live", "floor: uvicorn answers"
    yield Asked(least, *least_of_all, lambda: [("GET", "/", b"")] * LIGHT)
    yield Asked(live, *ours, lambda: [("GET", "/health/live", b"")] * LIGHT, least)
    yield Asked(SEARCH, *ours, searches(lambda: chance.getrandbits(64)), live, 0.60)
    yield Asked("GET search by hash, one near", *ours, searches(lambda: chance.choice(known)), live)
    yield Asked(
        f"{HASHES} hashes in one search", *ours, lambda: [many() for _ in range(24)], live, number=HASHES
    )
    small_floor, large_floor = "floor: uvicorn reads a small one", "floor: uvicorn reads a 2 MP one"
    yield Asked(small_floor, *floor, submits(200, small))
    yield Asked("submit small JPEGs, nothing near", *ours, submits(200, small), small_floor, 0.60)
    yield Asked("submit small JPEGs, all alike", *ours, submits(200, again), small_floor, 0.60)
    yield Asked(
        f"batch of {BATCH} small JPEGs",
        *ours,
        lambda: [batch() for _ in range(3)],
        small_floor,
        0.75,
        number=BATCH,
    )
    yield Asked(large_floor, *floor, submits(40, camera.picture))
    yield Asked("submit 2 MP JPEGs", *ours, submits(40, camera.picture), large_floor, 0.90)


def shown(asked: dict[str, Asked], rows: int) -> Table:
    """Rates and processor time of all, each beside its floor."""
    lines, targets, drawn = [], [], []
    for each in asked.values():
        floor = asked.get(each.floor)
        share = f"{each.rate / floor.rate:.0%}" if floor else ""
        least = asked.get(floor.floor, floor) if floor else None  # of another server: ours may change
        cost = f"{each.spent / least.spent:.2f} ×" if least else ""
        waits = (statistics.median(one.percentile(q) for one in each.loads) for q in (0.5, 0.99))
        lines.append(
            (each.name, f"{each.rate:.0f}", share, duration(each.spent), cost, *map(duration, waits))
        )
        if floor:
            drawn.append(Bar(each.name, each.rate / floor.rate, each.wanted))
        if floor and each.wanted:
            met = each.rate >= each.wanted * floor.rate
            targets.append(Target(f"{each.name}, of its floor", f"≥ {each.wanted:.0%}", share, met))
    return Table(
        f"Requests by path, {CLIENTS} clients, {rows:,} rows in the store, durable writes on",
        ("", "a second", "of its floor", "CPU of one", "of its floor's", "p50", "p99"),
        lines,
        targets,
        note="Clients run on the same cores. CPU: the server's, of one request, picture or hash.",
        drawing=lambda: bars(f"Requests a second, of their floor's ({rows:,} rows)", drawn),
    )


def many_at_once(asked: dict[str, Asked], rows: int) -> Table:
    """Many in one request, beside the bare function on all cores and the index alone."""
    chance = random.Random(9)
    values = np.random.default_rng(0).integers(0, 2**64, rows, dtype=np.uint64)
    index = HammingIndex()
    index.append(np.arange(rows), values)
    index.settle()
    wanted = [chance.getrandbits(64) for _ in range(2_000)]
    begin = time.process_time()
    for value in wanted:
        index.search(value, RADIUS, 20)
    alone = (time.process_time() - begin) / len(wanted)
    scene = photo(3200, 2400, 4)
    pictures = [
        encode(scene.crop((left, left // 2, left + 320, left // 2 + 240)), "JPEG", quality=85)
        for left in range(0, 2000, 4)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(read_picture, pictures))
        begin = time.perf_counter()
        list(threads.map(read_picture, pictures))
        bare = len(pictures) / (time.perf_counter() - begin)
    hashes, batch = asked[f"{HASHES} hashes in one search"], asked[f"batch of {BATCH} small JPEGs"]
    return Table(
        "Many in one request",
        ("", "measured", "of the bare work"),
        [
            ("a hash of 100 in one search, CPU", duration(hashes.spent), f"{hashes.spent / alone:.2f} ×"),
            ("the index alone, CPU", duration(alone), ""),
            (f"small JPEGs in batches of {BATCH}", f"{batch.rate:.0f}/s", f"{batch.rate / bare:.0%}"),
            (f"the bare function with thumbnails, {os.cpu_count()} threads", f"{bare:.0f}/s", ""),
        ],
        [
            Target(
                "a hash, of the index alone",
                "≤ 1.3 ×",
                f"{hashes.spent / alone:.2f} ×",
                hashes.spent <= 1.3 * alone,
            ),
            Target(
                "batches, of the bare function",
                "≥ 75 %",
                f"{batch.rate / bare:.0%}",
                batch.rate >= 0.75 * bare,
            ),
        ],
    )


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of a server and its workers so far."""
    times = process.cpu_times()
    return float(times.user + times.system)
