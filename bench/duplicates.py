"""All pairs of near fingerprints: processor time and memory of finding duplicate groups."""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

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


def measure_parquet(count: int) -> None:
    """Print the same of the whole command, on a file as `dhash index --out` writes them."""
    with tempfile.TemporaryDirectory(prefix="dhash-parquet-") as folder:
        file = Path(folder, "prints.parquet")
        values = made_up(count)
        names = pa.array([f"s3://pictures/{number}.jpg" for number in range(len(values))])
        parquet.write_table(pa.table({"name": names, "hash": pa.array(values)}), file, compression="zstd")
        command = [str(Path(sys.executable).with_name("dhash")), "duplicates", "--parquet", str(file)]
        with Path(folder, "groups").open("w+") as groups:
            subprocess.run(command, stdout=groups, check=True)
            groups.seek(0)
            found = sum(1 for _ in groups)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(found, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def measured(call: str) -> tuple[int, float, int]:
    """What one of the functions above prints, in a process of its own."""
    command = [sys.executable, "-c", f"from bench import duplicates; duplicates.{call}"]
    found, seconds, peak = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split()
    return int(found), float(seconds), int(peak)


def tables(quick: bool) -> list[Table]:
    rows, targets, commands = [], [], []
    for count in (100_000, 1_000_000) if quick else (100_000, 1_000_000, 10_000_000):
        pairs, seconds, peak = measured(f"measure({count})")
        rows.append((f"{count:,}", f"{pairs:,}", f"{seconds:.1f} s", f"{peak / 1e6:,.0f} MB"))
        groups, spent, most = measured(f"measure_parquet({count})")
        commands.append((f"{count:,}", f"{groups:,}", f"{spent:.1f} s", f"{most / 1e6:,.0f} MB"))
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
        ),
        Table(
            f"`dhash duplicates --parquet`, within {RADIUS} bits, names and start included",
            ("fingerprints", "groups", "processor time", "peak memory"),
            commands,
        ),
    ]
