"""Checks of a whole store: is everything there that the rest of the program takes for granted?"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, Engine, Text, and_, exists, func, inspect, not_, or_, select

from dhash_service.errors import DhashError
from dhash_service.facts import Algorithm
from dhash_service.search.index import HammingIndex
from dhash_service.search.segment import BITS
from dhash_service.store import bands, schema
from dhash_service.store.changes import set_aside
from dhash_service.store.durability import durability
from dhash_service.store.engine import reading, unhurried
from dhash_service.store.erasure import Erased, came_back
from dhash_service.store.pairs import all_pairs, without
from dhash_service.store.store import stored_algorithm
from dhash_service.store.tables import erasures, fingerprints, images, metadata


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `detail` names what is wrong, or says what is well."""

    check: str
    ok: bool
    detail: str


def check(engine: Engine, algorithm: Algorithm | None = None) -> list[Finding]:
    """Every check in turn, each on its own: one that cannot be made does not hide the others.

    `algorithm` is the one that is set; None lets the store hold any.
    """
    checks: list[tuple[str, Callable[[Connection], str | None], str]] = [
        ("integrity", integrity, "Every page and index can be read."),
        ("texts", texts_are_readable, "Every text can be read."),
        ("references", references, "Every row's parents are there."),
        ("schema", schema_fits, "Every table and column that this release needs is there."),
        (
            "algorithm",
            lambda connection: one_algorithm(connection, algorithm),
            f"{algorithm.name if algorithm else 'One'} throughout.",
        ),
        ("fingerprints", every_image_has_one, "Every image has a fingerprint."),
        ("erasures", none_came_back, "No erased picture is here."),
        ("repeats", repeats_are_marked, "Every image has one first fingerprint."),
    ]
    return [_made(engine, name, made, well) for name, made, well in checks]


def acknowledged(engine: Engine, *, synchronous: bool) -> Finding:
    """Say where what is acknowledged is kept: wrong where it must be `synchronous`, and is not."""
    try:
        found = durability(engine)
    except DhashError as error:
        return Finding("acknowledged", False, error.detail)
    return Finding("acknowledged", bool(found.synchronous) or not synchronous, found.detail)


def check_index(engine: Engine, radius: int) -> Finding:
    """Whether searches in memory and in PostgreSQL find the same. Raises `SettingError` on SQLite."""
    bands.require_postgresql(engine)
    well = "In memory and in PostgreSQL, searches find the same."
    return _made(engine, "index", lambda connection: index_agrees(connection, radius), well)


def _made(engine: Engine, name: str, made: Callable[[Connection], str | None], well: str) -> Finding:
    try:
        with reading(engine) as connection:
            unhurried(connection)
            wrong = made(connection)
    except DhashError as error:
        wrong = error.detail
    return Finding(name, wrong is None, wrong or well)


def index_agrees(
    connection: Connection, radius: int, number: int = 100, chance: random.Random | None = None
) -> str | None:
    """Load all into memory, as a service does; ask it and PostgreSQL the same, near so many known ones."""
    chance = chance or random.Random()
    keys, values = np.ascontiguousarray(without(all_pairs(connection), set_aside(connection)).T)
    index = HammingIndex()
    index.append(keys, values.view(np.uint64))
    for value in chance.choices(values.view(np.uint64).tolist(), k=number if len(values) else 0):
        asked = value ^ sum(1 << bit for bit in chance.sample(range(BITS), chance.randrange(4)))
        here, there = index.search(asked, radius, 50), bands.near(connection, asked, radius, 50)
        if here != there:
            return (
                f"Near {asked:016x}, memory has {here.total:,} fingerprints and PostgreSQL {there.total:,}."
            )
    return None


def integrity(connection: Connection) -> str | None:
    """SQLite reads its file through; PostgreSQL verifies each page's checksum whenever it is read."""
    if connection.dialect.name == "sqlite":
        said = [line for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(5)")]
        return None if said == ["ok"] else "; ".join(said)
    there = set(inspect(connection).get_table_names())
    for table in metadata.sorted_tables:
        if table.name in there:  # which ones are missing is another check's to say
            connection.scalar(select(func.count()).select_from(table))
    return None


def texts_are_readable(connection: Connection) -> str | None:
    """Read every text: SQLite takes any bytes for one, and does not notice a bit of it that flips."""
    if connection.dialect.name != "sqlite":
        return None
    seen = inspect(connection)
    for table in seen.get_table_names():
        texts = [f'"{each["name"]}"' for each in seen.get_columns(table) if isinstance(each["type"], Text)]
        if texts:
            streamed = connection.execution_options(yield_per=1_000)
            for _ in streamed.exec_driver_sql(f'SELECT {", ".join(texts)} FROM "{table}"').partitions():
                pass
    return None


def references(connection: Connection) -> str | None:
    """Find foreign keys that point to nothing. PostgreSQL prevents them by itself."""
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(1000)
        if broken:
            tables = sorted({row[0] for row in broken})
            return f"{len(broken):,} or more rows of {', '.join(tables)} lack their parents."
    return None


def schema_fits(connection: Connection) -> str | None:
    """Compare the revisions with this release, and the tables with the revisions."""
    schema.require_fit(schema.applied(connection))
    seen = inspect(connection)
    there = set(seen.get_table_names())
    missing = []
    for table in metadata.sorted_tables:
        if table.name not in there:
            missing.append(table.name)
            continue
        has = {column["name"] for column in seen.get_columns(table.name)}
        missing += [f"{table.name}.{column.name}" for column in table.columns if column.name not in has]
    return f"There is no {', '.join(missing)}." if missing else None


def one_algorithm(connection: Connection, algorithm: Algorithm | None) -> str | None:
    """Compare the algorithm that the store states with the one it holds."""
    held = stored_algorithm(connection)
    if held is None:
        return "The store does not say which algorithm it holds."
    if algorithm is not None and held != algorithm:
        return (
            f"The store holds {held.name} version {held.version};"
            f" {algorithm.name} version {algorithm.version} is set."
        )
    other = not_(
        and_(fingerprints.c.algorithm == held.name, fingerprints.c.algorithm_version == held.version)
    )
    count = connection.scalar(select(func.count()).select_from(fingerprints).where(other))
    return f"{count:,} fingerprints are of another algorithm." if count else None


def every_image_has_one(connection: Connection) -> str | None:
    """Find images without a fingerprint: nobody would ever find them."""
    bare = ~exists().where(fingerprints.c.image_id == images.c.id)
    return _named(connection, "image", "have no fingerprint", select(images.c.id).where(bare))


def none_came_back(connection: Connection) -> str | None:
    """Find erased images that are here again, as with a restored file. A store before erasure has none."""
    if not inspect(connection).has_table(erasures.name):
        return None
    back = came_back(connection, Erased(connection))
    return f"{len(back):,} erased images are here: `dhash erase --again` removes them." if back else None


def repeats_are_marked(connection: Connection) -> str | None:
    """Find images whose first fingerprint, or not only that one, is not marked as a repeat."""
    earlier = fingerprints.alias()
    before = exists().where(earlier.c.image_id == fingerprints.c.image_id, earlier.c.seq < fingerprints.c.seq)
    wrong = or_(and_(~fingerprints.c.repeats, before), and_(fingerprints.c.repeats, ~before))
    return _named(
        connection, "image", "have a wrongly marked fingerprint", select(fingerprints.c.image_id).where(wrong)
    )


def _named(connection: Connection, what: str, wrong: str, found: object) -> str | None:
    rows = connection.execute(found).scalars().all()  # type: ignore[call-overload]
    if not rows:
        return None
    first = ", ".join(str(row) for row in rows[:3])
    return f"{len(rows):,} {what}s {wrong}, among them {first}."
