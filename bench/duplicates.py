"""All pairs of near fingerprints: processor time and memory of finding duplicate groups."""

import resource
import subprocess
import sys
import time

import numpy as np

from bench.table import Table, Target
from dhash_service.search.pairs import Values, components, near_pairs

RADIUS = 4
LIMIT_SECONDS, LIMIT_BYTES = 10.0, 1_000_000_000


def made_up(count: int) -> Values:
    """Distinct random fingerprints, ascending; a tenth of them have a copy with up to three bits turned."""
    random = np.random.default_rng(1)
    values = random.integers(0, 2**64, count, dtype=np.uint64)
    copies = values[: count // 10].copy()
    for _ in range(3):
        copies ^= np.uint64(1) << random.integers(0, 64, len(copies)).astype(np.uint64)
    values[-len(copies) :] = copies
    return np.unique(values)


def measure(count: int) -> None:
    """Print pairs, processor seconds and the peak of memory of this process."""
    values = made_up(count)
    begin = time.process_time()
    one, other = near_pairs(values, RADIUS)
    components(len(values), one, other)
    seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(len(one), seconds, peak)


def tables(quick: bool) -> list[Table]:
    rows, targets = [], []
    for count in (100_000, 1_000_000) if quick else (100_000, 1_000_000, 10_000_000):
        command = [sys.executable, "-c", f"from bench.duplicates import measure; measure({count})"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        pairs, seconds, peak = int(said[0]), float(said[1]), int(said[2])
        rows.append((f"{count:,}", f"{pairs:,}", f"{seconds:.1f} s", f"{peak / 1e6:,.0f} MB"))
        if count == 1_000_000:
            targets = [
                Target("1M: processor time", "≤ 10 s", f"{seconds:.1f} s", seconds <= LIMIT_SECONDS),
                Target("1M: peak memory", "≤ 1 GB", f"{peak / 1e6:,.0f} MB", peak <= LIMIT_BYTES),
            ]
    return [
        Table(
            f"All pairs within {RADIUS} bits and their groups, exact",
            ("fingerprints", "pairs", "processor time", "peak memory"),
            rows,
            targets,
        )
    ]
