"""The store's feed: which fingerprints came into search, and which left it, since a position.

A position is four marks: the newest fingerprint, tombstone and erased fingerprint seen, and the timeline of
the database. The first three number rows in the order they were committed (see `engine.writing`), so nothing
can appear behind a mark, unless a PostgreSQL standby takes over that had not received all: then the timeline
is another. Three more marks there are what these rows say. A standby has a beginning of what was
committed, so where it has these three rows it has all before them, and reading goes on.
"""

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    type_coerce,
    union_all,
)

from dhash_service.errors import StoreDemotedError
from dhash_service.search.feed import Changes, Position
from dhash_service.store.engine import TIMELINE, reading, sqlite_path
from dhash_service.store.pairs import NOTHING, Pairs, all_pairs, everything, pairs, without
from dhash_service.store.prompt import Driver, Line, Prompt, driver_of, glancing
from dhash_service.store.tables import erased_fingerprints, fingerprints, tombstones
from dhash_service.store.visibility import aside, stands


def _witnesses() -> Select[Any]:
    """What a PostgreSQL store has in the rows of three numbers, 0 where it has none."""
    rows = (
        (fingerprints, fingerprints.c.value),
        (tombstones, func.hashtextextended(cast(tombstones.c.id, Text), 0)),
        (erased_fingerprints, erased_fingerprints.c.fingerprint),
    )
    return select(
        *(
            func.coalesce(
                select(type_coerce(said, BigInteger))
                .where(table.c.seq == bindparam(table.name))
                .scalar_subquery(),
                0,
            )
            for table, said in rows
        )
    )


WITNESSES = Prompt(_witnesses())

ERASED = select(erased_fingerprints.c.fingerprint)


class Feed:
    """A `FingerprintFeed` over one store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._probe = Probe(engine)
        self._line = Line(engine) if engine.dialect.name == "postgresql" else None
        key, value = fingerprints.c.seq, fingerprints.c.value
        # Asked after every write: built once, since building a statement costs more than running it.
        self._is_shared = engine.dialect.name == "postgresql"
        newest: Select[*tuple[Any, ...]] = select(
            _newest(key, erased_fingerprints.c.fingerprint),
            _newest(tombstones.c.seq),
            _newest(erased_fingerprints.c.seq),
            literal_column(TIMELINE if self._is_shared else "0"),
        )
        self._newest = Prompt(newest)
        self._new = Prompt(select(key, value).where(key > bindparam("after"), stands(fingerprints)))

    def changes(self, after: Position | None) -> Changes:
        """See `FingerprintFeed.changes`."""
        if after is not None:
            appended = self._glanced(after)
            if appended is not None:
                return appended
        with reading(self._engine) as connection:
            now = self._position(driver_of(connection))
            if after is None:
                return self._everything(connection, now)
            if after.marks[3] > 0 > now.marks[3]:
                self._engine.dispose()  # every connection leads to the same server
                raise StoreDemotedError("The primary that was read from has become a standby.")
            why = another(after, now)
            if why and not has_all(driver_of(connection), after):
                return replace(self._everything(connection, now), restarted=why)
            if after.marks[1] == now.marks[1]:
                changes = self._appended(driver_of(connection), after, now)
            else:
                changes = self._reconsidered(connection, after, now)
            if after.marks[2] != now.marks[2]:
                wanted = ERASED.where(erased_fingerprints.c.seq > after.marks[2])
                erased = np.array(connection.scalars(wanted).all(), np.int64)
                changes = replace(changes, removed=np.union1d(changes.removed, erased))
            return replace(changes, continued=why)

    def _position(self, driver: Driver, after: Position | None = None) -> Position:
        """The position now: `after`, where nothing has changed since."""
        (newest,) = self._newest.rows(driver)
        if after and after.marks[:4] == tuple(newest):
            return after
        said = said_at(driver, newest) if self._is_shared else ()
        return Position((*newest, *said))

    def _glanced(self, after: Position) -> Changes | None:
        """What came, where only fingerprints did, as nearly always."""

        def question(driver: Driver) -> Changes | None:
            now = self._position(driver, after)
            # Some newer than that may be among them, or be hidden already: what hid them is newer, too, and
            # the next read goes through it.
            if now.marks[1:4] == after.marks[1:4] and now.marks[0] >= after.marks[0]:
                return self._appended(driver, after, now)
            return None

        if self._line is not None:
            return self._line.ask(question)
        with glancing(self._engine) as driver:
            return question(driver)

    def position(self) -> Position:
        """The newest position, without what led to it."""
        with reading(self._engine) as connection:
            return self._position(driver_of(connection))

    def version(self) -> int | None:
        """See `FingerprintFeed.version`."""
        return self._probe.version()

    def close(self) -> None:
        """Let go of the connections that versions and changes are read on."""
        self._probe.close()
        if self._line is not None:
            self._line.close()

    def _everything(self, connection: Connection, now: Position) -> Changes:
        """All rows but the few that are aside, rather than a question asked of each of a million."""
        return _changes(without(all_pairs(connection), set_aside(connection)), now)

    def _appended(self, driver: Driver, after: Position, now: Position) -> Changes:
        """The rows that came since, where no tombstone did."""
        if after.marks[0] == now.marks[0]:
            return _changes(NOTHING, now)
        rows = self._new.rows(driver, after=after.marks[0])
        return Changes(
            np.array([row.seq for row in rows], np.int64),
            np.array([row.value for row in rows], np.uint64),
            NOTHING[:, 0],
            position=now,
        )

    def _reconsidered(self, connection: Connection, after: Position, now: Position) -> Changes:
        """The rows that came and left, where tombstones did: those aside now, against those that were."""
        mark, tombstone = after.marks[:2]
        new = pairs(connection, everything().where(fingerprints.c.seq > mark))
        was, is_now = set_aside(connection, tombstone), set_aside(connection)
        was = was[was[:, 0] <= mark]
        left = without(is_now[is_now[:, 0] <= mark], was)
        came = without(np.concatenate([was, new]), is_now)
        return _changes(came, now, left)


def another(was: Position, now: Position) -> str | None:
    """Why a database cannot be the one that a position was read from; None where it may be."""
    if was.marks[3] != now.marks[3]:
        return f"timeline {was.marks[3]} became {now.marks[3]}"
    names = ("fingerprint", "tombstone", "erasure")
    for what, mark, newest in zip(names, was.marks[:3], now.marks[:3], strict=True):
        if newest < mark:
            return f"its newest {what} was number {mark} and is {newest}"
    return None


def has_all(driver: Driver, was: Position) -> bool:
    """True where the newest rows of a position are here as they were: then all before them is."""
    said = was.marks[4:]
    return bool(said) and said_at(driver, was.marks) == said  # a SQLite file says nothing


def said_at(driver: Driver, marks: Sequence[int]) -> tuple[int, ...]:
    """What the rows at these marks say."""
    names = (fingerprints.name, tombstones.name, erased_fingerprints.name)
    (said,) = WITNESSES.rows(driver, **dict(zip(names, marks[:3], strict=True)))
    return tuple(said)


class Probe:
    """Reads the version of a SQLite file, which every commit but this connection's own changes.

    PostgreSQL has none: asking for a position there costs as much as reading what is new.
    """

    def __init__(self, engine: Engine) -> None:
        self._path = sqlite_path(engine.url)
        self._asking = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = self._path is None

    def version(self) -> int | None:
        """The file's version; None where there is none, or where it cannot be read at once."""
        if self._closed:
            return None
        with self._asking:
            if self._closed:
                return None
            try:
                if self._connection is None:
                    self._connection = sqlite3.connect(
                        f"{self._path.absolute().as_uri()}?mode=rw" if self._path else "",
                        uri=True,
                        timeout=0,
                        check_same_thread=False,
                    )
                (version,) = self._connection.execute("PRAGMA data_version").fetchone()
                return int(version)
            except sqlite3.Error:
                return None

    def close(self) -> None:
        """Let go of the file."""
        with self._asking:
            self._closed = True
            if self._connection is not None:
                self._connection.close()


def set_aside(connection: Connection, until: int | None = None) -> Pairs:
    """The fingerprints that are not in search, or were not when a tombstone was the newest, each once."""
    found = pairs(connection, aside(until))
    return found[np.unique(found[:, 0], return_index=True)[1]]


def _changes(came: Pairs, now: Position, left: Pairs = NOTHING) -> Changes:
    keys, values = np.ascontiguousarray(came.T)
    return Changes(keys, values.view(np.uint64), np.ascontiguousarray(left[:, 0]), position=now)


def _newest(*columns: ColumnElement[int]) -> ColumnElement[int]:
    """The newest number given out, 0 where there is none; in several columns, where rows go over."""
    if len(columns) == 1:
        return func.coalesce(select(func.max(columns[0])).scalar_subquery(), 0)
    each = union_all(*(select(func.max(column).label("newest")) for column in columns)).subquery()
    return func.coalesce(select(func.max(each.c.newest)).scalar_subquery(), 0)
