"""A backup of a 200 MB store, written and read back, beside zip, borg and restic; and writers meanwhile."""

import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tests.dhash_service.serving import Server, serving
from tests.guarded_rollout.backups import make_release
from tests.pictures import jpeg

from bench.clients import distinct
from bench.fill import fill
from bench.table import Table, Target, Timing, duration
from dhash_service.store.engine import connect, writing
from dhash_service.store.tables import images, thumbnails
from guarded_rollout.backup.archive import Subject, TakenBackup, read_back, take
from guarded_rollout.backup.publish import BackupFolder, forget_cache
from guarded_rollout.clock import SystemClock

THUMBNAIL_BYTES = (2_000, 9_000)
ROWS_PER_MB = 150
WRITERS = 2
PACE_SECONDS = 0.02

Prepare = Callable[[Path], Callable[[], object]]


@dataclass(frozen=True, slots=True)
class Contestant:
    """`prepare` makes an empty place, untimed, and returns what is timed."""

    name: str
    prepare: Prepare
    does: str


def fill_with_thumbnails(store: Path, megabytes: int) -> None:
    """A store of about this size, as most are: mostly thumbnails, which do not compress."""
    fill(f"sqlite:///{store}", megabytes * ROWS_PER_MB)
    random = np.random.default_rng(1)
    engine = connect(f"sqlite:///{store}")
    stamp = {"release": "fill", "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    with writing(engine) as connection:
        ids = connection.execute(images.select().with_only_columns(images.c.id)).scalars().all()
        sizes = random.integers(*THUMBNAIL_BYTES, len(ids))
        rows = [
            {"image_id": id, "webp": random.bytes(int(size)), **stamp}
            for id, size in zip(ids, sizes, strict=True)
        ]
        connection.execute(thumbnails.insert(), rows)
    engine.dispose()


def snapshot(store: Path, target: Path) -> None:
    """The service's own consistent copy, by its own command."""
    subprocess.run(
        [sys.executable, "-m", "dhash_service", "db", "snapshot", str(target)],
        env={**os.environ, "DHASH_STORE": f"sqlite:///{store}"},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def run(*words: str | Path, cwd: Path | None = None, variables: Mapping[str, str] | None = None) -> None:
    environment = {**os.environ, **(variables or {})}
    subprocess.run(words, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL)


def contestants(store: Path, frozen: Path, release_folder: Path) -> list[Contestant]:
    """Ours twice (of bytes that are there, and with the snapshot before), and whichever peer is installed."""
    release = make_release(release_folder)

    def ours(copy: Callable[[Path], object]) -> Prepare:
        def prepare(place: Path) -> Callable[[], object]:
            subject = Subject("production", release, None, copy, (), None, "")
            return lambda: take(subject, BackupFolder(place / "backups", place), SystemClock())

        return prepare

    def zip_and_sum(place: Path) -> Callable[[], object]:
        def both() -> None:
            run("zip", "-q", place / "a.zip", frozen)
            with (place / "a.zip.sha256").open("w") as file:
                subprocess.run(["sha256sum", place / "a.zip"], check=True, stdout=file)

        return both

    def borg(*, check: bool) -> Prepare:
        def prepare(place: Path) -> Callable[[], object]:
            environment = {"BORG_BASE_DIR": str(place), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
            run("borg", "init", "-e", "none", place / "repo", variables=environment)

            def create() -> None:
                run("borg", "create", f"{place}/repo::a", frozen, variables=environment)
                if check:
                    run("borg", "check", "--verify-data", place / "repo", variables=environment)

            return create

        return prepare

    def restic(*, check: bool) -> Prepare:
        def prepare(place: Path) -> Callable[[], object]:
            environment = {"RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(place / "cache")}
            run("restic", "-q", "-r", place / "repo", "init", variables=environment)

            def back_up() -> None:
                run("restic", "-q", "-r", place / "repo", "backup", frozen, variables=environment)
                if check:
                    run("restic", "-q", "-r", place / "repo", "check", "--read-data", variables=environment)

            return back_up

        return prepare

    def reading_back(place: Path) -> Callable[[], object]:
        taken = ours(lambda file: os.link(frozen, file))(place)()
        assert isinstance(taken, TakenBackup)
        with taken.entry.path.open("rb") as file:
            forget_cache(file.fileno())
        return lambda: read_back(taken.entry.path, taken.manifest)

    peers = [
        ("zip", Contestant("zip + sha256sum", zip_and_sum, "nothing read back")),
        ("borg", Contestant("borg create", borg(check=False), "nothing read back")),
        ("borg", Contestant("borg create, check --verify-data", borg(check=True), "read back")),
        ("restic", Contestant("restic backup", restic(check=False), "nothing read back")),
        ("restic", Contestant("restic backup, check --read-data", restic(check=True), "read back")),
    ]
    return [
        Contestant(
            "ours, of the same bytes", ours(lambda file: os.link(frozen, file)), "read back, verified"
        ),
        Contestant("of that, the reading back", reading_back, "what borg create leaves out"),
        Contestant("ours, snapshot first", ours(lambda file: snapshot(store, file)), "consistent, read back"),
        *(peer for program, peer in peers if shutil.which(program)),
    ]


def in_turns(found: list[Contestant], folder: Path, repeats: int) -> dict[str, Timing]:
    """Time each in an empty place of its own, taking turns."""
    seconds: dict[str, list[float]] = {each.name: [] for each in found}
    for _ in range(repeats):
        for each in found:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                timed = each.prepare(Path(place))
                begin = time.perf_counter()
                timed()
                seconds[each.name].append(time.perf_counter() - begin)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def speed(store: Path, folder: Path, repeats: int) -> Table:
    frozen = folder / "frozen.db"
    snapshot(store, frozen)
    found = contestants(store, frozen, folder / "releases")
    timed = in_turns(found, folder, repeats)
    base = timed["zip + sha256sum"].median if "zip + sha256sum" in timed else None
    megabytes = frozen.stat().st_size / 1e6
    rows = [
        (
            each.name,
            str(timed[each.name]),
            f"{megabytes / timed[each.name].median:.0f} MB/s",
            f"{timed[each.name].median / base:.2f}×" if base else "",
            each.does,
        )
        for each in found
    ]
    mine = timed["ours, of the same bytes"].median
    targets = []
    if base:
        targets.append(
            Target("against zip + sha256sum", "≤ 0.35×", f"{mine / base:.2f}×", mine / base <= 0.35)
        )
    for peer in ("borg create", "restic backup"):
        if peer in timed:
            ratio = mine / timed[peer].median
            targets.append(Target(f"against {peer}", "no slower", f"{ratio:.2f}×", ratio <= 1))
    if "borg create" in timed:
        written = mine - timed["of that, the reading back"].median
        ratio = written / timed["borg create"].median
        targets.append(Target("written only, against borg create", "no slower", f"{ratio:.2f}×", ratio <= 1))
    absent = [name for name in ("zip", "borg", "restic") if not shutil.which(name)]
    return Table(
        f"A backup of a store of {megabytes:.0f} MB",
        ("", "time", "speed", "of zip", "and then"),
        rows,
        targets,
        note=f"Not installed, so not measured: {', '.join(absent)}." if absent else "",
    )


@contextmanager
def writers(server: Server) -> Iterator[list[tuple[float, float]]]:
    """Clients that submit new pictures all the time; when each began, and how many seconds it took."""
    picture = jpeg(320, 240, 5)
    seen: list[tuple[float, float]] = []
    done = threading.Event()

    def client(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", int(server.env["DHASH_PORT"]))
        number = first
        while not done.wait(PACE_SECONDS):
            number += WRITERS
            begin = time.monotonic()
            connection.request(
                "POST", "/api/dhash", distinct(picture, number), {"Content-Type": "image/jpeg"}
            )
            answer = connection.getresponse()
            answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"a submission was answered {answer.status}")
            seen.append((begin, time.monotonic() - begin))
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in threads:
            thread.join()


def take_one(store: Path, folder: Path) -> None:
    """One backup, as `rollout backup` takes it; runs in a process of its own."""
    release = make_release(folder / f"releases-{os.getpid()}")
    subject = Subject("production", release, None, lambda file: snapshot(store, file), (), None, "")
    take(subject, BackupFolder(folder / "backups", folder), SystemClock())


def meanwhile(store: Path, folder: Path, repeats: int) -> Table:
    """What those who write notice of a backup."""
    spans: list[tuple[float, float]] = []
    with serving(folder, store=f"sqlite:///{store}") as server, writers(server) as seen:
        for _ in range(repeats):
            time.sleep(1.5)  # some submissions without a backup, to compare with
            backup = get_context("spawn").Process(target=take_one, args=(store, folder))
            begin = time.monotonic()
            backup.start()
            backup.join()
            spans.append((begin, time.monotonic()))
            if backup.exitcode:
                raise RuntimeError("the backup failed")
        time.sleep(0.5)
    during = [took for at, took in seen if any(begin <= at <= end for begin, end in spans)]
    without = [took for at, took in seen if not any(begin <= at <= end for begin, end in spans)]
    rows = [
        (name, str(len(found)), *(duration(float(np.quantile(found, q))) for q in (0.5, 0.99, 1)))
        for name, found in (("without a backup", without), ("during a backup", during))
    ]
    p99 = float(np.quantile(during, 0.99))
    took = statistics.median(end - begin for begin, end in spans)
    return Table(
        f"Submitting pictures while backups of {duration(took)} are taken, {WRITERS} clients",
        ("", "submissions", "p50", "p99", "slowest"),
        rows,
        [Target("writers' p99 during a backup", "≤ 50 ms", duration(p99), p99 <= 0.05)],
    )


def tables(quick: bool) -> list[Table]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / "dhash.db"
        fill_with_thumbnails(store, 40 if quick else 200)
        return [speed(store, folder, 3 if quick else 5), meanwhile(store, folder, 2 if quick else 4)]
