"""How long until the data of a backup is back, and how large is the backup, at 0.2 and at 2 GB?"""

import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.guarded_rollout.backups import make_release

from bench.backup import fill_with_thumbnails, run, snapshot
from bench.table import Table, Timing, duration
from guarded_rollout.backup.archive import Subject, TakenBackup, take
from guarded_rollout.backup.copies import send_directly
from guarded_rollout.backup.publish import BackupFolder
from guarded_rollout.backup.verify import unpack
from guarded_rollout.clock import SystemClock
from guarded_rollout.config.environments import load


@dataclass(frozen=True, slots=True)
class Contestant:
    """`backup` makes a backup in a folder; `restore` brings the data back into another one."""

    name: str
    backup: Callable[[Path], object]
    restore: Callable[[Path, Path], object]
    checks: str


def tables(quick: bool) -> list[Table]:
    sizes = (40,) if quick else (200, 2_000)
    measured = [one_size(megabytes, 1 if quick or megabytes > 500 else 3) for megabytes in sizes]
    return [*measured, second_copy(sizes[-1])]


def one_size(megabytes: int, repeats: int) -> Table:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, frozen = folder / "dhash.db", folder / "frozen.db"
        fill_with_thumbnails(store, megabytes)
        snapshot(store, frozen)
        store.unlink()
        size = frozen.stat().st_size
        rows = [measured(each, folder, repeats, size) for each in contestants(frozen, folder / "releases")]
    absent = [program for program in ("zip", "borg", "restic") if not shutil.which(program)]
    return Table(
        f"A store of {size / 1e6:,.0f} MB: backed up, and brought back into an empty folder",
        ("", "backup", "MB/s", "of the data", "restore", "MB/s", "checked on the way back"),
        rows,
        note=f"Not installed, so not measured: {', '.join(absent)}." if absent else "",
    )


def measured(each: Contestant, folder: Path, repeats: int, size: int) -> tuple[str, ...]:
    """Its row: times, speeds, and the backup's size as a share of the data's."""
    made: list[float] = []
    brought: list[float] = []
    kept = 0
    for _ in range(repeats):
        with (
            tempfile.TemporaryDirectory(dir=folder) as place,
            tempfile.TemporaryDirectory(dir=folder) as back,
        ):
            begin = time.perf_counter()
            each.backup(Path(place))
            made.append(time.perf_counter() - begin)
            kept = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file())
            begin = time.perf_counter()
            each.restore(Path(place), Path(back))
            brought.append(time.perf_counter() - begin)
            found = max((file.stat().st_size for file in Path(back).rglob("*") if file.is_file()), default=0)
            if found != size:
                raise RuntimeError(f"{each.name} brought {found:,} of {size:,} bytes back")
    backup, restore = Timing(tuple(made)), Timing(tuple(brought))
    return (
        each.name,
        duration(backup.median),
        f"{size / 1e6 / backup.median:.0f}",
        f"{kept / size:.0%}",
        duration(restore.median),
        f"{size / 1e6 / restore.median:.0f}",
        each.checks,
    )


def contestants(frozen: Path, releases: Path) -> list[Contestant]:
    """Ours, and whichever peer is installed."""
    release = make_release(releases)

    def ours(place: Path) -> TakenBackup:
        subject = Subject("production", release, None, lambda file: os.link(frozen, file), (), None, "")
        return take(subject, BackupFolder(place / "backups", place), SystemClock())

    def unpacked(place: Path, back: Path) -> None:
        (archive,) = (place / "backups").glob("*.zip")
        unpack(archive, back)

    def zipped(place: Path) -> None:
        run("zip", "-q", "-j", place / "a.zip", frozen)
        with (place / "a.zip.sha256").open("w") as file:
            subprocess.run(["sha256sum", "a.zip"], cwd=place, check=True, stdout=file)

    def unzipped(place: Path, back: Path) -> None:
        run("sha256sum", "-c", "--quiet", "a.zip.sha256", cwd=place)
        run("unzip", "-q", place / "a.zip", "-d", back)

    def borg(place: Path) -> dict[str, str]:
        return {"BORG_BASE_DIR": str(place / "base"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}

    def borg_create(place: Path) -> None:
        run("borg", "init", "-e", "none", place / "repo", variables=borg(place))
        run("borg", "create", f"{place}/repo::a", frozen, variables=borg(place))

    def restic(place: Path) -> dict[str, str]:
        return {"RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(place / "cache")}

    def restic_backup(place: Path) -> None:
        run("restic", "-q", "-r", place / "repo", "init", variables=restic(place))
        run("restic", "-q", "-r", place / "repo", "backup", frozen, variables=restic(place))

    peers = [
        ("zip", Contestant("zip, unzip and sha256sum", zipped, unzipped, "SHA-256, CRC-32")),
        (
            "borg",
            Contestant(
                "borg create, extract",
                borg_create,
                lambda place, back: run(
                    "borg", "extract", f"{place}/repo::a", cwd=back, variables=borg(place)
                ),
                "chunk ids",
            ),
        ),
        (
            "restic",
            Contestant(
                "restic backup, restore",
                restic_backup,
                lambda place, back: run(
                    "restic",
                    "-q",
                    "-r",
                    place / "repo",
                    "restore",
                    "latest",
                    "--target",
                    back,
                    variables=restic(place),
                ),
                "blob ids",
            ),
        ),
    ]
    mine = Contestant("rollout backup, unpack", ours, unpacked, "SHA-256 of all and of each, whole database")
    return [mine, *(peer for program, peer in peers if shutil.which(program))]


CHANGED = 0.01


def second_copy(megabytes: int) -> Table:
    """What the copy after the next backup takes: 1 % of the rows are new, the rest is as it was."""
    taking: list[float] = []

    def frozen(file: Path) -> None:
        begin = time.perf_counter()
        snapshot(store, file)
        taking.append(time.perf_counter() - begin)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / "dhash.db"
        fill_with_thumbnails(store, megabytes)
        release = make_release(folder / "releases")
        subject = Subject("production", release, None, frozen, (), None, "")
        (folder / "rollout.toml").write_text(TARGET)
        environment = load(folder / "rollout.toml").environment("production")
        os.environ["BENCH_PASSWORD"] = "x"
        taken = take(subject, BackupFolder(environment.backups, folder), SystemClock())
        rows = [row("whole zip", taken.seconds, taken.size, taken)]
        rows.append(row("  of that, the service's snapshot", taking[-1], 0, taken))
        for which in ("first copy, straight", "second copy, after 1 % of change"):
            begin = time.perf_counter()
            _, [record] = send_directly(environment, subject, SystemClock())
            seconds = time.perf_counter() - begin
            if record.problem:
                raise RuntimeError(record.problem)
            rows.append(row(which, seconds, record.added, taken))
            rows.append(row("  of that, the service's snapshot", taking[-1], 0, taken))
            rows.append(row("  of that, restic, which reads all of it", record.seconds, record.added, taken))
            change(store)
    return Table(
        f"Copies of a store of {megabytes:,} MB in a restic repository on this disk",
        ("", "time", "of the zip's", "bytes written", "of the zip's"),
        rows,
        note="The rest is its hash, SQLite's check of it, and restic's start.",
    )


TARGET = '[backup.copies.disk]\nrepository = "copies"\npassword = "$BENCH_PASSWORD"\n'


def row(name: str, seconds: float, size: int, whole: TakenBackup) -> tuple[str, ...]:
    shares = f"{seconds / whole.seconds:.0%}", f"{size / whole.size:.1%}"
    written = (f"{size / 1e6:,.1f} MB", shares[1]) if size else ("", "")
    return name, duration(seconds), shares[0], *written


def change(store: Path) -> None:
    """Replace one thumbnail in a hundred, those beside each other, as a day's new pictures are."""
    with closing(sqlite3.connect(store)) as database:
        [(count,)] = database.execute("SELECT count(*) FROM thumbnails")
        database.execute(
            "UPDATE thumbnails SET webp = randomblob(length(webp)) WHERE rowid IN"
            " (SELECT rowid FROM thumbnails ORDER BY rowid DESC LIMIT ?)",
            (int(count * CHANGED),),
        )
        database.commit()
