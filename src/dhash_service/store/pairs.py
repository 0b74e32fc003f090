"""Keys and values of a store's fingerprints by the million, past SQLAlchemy's rows."""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, func, select

from dhash_service.store.tables import fingerprints

PACKED = "SELECT string_agg(int8send(key) || int8send(value), ''::bytea) FROM ({pairs}) AS pairs (key, value)"
"""PostgreSQL packs many pairs into one value: a row each would cost a Python call each."""

BLOCK = 1 << 18
"""Fingerprints packed at a time, 4 MB: all at once would be sorted on the server's disk first."""

Pairs = NDArray[np.int64]
"""int64[N, 2]: keys, and values as the signed integers that are stored."""
NOTHING: Pairs = np.empty((0, 2), np.int64)


def everything() -> Select[tuple[int, int]]:
    """Key and value of every fingerprint."""
    return select(fingerprints.c.seq, fingerprints.c.value)


def without(some: Pairs, others: Pairs) -> Pairs:
    """The pairs whose keys are not among the others'."""
    return some[~np.isin(some[:, 0], others[:, 0])] if len(others) else some


def pairs(connection: Connection, wanted: Select[Any]) -> Pairs:
    """Two integer columns."""
    if connection.dialect.name == "postgresql":
        sql, driver = _for_driver(connection, wanted)
        with driver.cursor(binary=True) as cursor:
            cursor.execute(f"{PACKED.format(pairs=sql)} GROUP BY key >> 16")
            packed = [np.frombuffer(block, ">i8").reshape(-1, 2) for (block,) in cursor]
        return np.concatenate([NOTHING, *packed]).astype(np.int64)
    return _integers(connection, wanted).reshape(-1, 2)


def _for_driver(connection: Connection, wanted: Select[Any]) -> tuple[str, Any]:
    """The statement in the driver's words, and the driver's connection."""
    sql = str(wanted.compile(connection, compile_kwargs={"literal_binds": True}))
    return sql, connection.connection.driver_connection


def _integers(connection: Connection, wanted: Select[Any]) -> NDArray[np.int64]:
    """SQLite's integers, row after row, a million in 0.3 seconds.

    A row's Python objects are gone before the next row's are made, which keeps them in the cache.
    """
    sql, driver = _for_driver(connection, wanted)
    return np.fromiter(chain.from_iterable(driver.execute(sql)), np.int64)


def all_pairs(connection: Connection) -> Pairs:
    """Key and value of every fingerprint."""
    if connection.dialect.name != "postgresql":
        return _all_in_file(connection)
    key, after = fingerprints.c.seq, np.iinfo(np.int64).min
    blocks = [NOTHING]
    while True:
        sql, driver = _for_driver(connection, everything().where(key > int(after)).order_by(key).limit(BLOCK))
        (packed,) = driver.execute(PACKED.format(pairs=sql), binary=True).fetchone()
        if packed is None:
            return np.concatenate(blocks).astype(np.int64)
        blocks.append(np.frombuffer(packed, ">i8").reshape(-1, 2))
        after = blocks[-1][:, 0].max()


def _all_in_file(connection: Connection) -> Pairs:
    """A SQLite store's. Where no number is missing between the first key and the last, values alone are read:
    keys are half of the Python objects that a load is made of."""
    key, value = fingerprints.c.seq, fingerprints.c.value
    asked = (func.min(key), func.max(key), func.count())
    first, last, number = connection.execute(
        select(*(select(each).select_from(fingerprints).scalar_subquery() for each in asked))
    ).one()
    if not number or last - first + 1 != number:
        return pairs(connection, everything())
    values = _integers(connection, select(value).order_by(key))
    return np.column_stack((np.arange(first, last + 1), values))
