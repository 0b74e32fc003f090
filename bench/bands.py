"""A large store in PostgreSQL: searched there by its four indexes, and read into a replica's memory."""

import random
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import text
from tests.dhash_service.serving import serving
from tests.dhash_service.store.databases import fresh_database, postgres_server

from bench.table import Table, duration
from dhash_service.search.index import HammingIndex
from dhash_service.store import bands
from dhash_service.store.engine import reading, writing
from dhash_service.store.store import Store

RADII = (0, 4, 10, 14, 20)
FILL = (
    "INSERT INTO images (id, sha256, format, size, width, height, release, created_at)"
    " SELECT md5(n::text)::uuid, sha256(n::text::bytea), 'JPEG', 500000, 1632, 1224, 'fill', now()"
    " FROM generate_series(CAST(:first AS bigint), :last) n",
    "INSERT INTO fingerprints (image_id, algorithm, algorithm_version, value, quality, reasons, repeats,"
    " release, created_at) SELECT md5(n::text)::uuid, :algorithm, :version,"
    " ('x' || left(md5('value' || n), 16))::bit(64)::bigint, 1.0, '[]', false, 'fill', now()"
    " FROM generate_series(CAST(:first AS bigint), :last) n",
)
"""So many pictures with fingerprints that look drawn by chance, made by the server itself."""


def tables(quick: bool) -> list[Table]:
    sizes = (0, 100_000) if quick else (0, 1_000_000)
    with postgres_server(durable=False) as server, fresh_database(server) as url:
        rows = []
        for below, count in zip((0, *sizes), sizes, strict=False):
            fill(url, below, count)
            rows.append((f"{count:,}", duration(min(started(url) for _ in range(3)))))
        found = searches(url, 10 if quick else 40)
    return [
        Table(f"Searches among {sizes[1]:,} in PostgreSQL", ("within", "there", "in memory"), found),
        Table("To ready, by a process that has its imports", ("fingerprints in PostgreSQL", "time"), rows),
    ]


def fill(url: str, first: int, last: int) -> None:
    """Add pictures `first` + 1 to `last`."""
    with Store.open(url, release="fill", algorithm=None, migrate=True) as store:
        named = {"algorithm": store.algorithm.name, "version": store.algorithm.version}
        with writing(store.engine) as connection:
            for statement in FILL:
                connection.execute(text(statement), {"first": first + 1, "last": last, **named})


def started(url: str) -> float:
    """Seconds until `/health/ready` answers."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        with serving(Path(folder), store=url):
            return time.perf_counter() - begin


def searches(url: str, count: int) -> list[tuple[str, ...]]:
    """Medians of both ways by radius, whose answers have to be the same; then the indexes."""
    begin = time.perf_counter()
    bands.create(url, lambda name: None)
    making = time.perf_counter() - begin
    rows = []
    with Store.open(url, release="bench", algorithm=None) as store:
        changes = store.feed.changes(None)
        index = HammingIndex()
        index.append(changes.keys, changes.values)
        there = bands.StoreIndex(store.engine, len(index))
        chance = random.Random(7)
        known = changes.values.tolist()
        for radius in RADII:
            times: dict[str, list[float]] = {"there": [], "here": []}
            for _ in range(count if radius <= 14 else count // 4):
                value = chance.choice(known) ^ 1 << chance.randrange(64)
                answers = []
                for name, way in (("there", there), ("here", index)):
                    begin = time.perf_counter()
                    answers.append(way.search(value, radius, 16))
                    times[name].append(time.perf_counter() - begin)
                assert answers[0].hits == answers[1].hits, "one of them is wrong"
            medians = (duration(statistics.median(each)) for each in times.values())
            rows.append((f"{radius} bits", *medians))
        with reading(store.engine) as connection:
            sizes = [
                connection.scalar(text(f"SELECT pg_relation_size('{name}')")) or 0 for name in bands.BANDS
            ]
    rows.append(("the four indexes", f"{sum(sizes) / len(known):.0f} B each", f"made in {duration(making)}"))
    return rows
