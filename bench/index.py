"""How fast does `dhash index` take a folder in, beside plain pools, and what do names and sightings cost?

Every contestant is a whole command, from its start to its end, with as many processes as there are cores.
What names cost is told by processor time: by the clock, the same command twice differs by more.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from tests.pictures import encode, photo

from bench.table import Table, Target
from dhash_service.store.files import SETTLED

BARE, AGAIN, NAMES = 0.85, 3_000, 0.05
"""The share of the bare function, known pictures a second, and the share that names may cost."""

POOL = """
import sys
from multiprocessing import Pool
from pathlib import Path
{imports}
def read(path):
    return {call}
if __name__ == "__main__":
    with Pool() as pool:
        print(sum(1 for _ in pool.imap(read, sorted(Path(sys.argv[1]).iterdir()), 16)))
"""
PLAIN = POOL.format(
    imports="from dhash_service.pictures.fingerprint import NEW, read_picture",
    call="read_picture(path.read_bytes(), NEW)",
)
IMAGEHASH = POOL.format(
    imports="import imagehash\nfrom PIL import Image", call="str(imagehash.dhash(Image.open(path)))"
)
NAMELESS = """
import sys
from dhash_service import bulk
from dhash_service.facts import UNLABELLED
bulk.path_label = lambda path, root: UNLABELLED
from dhash_service.cli import main
main()
"""


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds from a command's start to its end, and of processor time, its processes' included."""

    time: float
    cpu: float


def tables(quick: bool) -> list[Table]:
    count, rounds = (1_000, 2) if quick else (4_000, 5)
    with tempfile.TemporaryDirectory(prefix="dhash-index-") as folder:
        pictures = Path(folder, "pictures")
        pictures.mkdir()
        with ThreadPoolExecutor() as threads:
            list(threads.map(partial(draw, pictures), range(count // 20)))
        time.sleep(SETTLED + 1)  # a file that has just changed is read again
        runs: dict[str, list[Run]] = {}
        for _ in range(rounds):  # taking turns, so that a noisy moment is everybody's
            for name, run in contestants(Path(folder), pictures, count):
                runs.setdefault(name, []).append(measured(run))
    return [table(count, runs)]


def measured(run: Callable[[], None]) -> Run:
    begin, before = time.perf_counter(), os.times()
    run()
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(time.perf_counter() - begin, cpu)


def draw(folder: Path, seed: int) -> None:
    """Twenty different JPEGs of 400×300."""
    large = photo(800, 600, seed)
    for number in range(20):
        left, top = 21 * number, 15 * (number * 7 % 20)
        part = large.crop((left % 400, top, left % 400 + 400, top + 300))
        (folder / f"{seed:04}-{number:02}.jpg").write_bytes(encode(part, "JPEG", quality=85))


def contestants(folder: Path, pictures: Path, count: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Each by name; the same store is indexed twice."""
    yield "the function with thumbnails, a plain pool", partial(pool, PLAIN, pictures, count)
    yield "imagehash, a plain pool", partial(pool, IMAGEHASH, pictures, count)
    for name, start in (("without names", ["-c", NAMELESS]), ("dhash index", ["-m", "dhash_service"])):
        store = new_store(folder)
        yield name, partial(index, start, store, pictures, count)
        if start[0] == "-m":
            yield "again, all known", partial(index, start, store, pictures, 0)


def new_store(folder: Path) -> dict[str, str]:
    """The environment that names a store just made."""
    path = Path(tempfile.mkdtemp(dir=folder), "dhash.db")
    env = {**os.environ, "DHASH_STORE": f"sqlite:///{path}"}
    subprocess.run([sys.executable, "-m", "dhash_service", "db", "upgrade"], env=env, check=True, stdout=-3)
    return env


def pool(script: str, pictures: Path, count: int) -> None:
    said = subprocess.run(
        [sys.executable, "-c", script, str(pictures)], check=True, capture_output=True, text=True
    )
    assert int(said.stdout) == count, said


def index(start: list[str], env: dict[str, str], pictures: Path, added: int) -> None:
    said = subprocess.run(
        [sys.executable, *start, "index", str(pictures), "--json"],
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(said.stdout)["pictures"] == added, said


def table(count: int, runs: dict[str, list[Run]]) -> Table:
    seconds = {name: median(each.time for each in rounds) for name, rounds in runs.items()}
    cpu = {name: min(each.cpu for each in rounds) for name, rounds in runs.items()}  # others only add to it
    function, imagehash = list(runs)[:2]
    ours, again, nameless = "dhash index", "again, all known", "without names"
    share, names = seconds[function] / seconds[ours], cpu[ours] / cpu[nameless] - 1
    return Table(
        f"{count:,} JPEGs of 400×300 on {os.cpu_count()} cores, whole commands",
        ("by", "time", "pictures/s", "of the function", "processor time", "of the function's"),
        [
            (
                name,
                f"{seconds[name]:.2f} s",
                f"{count / seconds[name]:,.0f}",
                f"{seconds[function] / seconds[name]:.0%}",
                f"{cpu[name]:.2f} s",
                f"{cpu[function] / cpu[name]:.0%}",
            )
            for name in runs
        ],
        [
            Target("of the function with thumbnails", f"≥ {BARE:.0%}", f"{share:.0%}", share >= BARE),
            Target(
                "of the pool of imagehash",
                "≥ 100%",
                f"{seconds[imagehash] / seconds[ours]:.0%}",
                seconds[ours] <= seconds[imagehash],
            ),
            Target(
                "again, all known",
                f"≥ {AGAIN:,}/s",
                f"{count / seconds[again]:,.0f}/s",
                count / seconds[again] >= AGAIN,
            ),
            Target("names and sightings, processor time", f"≤ {NAMES:.0%}", f"{names:.1%}", names <= NAMES),
        ],
        note="Time: the median of the rounds. Processor time: the least of them.",
    )
