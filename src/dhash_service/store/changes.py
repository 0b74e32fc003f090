"""The store's feed: which fingerprints came into search, and which left it, since a position.

A position is two marks: the newest fingerprint and the newest tombstone seen. Both number rows in the order
they were committed (see `engine.writing`), so nothing can appear behind a mark.
"""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Engine, Select, bindparam, func, or_, select

from dhash_service.facts import Algorithm
from dhash_service.feed import Changes, Position
from dhash_service.store.engine import reading
from dhash_service.store.tables import fingerprints, tombstones
from dhash_service.store.visibility import stands

ROWS = 50_000
"""Rows fetched at a time: a million Python tuples at once would take more memory than the index."""

COPIED = np.dtype([("fields", ">i2"), ("_1", ">i4"), ("key", ">i8"), ("_2", ">i4"), ("value", ">i8")])
"""A row of two bigints in PostgreSQL's binary COPY (PostgreSQL documentation, COPY, "Binary Format")."""
COPY_HEADER = 19
COPY_TRAILER = 2


class Feed:
    """A `FingerprintFeed` over one store and one algorithm."""

    def __init__(self, engine: Engine, algorithm: Algorithm) -> None:
        self._engine = engine
        self._algorithm = algorithm
        # Asked after every write: built once, since building a statement costs more than running it.
        self._newest = select(_newest(fingerprints.c.seq), _newest(tombstones.c.seq))
        self._new = select(fingerprints.c.seq, fingerprints.c.value).where(
            fingerprints.c.seq > bindparam("after"), stands(fingerprints, algorithm)
        )

    def changes(self, after: Position | None) -> Changes:
        """See `FingerprintFeed.changes`."""
        with reading(self._engine) as connection:
            now = Position(tuple(connection.execute(self._newest).one()))
            if after is not None and after.marks[1] == now.marks[1]:
                return self._appended(connection, after, now)
            key, value = fingerprints.c.seq, fingerprints.c.value
            standing = stands(fingerprints, self._algorithm)
            touched = key > 0 if after is None else _touched(after)
            came = pairs(connection, select(key, value).where(touched, standing))
            left = np.empty((0, 2), np.int64)
            if after is not None:
                seen = select(key, value).where(touched, key <= after.marks[0], ~standing)
                left = pairs(connection, seen)
        return Changes(
            np.ascontiguousarray(came[:, 0]),
            np.ascontiguousarray(came[:, 1]).view(np.uint64),
            np.ascontiguousarray(left[:, 0]),
            position=now,
        )

    def _appended(self, connection: Connection, after: Position, now: Position) -> Changes:
        """What came since, where no tombstone did: nearly always."""
        rows = connection.execute(self._new, {"after": after.marks[0]}).all() if after != now else ()
        return Changes(
            np.array([row.seq for row in rows], np.int64),
            np.array([row.value for row in rows], np.uint64),
            np.empty(0, np.int64),
            position=now,
        )


def _newest(seq: ColumnElement[int]) -> ColumnElement[int]:
    """The newest number given out, 0 where there is none."""
    return func.coalesce(select(func.max(seq)).scalar_subquery(), 0)


def _touched(after: Position) -> ColumnElement[bool]:
    """New fingerprints, and all fingerprints of images that new tombstones speak of.

    Where a release is hidden, an image's other fingerprints may take the place of the hidden one.
    """
    new = fingerprints.c.seq > after.marks[0]
    since = tombstones.c.seq > after.marks[1]
    image, release = tombstones.c.subject_image, tombstones.c.subject_release
    of_release = fingerprints.alias()
    hashed = select(of_release.c.image_id).where(
        of_release.c.release.in_(select(release).where(since, release.is_not(None)))
    )
    return or_(
        new,
        fingerprints.c.image_id.in_(select(image).where(since, image.is_not(None))),
        fingerprints.c.image_id.in_(hashed),
    )


def pairs(connection: Connection, wanted: Select[Any]) -> NDArray[np.int64]:
    """Two integer columns as int64[N, 2], past SQLAlchemy's rows: a million in half a second."""
    sql = str(wanted.compile(connection, compile_kwargs={"literal_binds": True}))
    driver = connection.connection.driver_connection
    assert driver is not None
    if connection.dialect.name == "postgresql":
        with driver.cursor() as cursor, cursor.copy(f"COPY ({sql}) TO STDOUT (FORMAT BINARY)") as copy:
            rows = np.frombuffer(b"".join(copy)[COPY_HEADER:-COPY_TRAILER], COPIED)
        return np.stack([rows["key"], rows["value"]], axis=1).astype(np.int64)
    cursor = driver.execute(sql)
    blocks = [np.empty((0, 2), np.int64)]
    while rows := cursor.fetchmany(ROWS):
        blocks.append(np.fromiter(chain.from_iterable(rows), np.int64, 2 * len(rows)).reshape(-1, 2))
    return np.concatenate(blocks)
