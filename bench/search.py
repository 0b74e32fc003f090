"""How fast is exact search, beside FAISS; what does it hold; what do writers and rebuilds do to it?"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import faiss
import numpy as np
import psutil
from numpy.typing import NDArray

from bench.table import Table, Target, Timing, duration
from dhash_service.search.index import HammingIndex
from dhash_service.search.segment import Values, scan

RADIUS = 10
EVERYTHING = 1_000_000  # a limit that no answer here reaches

Search = Callable[[int], Sequence[int]]  # fingerprint → keys within RADIUS


def tables(quick: bool) -> list[Table]:
    sizes = (1_000_000,) if quick else (1_000_000, 10_000_000)
    searches, holds = [], []
    for size in sizes:
        for name, make in (("random", random_bank), ("clustered", clustered_bank)):
            if quick and name == "clustered":
                continue
            bank = Bank(f"{size // 1_000_000}M {name}", make(size))
            index, held = build(bank)
            holds.append(held)
            searches.append(against_peers(bank, index, peers=name == "random" and size == 1_000_000))
            if name == "random" and size == 1_000_000:
                under_load = while_written(index, bank, seconds=1.0 if quick else 3.0)
            del index
    return [*searches, what_it_holds(holds), hostile_banks(200_000 if quick else 1_000_000), under_load]


# ---- banks


def random_bank(size: int) -> Values:
    return np.random.default_rng(1).integers(0, 1 << 64, size, dtype=np.uint64)


def clustered_bank(size: int) -> Values:
    """Families of 20 near duplicates, each four bits from its parent on average."""
    return random_bank(size // 20).repeat(20) ^ few_bits(np.random.default_rng(2), size)


def few_bits(random: np.random.Generator, size: int) -> Values:
    """Masks in which each bit is set with probability 1/16."""
    masks: Values = np.bitwise_and.reduce(random.integers(0, 1 << 64, (4, size), dtype=np.uint64))
    return masks


@dataclass(frozen=True)
class Bank:
    name: str
    values: Values

    def queries(self, number: int) -> list[int]:
        """Half of them near duplicates of known ones, half unrelated."""
        random = np.random.default_rng(3)
        known = random.choice(self.values, number // 2) ^ few_bits(random, number // 2)
        unrelated = random.integers(0, 1 << 64, number - len(known), dtype=np.uint64)
        mixed: list[int] = random.permutation(np.concatenate((known, unrelated))).tolist()
        return mixed


# ---- search


def against_peers(bank: Bank, index: HammingIndex, *, peers: bool) -> Table:
    flat = faiss.IndexBinaryFlat(64)
    flat.add(as_bytes(bank.values))
    contestants: dict[str, Search] = {
        "dhash": lambda value: [hit.key for hit in index.search(value, RADIUS, EVERYTHING).hits],
        "FAISS flat, 1 thread": faiss_search(flat, threads=1),
        "FAISS flat, all threads": faiss_search(flat, threads=0),
    }
    if peers:
        multi = faiss.IndexBinaryMultiHash(64, 4, 16)
        multi.nflip = RADIUS // 4
        multi.add(as_bytes(bank.values))
        contestants["FAISS multi-hash, 1 thread"] = faiss_search(multi, threads=1)
    contestants["NumPy, comparing each"] = lambda value: scan(bank.values, value, RADIUS)[0].tolist()

    timings, found = in_turns(contestants, bank.queries(200))
    truth = found["NumPy, comparing each"]
    peer = timings["FAISS flat, 1 thread"].median
    rows = [
        (
            name,
            duration(timing.median),
            duration(percentile(timing.seconds, 99)),
            f"{peer / timing.median:.1f} ×",
            f"{recall(found[name], truth):.3f}",
        )
        for name, timing in timings.items()
    ]
    wanted = 10 if len(bank.values) >= 10_000_000 else 3
    ratio = peer / timings["dhash"].median
    complete = recall(found["dhash"], truth)
    return Table(
        f"Exact search within {RADIUS} bits, {bank.name}",
        ("", "median", "p99", "against FAISS flat", "recall"),
        rows,
        (
            Target("times as fast as FAISS flat", f"≥ {wanted}", f"{ratio:.1f}", ratio >= wanted),
            Target("recall", "1", f"{complete:g}", complete == 1 and found["dhash"] == truth),
        ),
        "One query at a time, ours in one thread. FAISS parallelises over queries, not within one.",
    )


def faiss_search(index: faiss.IndexBinary, threads: int) -> Search:
    def search(value: int) -> Sequence[int]:
        faiss.omp_set_num_threads(threads or psutil.cpu_count() or 1)
        # FAISS counts what is nearer than its radius, not what is at it.
        found: Sequence[int] = index.range_search(as_bytes(np.array([value], np.uint64)), RADIUS + 1)[
            2
        ].tolist()
        return found

    return search


def as_bytes(values: Values) -> NDArray[np.uint8]:
    return values.view(np.uint8).reshape(-1, 8)


def in_turns(
    contestants: dict[str, Search], queries: Sequence[int]
) -> tuple[dict[str, Timing], dict[str, list[list[int]]]]:
    """Every contestant answers every query, 20 at a turn: long enough to find its own data in the cache."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    found: dict[str, list[list[int]]] = {name: [] for name in contestants}
    for start in range(0, len(queries), 20):
        some = queries[start : start + 20]
        for name, search in contestants.items():
            search(some[0])
            for value in some:
                begin = time.perf_counter()
                keys = search(value)
                seconds[name].append(time.perf_counter() - begin)
                found[name].append(sorted(keys))
    return {name: Timing(tuple(each)) for name, each in seconds.items()}, found


def recall(found: list[list[int]], truth: list[list[int]]) -> float:
    """The share of true neighbours that were found."""
    hits = sum(len(set(some) & set(true)) for some, true in zip(found, truth, strict=True))
    return hits / sum(map(len, truth))


def percentile(seconds: Sequence[float], percent: float) -> float:
    return float(np.percentile(seconds, percent))


# ---- memory and building


@dataclass(frozen=True)
class Held:
    bank: str
    size: int
    seconds: float
    bytes_each: float
    resident_each: float


def build(bank: Bank) -> tuple[HammingIndex, Held]:
    size = len(bank.values)
    keys = np.arange(size)
    resident = psutil.Process().memory_info().rss
    begin = time.perf_counter()
    index = HammingIndex()
    index.append(keys, bank.values)
    index.settle()
    seconds = time.perf_counter() - begin
    resident = psutil.Process().memory_info().rss - resident
    return index, Held(bank.name, size, seconds, index.nbytes / size, resident / size)


def what_it_holds(holds: Sequence[Held]) -> Table:
    most = max(holds, key=lambda held: held.bytes_each)
    targets = [
        Target("bytes a fingerprint", "≤ 60", f"{most.bytes_each:.1f} ({most.bank})", most.bytes_each <= 60)
    ]
    targets += [
        Target(f"building {held.bank}", "≤ 5 s", f"{held.seconds:.1f} s", held.seconds <= 5)
        for held in holds
        if held.size >= 10_000_000
    ]
    return Table(
        "Building the index, and what it holds",
        ("", "build", "bytes a fingerprint", "resident, a fingerprint"),
        [
            (held.bank, duration(held.seconds), f"{held.bytes_each:.1f}", f"{held.resident_each:.1f}")
            for held in holds
        ],
        targets,
        "From keys and values in memory to the finished segment; FAISS flat holds 8 bytes, and no keys.",
    )


# ---- banks that are hard to search


def hostile_banks(size: int) -> Table:
    everything = random_bank(size)
    banks = (
        ("all share a band", everything & np.uint64(0xFFFF_FFFF_FFFF)),
        ("all share two bands", everything & np.uint64(0xFFFF_FFFF)),
        ("half share one fingerprint", np.where(np.arange(size) % 2, everything, everything[0])),
        ("all share one fingerprint", np.full(size, everything[0])),
    )
    rows = []
    for name, values in banks:
        bank = Bank(name, values)
        index, _ = build(bank)
        flat = faiss.IndexBinaryFlat(64)
        flat.add(as_bytes(values))

        def ours(value: int, index: HammingIndex = index) -> Sequence[int]:
            return [hit.key for hit in index.search(value, RADIUS, 16).hits]

        timings, _ = in_turns({"ours": ours, "flat": faiss_search(flat, threads=1)}, bank.queries(60))
        rows.append(
            (
                name,
                duration(timings["ours"].median),
                duration(percentile(timings["ours"].seconds, 99)),
                duration(timings["flat"].median),
                f"{timings['flat'].median / timings['ours'].median:.1f} ×",
            )
        )
    return Table(
        f"Search within {RADIUS} bits, the nearest 16, {size:,} fingerprints that are hard to tell apart",
        ("", "median", "p99", "FAISS flat, 1 thread", "against FAISS"),
        rows,
    )


# ---- searching while it is written


def while_written(index: HammingIndex, bank: Bank, seconds: float) -> Table:
    random = np.random.default_rng(4)
    fresh = count(len(bank.values))

    def insert(rows: int) -> None:
        first = next(fresh) * rows
        index.append(np.arange(first, first + rows), random.integers(0, 1 << 64, rows, dtype=np.uint64))

    def nothing() -> None:
        time.sleep(0.01)

    def inserts() -> None:
        time.sleep(0.01)
        insert(10)

    def rebuilds() -> None:
        insert(33_000)
        index.settle()

    rows = []
    before = index.rebuilds
    for label, threads, pause, write in (
        ("1 thread", 1, 0.0, nothing),
        ("8 threads", 8, 0.0, nothing),
        ("8 threads, 1 ms apart", 8, 0.001, nothing),
        ("8 threads, 1 ms apart, 1,000 inserts/s", 8, 0.001, inserts),
        ("8 threads, 1 ms apart, rebuilding all the time", 8, 0.001, rebuilds),
    ):
        taken = searched_while(index, bank.queries(2000), threads, pause, write, seconds)
        rows.append(
            (
                label,
                f"{len(taken) / seconds:,.0f}",
                *(duration(percentile(taken, percent)) for percent in (50, 99, 99.9)),
            )
        )
    return Table(
        f"Search within {RADIUS} bits while others search and write, {bank.name}",
        ("", "searches/s", "median", "p99", "p99.9"),
        rows,
        note=f"{index.rebuilds - before} segments were swapped in. Threads that never pause take turns "
        "of 5 ms at Python's lock; requests to a service come one by one, which the pauses stand for.",
    )


def searched_while(
    index: HammingIndex,
    queries: Sequence[int],
    threads: int,
    pause: float,
    write: Callable[[], None],
    seconds: float,
) -> list[float]:
    """How long each search took in `threads` that pause after each, while `write` is called over and over."""
    end = time.perf_counter() + seconds
    taken: list[float] = []

    def search(first: int) -> None:
        mine = []
        for number in range(first, 1 << 62):
            begin = time.perf_counter()
            if begin > end:
                break
            index.search(queries[number % len(queries)], RADIUS, 16)
            mine.append(time.perf_counter() - begin)
            if pause:
                time.sleep(pause)
        taken.extend(mine)

    searchers = [threading.Thread(target=search, args=(number * 97,)) for number in range(threads)]
    for searcher in searchers:
        searcher.start()
    while time.perf_counter() < end:
        write()
    for searcher in searchers:
        searcher.join()
    return taken
