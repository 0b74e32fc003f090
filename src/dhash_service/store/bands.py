"""Search in PostgreSQL itself, by an index for each of the four 16-bit bands of a fingerprint. Exact.

Nothing is held in memory, so a small machine serves a large store; a search takes milliseconds of the server,
where one in memory takes microseconds of its own. The indexes are no part of the schema: where they are
wanted, `dhash db search-index` makes them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Select,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import BIT

from dhash_service.errors import SettingError, StoreSchemaError
from dhash_service.search.bank import CROWD, NOTHING, Found, Hit
from dhash_service.search.feed import Changes, Position
from dhash_service.search.probes import SHIFTS, WIDEST, probes
from dhash_service.search.segment import BITS, Keys, Values
from dhash_service.store.changes import Feed
from dhash_service.store.engine import connect, translated, unhurried
from dhash_service.store.tables import fingerprints
from dhash_service.store.types import Bits
from dhash_service.store.visibility import stands

GROWING = (3, 7, 11, WIDEST, BITS)
"""The radii that the nearest are looked for in, one after another."""

BANDS = {f"ix_fingerprints_band{shift}": f"((value >> {shift}) & 65535)::int" for shift in SHIFTS}
"""The indexes by name, with what each is on."""

LONGEST_WAIT = 6 * 3600.0
"""Seconds that making an index waits for transactions that began before it."""


def require_postgresql(engine: Engine) -> None:
    """Raise `SettingError` for a store that cannot search by itself."""
    if engine.dialect.name != "postgresql":
        raise SettingError(
            "Searching in the store needs PostgreSQL, and this store is SQLite.",
            "Set DHASH_INDEX=memory, or `dhash db merge` the file into a store on PostgreSQL.",
        )


def missing(connection: Connection) -> list[str]:
    """The indexes that are not there, or not whole because making them was interrupted."""
    whole = text("SELECT c.relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indisvalid")
    there = set(connection.scalars(whole))
    return [name for name in BANDS if name not in there]


def require(engine: Engine) -> None:
    """Raise `SettingError` or `StoreSchemaError` where the store cannot be searched by its bands."""
    require_postgresql(engine)
    with translated(), engine.connect() as connection:
        if lacking := missing(connection):
            raise StoreSchemaError(
                f"DHASH_INDEX=store searches by indexes that are not there: {', '.join(lacking)}.",
                "Run `dhash db search-index`.",
            )


@contextmanager
def _by_itself(url: str) -> Iterator[Connection]:
    """A connection on which each statement is a transaction, and waits for as long as it takes."""
    engine = connect(url, lock_seconds=LONGEST_WAIT)
    try:
        require_postgresql(engine)
        with translated(), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            unhurried(connection, local=False)
            yield connection
    finally:
        engine.dispose()


def create(url: str, tell: Callable[[str], object]) -> list[str]:
    """Make the indexes that are missing, while the store is read and written; their names.

    `tell` is given each name before it is made. Raises `SettingError`, `StoreError`.
    """
    with _by_itself(url) as connection:
        lacking = missing(connection)
        for name in lacking:
            tell(name)
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} ON fingerprints (({BANDS[name]}))")
        if lacking:
            connection.exec_driver_sql("ANALYZE fingerprints")  # expressions have no statistics before
    return lacking


def drop(url: str) -> None:
    """Remove the indexes; those that are not there change nothing. Raises `SettingError`, `StoreError`."""
    with _by_itself(url) as connection:
        for name in BANDS:
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


class StoreIndex:
    """An index that holds nothing but how many fingerprints there are; see `search.index.Index`.

    A search finds all that was committed when it began. `known` is counted on from where it starts.
    """

    follows = False

    def __init__(self, engine: Engine, known: int) -> None:
        self._engine = engine
        self._known = known

    def __len__(self) -> int:
        return self._known

    def append(self, keys: ArrayLike, values: ArrayLike) -> None:
        self._known += np.size(keys)

    def remove(self, keys: ArrayLike) -> None:
        self._known = max(0, self._known - np.size(keys))

    def replace(self, keys: ArrayLike, values: ArrayLike) -> None:
        self._known = np.size(keys)

    def contents(self) -> tuple[Keys, Values]:
        return np.empty(0, np.int64), np.empty(0, np.uint64)

    def search(self, value: int, radius: int, limit: int) -> Found:
        (found,) = self.search_many([value], radius, limit)
        return found

    def search_many(self, values: Sequence[int], radius: int, limit: int) -> list[Found]:
        with translated(), self._engine.connect() as connection:
            return [near(connection, value, radius, limit) for value in values]

    def nearest(self, value: int, k: int) -> Found:
        """The `k` nearest pictures, however far: nearest first, ties by key."""
        for radius in GROWING:
            found = self.search(value, radius, k)
            if found.total >= k:
                break
        return found

    def settle(self, timeout: float | None = None) -> bool:
        return True


class Tail:
    """A store's feed from now on: what is there already is not read."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def changes(self, after: Position | None) -> Changes:
        """See `FingerprintFeed.changes`, but that after None nothing has changed yet."""
        if after is not None:
            return self._feed.changes(after)
        nothing = np.empty(0, np.int64)
        return Changes(nothing, nothing.view(np.uint64), nothing, position=self._feed.position())

    def version(self) -> int | None:
        return self._feed.version()


def near(connection: Connection, value: int, radius: int, limit: int) -> Found:
    """The `limit` nearest pictures in search within `radius` bits, as `HammingIndex.search` finds them."""
    asked: dict[str, Any] = {"value": value, "radius": radius, "limit": limit}
    if radius <= WIDEST:
        asked |= {f"band{shift}": codes for shift, codes in zip(SHIFTS, probes(value, radius), strict=True)}
    rows = connection.execute(NEAR if radius <= WIDEST else ANYWHERE, asked).all()
    if not rows:
        return NOTHING
    total, crowded = rows[0].total, False
    if total >= CROWD:
        at = asked | {"radius": rows[0].distance}
        crowded = (
            connection.execute(CROWDED if radius <= WIDEST else CROWDED_ANYWHERE, at).first() is not None
        )
    hits = tuple(Hit(row.seq, row.distance) for row in rows)
    return Found(hits, total, crowded, tuple(row.value for row in rows))


_ASKED: ColumnElement[int] = bindparam("value", type_=Bits)
_DISTANCE = func.bit_count(cast(fingerprints.c.value.op("#")(_ASKED), BIT(64)), type_=Integer)


def _within(banded: bool) -> ColumnElement[bool]:
    """True of fingerprints in search within the radius; the bands are spelled as in the indexes."""
    bands = (
        literal_column(BANDS[f"ix_fingerprints_band{shift}"])
        == any_(bindparam(f"band{shift}", type_=ARRAY(Integer)))
        for shift in SHIFTS
    )
    met = or_(*bands) if banded else true()
    return met & (bindparam("radius", type_=Integer) >= _DISTANCE) & stands(fingerprints)


def _near(banded: bool) -> Select[Any]:
    found = select(
        fingerprints.c.seq,
        fingerprints.c.value,
        _DISTANCE.label("distance"),
        func.count().over().label("total"),
    )
    limit = bindparam("limit", type_=Integer)
    return found.where(_within(banded)).order_by("distance", fingerprints.c.seq).limit(limit)


def _crowded(banded: bool) -> Select[Any]:
    found = select(fingerprints.c.value).where(_within(banded)).group_by(fingerprints.c.value)
    return found.having(func.count() >= CROWD).limit(1)


NEAR, ANYWHERE = _near(True), _near(False)
CROWDED, CROWDED_ANYWHERE = _crowded(True), _crowded(False)
