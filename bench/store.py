"""How fast are durable writes; what do a snapshot, a merge and the reads of a big store cost?"""

import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from tests.dhash_service.store.databases import fresh_database, postgres_server
from tests.dhash_service.store.facts import NEW, picture, review

from bench.fill import fill
from bench.table import Table, Target, Timing, duration, side_by_side
from dhash_service.facts import Picture
from dhash_service.pictures.fingerprint import FAST
from dhash_service.store.merge import merge
from dhash_service.store.snapshot import take
from dhash_service.store.store import Store

THUMBNAIL = 6_000
"""Bytes of a thumbnail, about what a photograph's WebP takes."""


def tables(quick: bool) -> list[Table]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        return [
            writes(folder, 400 if quick else 2_000),
            copies(folder, 5_000 if quick else 32_000),
            reads(folder, 100_000 if quick else 1_000_000),
        ]


def pictures(count: int, seed: object) -> list[Picture]:
    return [replace(picture(f"{seed}/{number}"), thumbnail=os.urandom(THUMBNAIL)) for number in range(count)]


# ---- writes


def writes(folder: Path, count: int) -> Table:
    """Durable registrations a second: an image, its fingerprint, thumbnail and lookup each."""
    few = max(20, count // 20)
    rows, targets = [], []
    with postgres_server(durable=True) as server, fresh_database(server) as postgres_url:
        for database, url, peer in (
            ("SQLite", f"sqlite:///{folder / 'writes.db'}", sqlite_one_by_one),
            ("PostgreSQL", postgres_url, postgres_one_by_one),
        ):
            Store.open(url, release="bench", algorithm=FAST, migrate=True).close()
            with Store.open(url, release="bench", algorithm=FAST) as store, peer(url) as insert:
                many, alone, single = fresh(count), fresh(few), fresh(few)
                timings = side_by_side(
                    {
                        "many": lambda store=store, many=many: register(store, next(many)),
                        "alone": lambda store=store, alone=alone: one_by_one(store, next(alone)),
                        "peer": lambda insert=insert, single=single: commit_each(insert, next(single)),
                    },
                    repeats=5,
                )
            together_rate, alone_rate, single_rate = (
                number / timings[name].median
                for name, number in (("many", count), ("alone", few), ("peer", few))
            )
            gain = together_rate / single_rate
            rows.append(
                [
                    database,
                    f"{together_rate:,.0f}",
                    f"{alone_rate:,.0f}",
                    f"{single_rate:,.0f}",
                    f"{gain:.1f}×",
                ]
            )
            what = f"{database}: group commit against one INSERT a commit"
            targets.append(Target(what, "≥ 1.5×", f"{gain:.1f}×", gain >= 1.5))
    return Table(
        "Durable writes a second (a registered image is four rows and a 6 kB thumbnail)",
        ["database", "many wait at once", "one caller, one at a time", "peer: four INSERTs a commit", "gain"],
        rows,
        targets,
        "The peer writes the same four rows through the bare driver, without asking whether they are known.",
    )


def fresh(count: int) -> Iterator[list[Picture]]:
    """Pictures that no store has yet, again and again."""
    while True:
        yield pictures(count, os.urandom(8))


def register(store: Store, new: Sequence[Picture]) -> None:
    futures: list[Future[Any]] = [store.add_image(each, NEW) for each in new]
    wait(futures)
    assert all(future.result().created for future in futures)


def one_by_one(store: Store, new: Sequence[Picture]) -> None:
    for each in new:
        assert store.add_image(each, NEW).result().created


Insert = Callable[[Picture], None]

COLUMNS = {
    "images": ("id", "sha256", "format", "size", "width", "height"),
    "fingerprints": ("image_id", "algorithm", "algorithm_version", "value", "quality", "reasons", "repeats"),
    "thumbnails": ("image_id", "webp"),
    "lookups": ("id", "image_id", "status", "confidence", "reasons", "quality", "known"),
}


def statements(mark: str, created_at: str) -> list[str]:
    return [
        f"INSERT INTO {table} ({', '.join(columns)}, release, created_at)"
        f" VALUES ({', '.join([mark] * len(columns))}, 'peer', {created_at})"
        for table, columns in COLUMNS.items()
    ]


def values(each: Picture, key: Callable[[Any], Any], no: object) -> list[tuple[Any, ...]]:
    bits = each.fingerprint.value & (2**63 - 1)
    id = key(each.id)
    return [
        (id, bytes.fromhex(each.sha256), each.format, each.size, 640, 480),
        (id, FAST.name, FAST.version, bits, 0.75, "[]", no),
        (id, each.thumbnail),
        (id, id, "new", 0.9, "[]", 0.75, 0),
    ]


@contextmanager
def sqlite_one_by_one(url: str) -> Iterator[Insert]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

        def insert(each: Picture) -> None:
            connection.execute("BEGIN IMMEDIATE")
            for statement, row in zip(
                statements("?", "0"), values(each, lambda id: id.bytes, 0), strict=True
            ):
                connection.execute(statement, row)
            connection.execute("COMMIT")

        yield insert


@contextmanager
def postgres_one_by_one(url: str) -> Iterator[Insert]:
    with psycopg.connect(url) as connection:

        def insert(each: Picture) -> None:
            for statement, row in zip(
                statements("%s", "now()"), values(each, lambda id: id, False), strict=True
            ):
                connection.execute(statement, row)
            connection.commit()

        yield insert


def commit_each(insert: Insert, new: Sequence[Picture]) -> None:
    for each in new:
        insert(each)


# ---- copies


def copies(folder: Path, count: int) -> Table:
    """A snapshot of a store that is being written to, and merging it."""
    path = folder / "copied.db"
    with Store.open(f"sqlite:///{path}", release="bench", algorithm=FAST, migrate=True) as store:
        register(store, pictures(count, "copied"))
        size = path.stat().st_size / 1e6
        quiet = timed(lambda: take(store.engine, folder / "quiet.db"))
        with writing_on(store) as slowest:
            busy = timed(lambda: take(store.engine, folder / "busy.db"))
        vacuum = timed(lambda: vacuum_into(path, folder / "vacuum.db"))
        bare = timed(lambda: copy_and_sync(path, folder / "bare.db"))
    with Store.open(f"sqlite:///{folder / 'new.db'}", release="bench", algorithm=FAST, migrate=True) as new:
        first = timed(lambda: merge(new.engine, folder / "quiet.db", algorithm=FAST))
        again = timed(lambda: merge(new.engine, folder / "quiet.db", algorithm=FAST))
    for file in folder.glob("*.db*"):
        file.unlink()
    return Table(
        f"A copy of a store of {size:,.0f} MB, {count:,} images",
        ["what", "time", "MB/s"],
        [
            [name, duration(seconds), f"{size / seconds:,.0f}"]
            for name, seconds in (
                ("snapshot, verified", quiet),
                ("snapshot, verified, while it is written to", busy),
                ("peer: VACUUM INTO, unverified", vacuum),
                ("floor: the bytes alone, copied and synced", bare),
                ("merge into an empty store", first),
                ("merge that adds nothing", again),
            )
        ],
        [
            Target(
                "snapshot under writes, 100 MB", "≤ 1.5 s", duration(busy / size * 100), busy / size <= 0.015
            )
        ],
        f"The slowest write during the snapshot took {duration(max(slowest, default=0.0))}.",
    )


def timed(call: Callable[..., object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


@contextmanager
def writing_on(store: Store) -> Iterator[list[float]]:
    """Somebody who goes on writing; yields how long each write took."""
    stop, seconds = threading.Event(), []

    def write() -> None:
        for number in range(1_000_000):
            if stop.is_set():
                return
            seconds.append(timed(lambda n=number: store.add_image(picture(f"on {n}"), NEW).result()))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield seconds
    finally:
        stop.set()
        writer.join()


def vacuum_into(path: Path, to: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("VACUUM INTO ?", (str(to),))


def copy_and_sync(path: Path, to: Path) -> None:
    shutil.copyfile(path, to)
    with to.open("rb") as file:
        os.fsync(file.fileno())


# ---- reads


def reads(folder: Path, count: int) -> Table:
    """What a service asks of a big store."""
    url = f"sqlite:///{folder / 'big.db'}"
    fill(url, count)
    with Store.open(url, release="bench", algorithm=None) as store:
        known = store.images_by_key([1])[1]
        waiting = 10_000
        futures = [
            store.add_image(picture(f"waits {number}"), review(known, "close", "flat"))
            for number in range(waiting)
        ]
        wait(futures)
        everything = store.feed.changes(None)
        timings = side_by_side(
            {
                "load the feed": lambda: store.feed.changes(None),
                "ask the feed for news": lambda: store.feed.changes(everything.position),
                "count the images": store.count,
                "an image by its digest": lambda: store.by_sha256(known.sha256),
                "16 images by their keys": lambda: store.images_by_key(range(count // 2, count // 2 + 16)),
                f"the queue's length and reasons, {waiting:,} wait": store.queue.status,
                "a page of the queue": lambda: store.queue.page(limit=50),
            },
            repeats=9,
        )
    return Table(
        f"Reads of a store with {count:,} images, on SQLite",
        ["what", "time"],
        [[name, str(timing)] for name, timing in timings.items()],
        [
            within("load the feed", timings, 1.5),
            within(next(name for name in timings if "queue's" in name), timings, 0.1),
        ],
    )


def within(name: str, timings: dict[str, Timing], seconds: float) -> Target:
    median = timings[name].median
    return Target(name, f"≤ {duration(seconds)}", duration(median), median <= seconds)
