"""How does the cost of each slow path grow with its size? A power of the size, fitted and not guessed.

Seconds = a · sizeᵇ, by least squares over the logarithms of the medians. With b = 1 the cost is in proportion
to the size, with 0 it does not grow; R² tells how well one power describes it (1: exactly).
"""

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from tests.dhash_service.serving import serving
from tests.guarded_rollout.backups import make_release
from tests.pictures import encode, jpeg, photo

from bench.backup import fill_with_thumbnails, snapshot
from bench.clients import Request, distinct, load
from bench.drawing import Line, growth
from bench.fill import fill
from bench.search import RADIUS, Bank, random_bank
from bench.started import started
from bench.table import Table, duration
from dhash_service.pictures.fingerprint import fingerprint
from dhash_service.search.index import HammingIndex
from guarded_rollout.backup.archive import Subject, take
from guarded_rollout.backup.publish import BackupFolder
from guarded_rollout.clock import SystemClock

ASKED, FEWEST = 400, 100_000  # requests that are timed together; rows of the store where clients are varied
CLIENTS = (1.0, 8.0, 64.0)

Measured = Callable[[float], Iterator[Callable[[], object]]]
"""Prepares for a size, untimed, and gives what is timed."""


@dataclass(frozen=True, slots=True)
class Fit:
    """seconds = scale · size ** power. `r2` is the share of the logarithms' variance that it explains."""

    scale: float
    power: float
    r2: float


def fit(seconds: Mapping[float, float]) -> Fit:
    """The power law through these points (size → seconds), two or more."""
    x, y = np.log(list(seconds)), np.log(list(seconds.values()))
    power, scale = np.polyfit(x, y, 1)
    left = float(((y - (scale + power * x)) ** 2).sum())
    all_of_it = float(((y - y.mean()) ** 2).sum())
    return Fit(float(np.exp(scale)), float(power), 1 - left / all_of_it if all_of_it else 1.0)


@dataclass(frozen=True, slots=True)
class SlowPath:
    """One slow path, and how it is measured."""

    name: str
    unit: str
    sizes: Sequence[float]
    at: Measured
    repeats: int


def tables(quick: bool) -> list[Table]:
    rows, lines = [], []
    for path in paths(quick):
        seconds = {size: measured(path, size) for size in path.sizes}
        found = fit(seconds)
        lines.append(Line(f"{path.name} ({path.unit})", list(seconds.items())))
        rows.append(
            (
                path.name,
                ", ".join(f"{size:g}" for size in seconds) + f" {path.unit}",
                ", ".join(duration(took) for took in seconds.values()),
                f"{found.power:.2f}",
                f"{found.r2:.3f}",
            )
        )
    return [
        Table(
            "How the cost grows: seconds = a · sizeᵇ",
            ("", "sizes", "medians", "b", "R²"),
            rows,
            drawing=lambda: growth("How the cost of each path grows with its size", lines),
        )
    ]


def measured(path: SlowPath, size: float) -> float:
    """Median seconds at this size."""
    with contextmanager(path.at)(size) as call:
        call()
        return median(seconds_of(call) for _ in range(path.repeats))


def seconds_of(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def paths(quick: bool) -> list[SlowPath]:
    big = (0.1, 0.3, 1.0) if quick else (1.0, 3.0, 10.0)
    rows = (0.03, 0.1) if quick else (0.1, 0.3, 1.0)
    megabytes = (20.0, 40.0) if quick else (50.0, 200.0, 800.0)
    return [
        SlowPath("fingerprint of a JPEG", "MP", (0.5, 2, 12), fingerprinting, 15),
        SlowPath(f"search within {RADIUS} bits", "M fingerprints", big, searching, 5),
        SlowPath("the 10 nearest", "M fingerprints", big, nearest, 5),
        SlowPath("building the index", "M fingerprints", big, building, 3),
        SlowPath("start to ready", "M rows", rows, starting, 3),
        SlowPath(f"{ASKED} searches, 8 clients", "M rows", rows, by_rows(searches), 5),
        SlowPath(f"{ASKED} searches, {FEWEST:,} rows", "clients", CLIENTS, by_clients(searches), 5),
        SlowPath(f"{ASKED} small JPEGs submitted, 8 clients", "M rows", rows, by_rows(submits), 5),
        SlowPath(
            f"{ASKED} small JPEGs submitted, {FEWEST:,} rows", "clients", CLIENTS, by_clients(submits), 5
        ),
        SlowPath("snapshot of the store", "MB", megabytes, copying, 3),
        SlowPath("backup, read back and verified", "MB", megabytes, backing_up, 3),
    ]


def fingerprinting(megapixels: float) -> Iterator[Callable[[], object]]:
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    data = encode(photo(height * 4 // 3, height, 1, grain=6), "JPEG", quality=80)
    yield lambda: fingerprint(data)


def indexed(millions: float) -> tuple[HammingIndex, list[int]]:
    bank = Bank("", random_bank(int(millions * 1e6)))
    index = HammingIndex()
    index.append(np.arange(len(bank.values)), bank.values)
    index.settle()
    return index, bank.queries(100)


def searching(millions: float) -> Iterator[Callable[[], object]]:
    index, queries = indexed(millions)
    yield lambda: [index.search(value, RADIUS, 16) for value in queries]


def nearest(millions: float) -> Iterator[Callable[[], object]]:
    index, queries = indexed(millions)
    yield lambda: [index.nearest(value, 10) for value in queries[:20]]


def building(millions: float) -> Iterator[Callable[[], object]]:
    values = random_bank(int(millions * 1e6))
    keys = np.arange(len(values))

    def build() -> None:
        index = HammingIndex()
        index.append(keys, values)
        index.settle()

    yield build


def starting(millions: float) -> Iterator[Callable[[], object]]:
    with tempfile.TemporaryDirectory() as folder:
        fill(f"sqlite:///{folder}/dhash.db", int(millions * 1e6))

        def start() -> None:
            with started(Path(folder)):
                pass

        yield start


def searches() -> list[Request]:
    """Of hashes that nothing is near."""
    path = f"/api/dhash/search?radius={RADIUS}&hash="
    return [("GET", f"{path}{random.getrandbits(64):016x}", b"") for _ in range(ASKED)]


def submits() -> list[Request]:
    """Of pictures that look alike: each also finds those before it."""
    picture = jpeg(320, 240, 5)
    return [("POST", "/api/dhash", distinct(picture, random.getrandbits(64))) for _ in range(ASKED)]


def asked(rows: int, clients: int, requests: Callable[[], list[Request]]) -> Iterator[Callable[[], object]]:
    """Requests to a service over so many rows, from so many clients at once."""
    with tempfile.TemporaryDirectory() as folder:
        fill(f"sqlite:///{folder}/dhash.db", rows)
        with serving(Path(folder)) as server:
            port = int(server.env["DHASH_PORT"])
            load(port, requests(), clients)
            yield lambda: load(port, requests(), clients)


def by_rows(requests: Callable[[], list[Request]]) -> Measured:
    return lambda millions: asked(int(millions * 1e6), 8, requests)


def by_clients(requests: Callable[[], list[Request]]) -> Measured:
    return lambda clients: asked(FEWEST, int(clients), requests)


def copying(megabytes: float) -> Iterator[Callable[[], object]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill_with_thumbnails(folder / "dhash.db", int(megabytes))

        def copy() -> None:
            snapshot(folder / "dhash.db", folder / "copy.db")
            (folder / "copy.db").unlink()

        yield copy


def backing_up(megabytes: float) -> Iterator[Callable[[], object]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill_with_thumbnails(folder / "dhash.db", int(megabytes))
        snapshot(folder / "dhash.db", folder / "frozen.db")
        release = make_release(folder / "releases")

        def back_up() -> None:
            subject = Subject(
                "production", release, None, lambda file: os.link(folder / "frozen.db", file), (), None, ""
            )
            with tempfile.TemporaryDirectory(dir=folder) as place:
                take(subject, BackupFolder(Path(place) / "backups", Path(place)), SystemClock())

        yield back_up
