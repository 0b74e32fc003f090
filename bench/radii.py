"""How does exact search grow with the radius and with the number of fingerprints, and what bounds it?"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import faiss
import numpy as np
from numpy.typing import NDArray

from bench.search import EVERYTHING, Bank, as_bytes, build, in_turns, percentile, random_bank, recall
from bench.table import Table, Timing, duration, side_by_side
from dhash_service.search.index import HammingIndex
from dhash_service.search.segment import Values, scan

RADII = (4, 8, 10)
NEAREST = 10
MULTI_HASH_MOST = 10_000_000  # rows; above it takes more memory than all the others together

Search = Callable[[int], Sequence[int]]


def tables(quick: bool) -> list[Table]:
    sizes = (1_000_000,) if quick else (1_000_000, 10_000_000, 30_000_000)
    return [one_size(size, 20 if quick else 60) for size in sizes]


def one_size(size: int, queries: int) -> Table:
    bank = Bank(f"{size // 1_000_000}M random", random_bank(size))
    index, _ = build(bank)
    flat = faiss.IndexBinaryFlat(64)
    flat.add(as_bytes(bank.values))
    faiss.omp_set_num_threads(1)
    asked = bank.queries(queries)
    rows = []
    for radius in RADII:
        timings, found = in_turns(within(index, flat, bank.values, radius), asked)
        rows += rows_of(f"within {radius} bits", timings, found)
    timings, _ = in_turns(nearest(index, flat), asked)
    rows += rows_of(f"the {NEAREST} nearest", timings)  # of equally far ones each may give others
    floor = side_by_side({"read": partial(np.bitwise_xor.reduce, bank.values)})["read"].median
    rows.append(("", "floor: every fingerprint read once", duration(floor), "", "", ""))
    return Table(
        f"Exact search among {bank.name}, one thread",
        ("", "", "median", "p99", "of FAISS flat", "recall"),
        rows,
        note="No way that reads every fingerprint is faster than the floor; the index reads few of them.",
    )


def rows_of(
    label: str, timings: Mapping[str, Timing], found: Mapping[str, list[list[int]]] | None = None
) -> list[tuple[str, ...]]:
    """A row for each contestant; FAISS flat is the measure of time and truth."""
    return [
        (
            label,
            name,
            duration(timing.median),
            duration(percentile(timing.seconds, 99)),
            f"{timings['FAISS flat'].median / timing.median:.2f}×",
            f"{recall(found[name], found['FAISS flat']):.3f}" if found else "",
        )
        for name, timing in timings.items()
    ]


def within(index: HammingIndex, flat: faiss.IndexBinary, values: Values, radius: int) -> dict[str, Search]:
    """Everybody's search within a radius."""
    contestants: dict[str, Search] = {
        "dhash": lambda value: [hit.key for hit in index.search(value, radius, EVERYTHING).hits],
        # FAISS counts what is nearer than its radius, not what is at it.
        "FAISS flat": lambda value: flat.range_search(as_query(value), radius + 1)[2].tolist(),
    }
    if len(values) <= MULTI_HASH_MOST:
        multi = faiss.IndexBinaryMultiHash(64, 4, 16)
        multi.nflip = radius // 4
        multi.add(as_bytes(values))
        contestants["FAISS multi-hash"] = lambda value: multi.range_search(as_query(value), radius + 1)[
            2
        ].tolist()
    contestants["NumPy, comparing each"] = lambda value: scan(values, value, radius)[0].tolist()
    return contestants


def nearest(index: HammingIndex, flat: faiss.IndexBinary) -> dict[str, Search]:
    """Everybody's search for the nearest, however far."""
    return {
        "dhash": lambda value: [hit.key for hit in index.nearest(value, NEAREST).hits],
        "FAISS flat": lambda value: flat.search(as_query(value), NEAREST)[1][0].tolist(),
    }


def as_query(value: int) -> NDArray[np.uint8]:
    """One fingerprint as FAISS wants it."""
    return as_bytes(np.array([value], np.uint64))
