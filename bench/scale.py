"""Fingerprints of pictures in an object store: a Dask cluster of two workers beside the bare function.

Everything runs on this machine, the object store too, so rates are those of its cores; ratios count.
"""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import psutil
from tests.dhash_service.serving import free_port
from tests.guarded_rollout.storage import KEY, SECRET, listens, s3_server

from bench.index import draw
from bench.table import Table, Target
from dhash_service.pictures.fingerprint import NEW, read_picture
from dhash_service.scale.places import place_of

PROCESSES = 2
RATE = 0.8  # of the bare function
GROWTH = 1.15  # of the driver's memory, from the smaller collection to one ten times as large
DIFFERENT = 500  # pictures; more names hold the same


@dataclass(frozen=True, slots=True)
class Run:
    """Pictures, seconds, processor seconds of the workers, and the driver's peak of memory in bytes."""

    pictures: int
    seconds: float
    processor: float = 0.0
    memory: int = 0


def tables(quick: bool) -> list[Table]:
    count, rounds = (2_000, 1) if quick else (20_000, 3)
    with tempfile.TemporaryDirectory(prefix="dhash-scale-") as folder, ExitStack() as stack:
        store = stack.enter_context(s3_server(Path(folder, "s3")))
        os.environ |= {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": store.endpoint,
            "AWS_REGION": "us-east-1",
        }
        for name, number in (("small", count // 10), ("large", count)):
            fill(Path(folder), f"s3://pictures/{name}", number)
        cluster = stack.enter_context(Cluster(Path(folder), count // 60).started())
        cluster.run("s3://pictures/small", "s3://pictures/out/warm")  # both have imported what they need
        runs: dict[str, list[Run]] = {}
        for turn in range(rounds):  # taking turns, so that a noisy moment is everybody's
            runs.setdefault("bare", []).append(bare("s3://pictures/large"))
            large = cluster.run("s3://pictures/large", f"s3://pictures/out/{turn}")
            runs.setdefault("dask", []).append(large)
        small = cluster.run("s3://pictures/small", "s3://pictures/out/small")
        killed = cluster.run("s3://pictures/large", "s3://pictures/out/killed", kill=True)
        lost, twice = missing("s3://pictures/large", "s3://pictures/out/killed")
    return [rates(count, runs, killed, lost, twice), memories(count, small, runs["dask"])]


def fill(folder: Path, url: str, count: int) -> None:
    """So many JPEGs of 400×300."""
    pictures = folder / "pictures"
    if not pictures.exists():
        pictures.mkdir()
        with ThreadPoolExecutor() as threads:
            list(threads.map(partial(draw, pictures), range(DIFFERENT // 20)))
    data = [path.read_bytes() for path in sorted(pictures.iterdir())]
    with ThreadPoolExecutor(8) as threads:
        put = place_of(url).write
        list(threads.map(lambda n: put(f"{url}/{n:06}.jpg", data[n % len(data)]), range(count)))


class Cluster:
    """A scheduler and two workers over TCP, each a process of its own."""

    def __init__(self, folder: Path, per_task: int) -> None:
        self._folder = folder
        self._per_task = per_task
        self._port = free_port()
        self._workers: list[subprocess.Popen[bytes]] = []
        self._all: list[subprocess.Popen[bytes]] = []

    @contextmanager
    def started(self) -> Iterator["Cluster"]:
        """Running, until the block ends."""
        try:
            self._start("scheduler", "--host", "127.0.0.1", "--port", str(self._port))
            while not listens(self._port):
                time.sleep(0.05)
            self._workers = [self._worker() for _ in range(PROCESSES)]
            yield self
        finally:
            for process in self._all:
                process.kill()
                process.wait()

    def run(self, source: str, out: str, *, kill: bool = False) -> Run:
        """A driver's run; one worker is killed in its middle where that is asked for, and another started."""
        before = self._processor()
        engine = f"dask://127.0.0.1:{self._port}"
        script = f"from bench.scale import drive; drive({source!r}, {out!r}, {engine!r}, {self._per_task})"
        driver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        if kill:
            while sum(1 for _ in _listed(out)) < 5:
                time.sleep(0.05)
            self._workers[0].kill()
        said, _ = driver.communicate()
        told = json.loads(said)
        processor = 0.0 if kill else self._processor() - before
        return Run(told["pictures"], told["seconds"], processor, told["memory"])

    def _processor(self) -> float:
        return sum(sum(psutil.Process(each.pid).cpu_times()[:2]) for each in self._workers)

    def _worker(self) -> "subprocess.Popen[bytes]":
        options = ("--nthreads", "1", "--no-nanny", "--host", "127.0.0.1")
        return self._start("worker", f"tcp://127.0.0.1:{self._port}", *options)

    def _start(self, kind: str, *words: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "dask", kind, *words, "--no-dashboard"]
        with Path(self._folder, f"{kind}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        self._all.append(process)
        return process


def _listed(url: str) -> Iterator[str]:
    try:
        yield from (item.url for item in place_of(url).find(url))
    except Exception:  # nothing there yet
        return


def drive(source: str, out: str, engine: str, per_task: int) -> None:
    """A run as `dhash index --out` does it; prints what it took, from when the workers are there."""
    from dhash_service.scale.engines import opened
    from dhash_service.scale.items import cut
    from dhash_service.scale.run import index_into_parts, rules_of
    from dhash_service.scale.sources import Source
    from dhash_service.settings import Settings

    rules = rules_of(Settings.load(), NEW, thumbnail=False)
    with opened(engine, PROCESSES) as cluster:
        begin = time.perf_counter()
        *_, last = index_into_parts(cut(Source([source]).items(), per_task), rules, cluster, out, "")
        seconds = time.perf_counter() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"pictures": last.progress.done, "seconds": seconds, "memory": memory}))


def bare(source: str) -> Run:
    """The function in a plain pool, each process fetching what it decodes."""
    command = [sys.executable, "-c", f"from bench.scale import pool; pool({source!r})"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return Run(int(said[0]), float(said[1]), float(said[2]))


def pool(source: str) -> None:
    """Print how many pictures a pool read, in how many seconds, of the clock and of its processes.

    They are spawned: forking would copy obstore's threads.
    """
    urls = [item.url for item in place_of(source).find(source)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as processes:
        processes.map(read, urls[: 2 * PROCESSES], 1)  # they have started
        begin, before = time.perf_counter(), _children()
        done = sum(1 for _ in processes.imap_unordered(read, urls, 64))
        print(done, time.perf_counter() - begin, _children() - before)


def _children() -> float:
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children())


def read(url: str) -> int:
    """The bare function on a picture of an object store."""
    return read_picture(place_of(url).read(url, 1 << 30), NEW, thumbnail=False).fingerprint.value


def missing(source: str, out: str) -> tuple[int, int]:
    """Files without a row, and those with more than one."""
    from dhash_service.scale.parts import batches

    rows = Counter(name for batch in batches(out, ["name"]) for name in batch.column(0).to_pylist())
    names = {item.url for item in place_of(source).find(source)}
    return len(names - rows.keys()), sum(number > 1 for number in rows.values())


def rates(count: int, runs: dict[str, list[Run]], killed: Run, lost: int, twice: int) -> Table:
    seconds = {name: median(run.seconds for run in each) for name, each in runs.items()}
    processor = {name: median(run.processor for run in each) for name, each in runs.items()}
    share = seconds["bare"] / seconds["dask"]
    names = {"bare": "the bare function, a plain pool", "dask": "dhash index --engine dask://… --out"}
    rows = [
        (
            said,
            f"{seconds[name]:.1f} s",
            f"{count / seconds[name]:,.0f}",
            f"{1000 * processor[name] / count:.2f} ms",
        )
        for name, said in names.items()
    ]
    rows.append(
        ("the same, one worker killed -9", f"{killed.seconds:.1f} s", f"{count / killed.seconds:,.0f}", "")
    )
    return Table(
        f"{count:,} JPEGs of 400×300 from an object store, {PROCESSES} processes on {os.cpu_count()} cores",
        ("by", "time", "pictures/s", "processor a picture"),
        rows,
        [
            Target("of the bare function", f"≥ {RATE:.0%}", f"{share:.0%}", share >= RATE),
            Target("lost, a worker killed", "0", str(lost), lost == 0),
            Target("twice, a worker killed", "0", str(twice), twice == 0),
        ],
    )


def memories(count: int, small: Run, large: list[Run]) -> Table:
    most = max(run.memory for run in large)
    growth = most / small.memory
    return Table(
        "Memory of the driver",
        ("pictures", "peak"),
        [(f"{count // 10:,}", f"{small.memory / 1e6:,.0f} MB"), (f"{count:,}", f"{most / 1e6:,.0f} MB")],
        [Target("ten times the pictures", f"≤ {GROWTH:.2f} times", f"{growth:.2f} times", growth <= GROWTH)],
    )
