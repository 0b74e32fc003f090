"""Events on their way: stored before the first attempt, delivered at least once, in order for each channel.

One SQLite file an environment. Several processes may write and deliver: a channel's line is worked by
whoever holds its lock, and the kernel releases the lock of a process that dies.
"""

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from guarded_rollout.errors import OutboxError
from guarded_rollout.notify import matters
from guarded_rollout.notify.escalation import Matter, Stage
from guarded_rollout.notify.events import Event, Kind

BUSY_SECONDS = 10
SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    matters TEXT NOT NULL,          -- keys that it opens, concerns or closes: a JSON array
    at REAL NOT NULL,               -- seconds since 1970, UTC
    quiet INTEGER NOT NULL,         -- 1: nobody is told, for it repeats what was told
    fallback INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS delivery (
    event INTEGER NOT NULL REFERENCES event (sequence),
    channel TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,    -- not before, by our own patience
    closed REAL NOT NULL DEFAULT 0, -- not before, by the receiver's word
    problem TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (event, channel)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS delivery_line ON delivery (channel, event) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS matter (
    key TEXT PRIMARY KEY,
    event INTEGER NOT NULL REFERENCES event (sequence),
    opened REAL NOT NULL,
    told INTEGER NOT NULL,
    repeats INTEGER NOT NULL DEFAULT 0,
    acknowledged TEXT NOT NULL DEFAULT ''
) STRICT;
"""


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    REFUSED = "refused"  # the receiver said never; the next one in line goes on


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one channel."""

    sequence: int
    channel: str
    event: Event
    matters: tuple[str, ...]
    attempts: int
    due: float


@dataclass(frozen=True, slots=True)
class Result:
    """How far an event came on one channel."""

    state: State
    attempts: int
    problem: str

    def __str__(self) -> str:
        return f"{self.state}: {self.problem}" if self.problem else str(self.state)


class Outbox:
    """The store. Times are seconds since 1970, given by the caller."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._turn = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises `OutboxError`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(
                os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            )  # events may quote what others must not read
            connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)
            connection.execute("PRAGMA synchronous = NORMAL")
        except (OSError, sqlite3.Error) as error:
            raise OutboxError(path=path, reason=error) from error
        return cls(connection, path)

    def close(self) -> None:
        with self._turn:
            self._connection.close()

    # ---- putting in

    def put(self, event: Event, channels: Iterable[str], now: datetime, *, held: bool = False) -> bool:
        """Store an event for these channels; whether anybody is told now.

        An event that repeats an open matter, or ends one that was never told, is kept and told to nobody.
        One that ends a matter also goes where the matter went. With `held` a matter opens untold.
        """
        with self._transaction():
            opened = self._open_keys()
            key = matters.opens(event)
            ended = [known for known in opened if matters.closes(event, known)]
            about = [key] if key else ended or list(filter(None, [matters.concerns(event)]))
            repeat = key in opened or (event.kind is Kind.GATE_CLEARED and not any(opened[k] for k in ended))
            quiet = repeat or (held and key is not None)
            sequence = self._insert(event, about, quiet)
            if sequence is None:
                return False
            if key and repeat:
                self._run("UPDATE matter SET repeats = repeats + 1 WHERE key = ?", key)
            elif key:
                self._run(
                    "INSERT INTO matter (key, event, opened, told) VALUES (?, ?, ?, ?)",
                    key, sequence, now.timestamp(), 0 if held else 1,
                )  # fmt: skip
            wanted = dict.fromkeys([*channels, *self._told_by(ended)])
            self._run_many("DELETE FROM matter WHERE key = ?", [(known,) for known in ended])
            if not quiet:
                self._line_up(sequence, wanted)
            return not quiet

    def tell(self, matter: Matter, stage: Stage, event: Event) -> bool:
        """Tell a stage of a matter; whether it was this call that did."""
        with self._transaction():
            changed = self._run(
                "UPDATE matter SET told = ? WHERE key = ? AND told = ? AND acknowledged = ''",
                stage.number + 1, matter.key, stage.number,
            ).rowcount  # fmt: skip
            if not changed:
                return False
            sequence = self._insert(event, [matter.key], quiet=False)
            if sequence is None:  # stage 0 is the opening event itself, which was held until now
                sequence = self._sequence(event.id)
                self._run("UPDATE event SET quiet = 0 WHERE sequence = ?", sequence)
            self._line_up(sequence, stage.channels)
            return True

    def acknowledge(self, event: Event, channels: Iterable[str]) -> tuple[str, ...]:
        """Note who looks after all open matters, and tell it where they went. The matters' keys."""
        with self._transaction():
            rows = self._rows("SELECT key FROM matter WHERE acknowledged = ''")
            keys = tuple(key for (key,) in rows)
            sequence = self._insert(event, keys, quiet=not keys) if keys else None
            if sequence is not None:
                operator = event.facts.get("operator", "someone")
                self._run("UPDATE matter SET acknowledged = ? WHERE acknowledged = ''", operator)
                self._line_up(sequence, dict.fromkeys([*channels, *self._told_by(keys)]))
            return keys

    # ---- taking out

    def head(self, channel: str) -> Delivery | None:
        """The first in a channel's line; `due` says when it may be tried."""
        rows = self._rows(
            "SELECT sequence, body, matters, attempts, max(due, closed) FROM delivery"
            " JOIN event ON event = sequence"
            " WHERE channel = ? AND state = 'pending' ORDER BY event LIMIT 1",
            channel,
        )
        if not rows:
            return None
        sequence, body, keys, attempts, due = rows[0]
        return Delivery(sequence, channel, Event.from_json(body), tuple(json.loads(keys)), attempts, due)

    def settle(self, delivery: Delivery, state: State, problem: str = "") -> None:
        """Note that a delivery is over."""
        self._run(
            "UPDATE delivery SET state = ?, attempts = attempts + 1, problem = ?"
            " WHERE event = ? AND channel = ?",
            state, problem, delivery.sequence, delivery.channel,
        )  # fmt: skip

    def postpone(self, delivery: Delivery, problem: str, *, due: float, closed: float = 0.0) -> None:
        """Note an attempt that failed, and when to try again."""
        self._run(
            "UPDATE delivery SET attempts = attempts + 1, problem = ?, due = ?, closed = ?"
            " WHERE event = ? AND channel = ?",
            problem, due, closed, delivery.sequence, delivery.channel,
        )  # fmt: skip

    def hurry(self) -> None:
        """Forget our own patience, not the receivers': someone is here and wants to know."""
        self._run("UPDATE delivery SET due = 0 WHERE state = 'pending'")

    def waiting(self) -> int:
        """Deliveries that are neither delivered nor refused."""
        found: int = self._rows("SELECT count(*) FROM delivery WHERE state = 'pending'")[0][0]
        return found

    def channels(self) -> tuple[str, ...]:
        """The channels that something waits for."""
        rows = self._rows("SELECT DISTINCT channel FROM delivery WHERE state = 'pending'")
        return tuple(channel for (channel,) in rows)

    @contextmanager
    def line(self, channel: str) -> Iterator[bool]:
        """Whether this process may work a channel's line; while it does, no other one does."""
        descriptor = os.open(
            self._path.with_suffix(f".{channel}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    # ---- asking

    def results(self, event: Event) -> Mapping[str, Result]:
        """How far an event came, by channel."""
        rows = self._rows(
            "SELECT channel, state, attempts, problem FROM delivery"
            " JOIN event ON event = sequence WHERE id = ?",
            event.id,
        )
        return {
            channel: Result(State(state), attempts, problem) for channel, state, attempts, problem in rows
        }

    def knows(self, event: Event) -> bool:
        return bool(self._rows("SELECT 1 FROM event WHERE id = ?", event.id))

    def matters(self) -> Sequence[Matter]:
        """The open ones, oldest first."""
        rows = self._rows(
            "SELECT key, body, opened, told, acknowledged FROM matter"
            " JOIN event ON event = sequence ORDER BY opened"
        )
        return [
            Matter(key, Event.from_json(body), datetime.fromtimestamp(opened, UTC), told, bool(by))
            for key, body, opened, told, by in rows
        ]

    def unheard(self, attempts: int) -> Sequence[Event]:
        """Events that no channel has delivered, where each has refused, or has failed so often with the
        event at the head of its line; without those that the fallback file has."""
        rows = self._rows(
            "SELECT body FROM event WHERE quiet = 0 AND fallback = 0 AND NOT EXISTS ("
            " SELECT 1 FROM delivery WHERE event = sequence"
            " AND (state = 'delivered' OR state = 'pending' AND ("
            "  SELECT attempts FROM delivery AS head WHERE head.channel = delivery.channel"
            "  AND head.state = 'pending' ORDER BY head.event LIMIT 1) < ?)) ORDER BY sequence",
            attempts,
        )
        return [Event.from_json(body) for (body,) in rows]

    def fell_back(self, event: Event) -> None:
        """Note that the fallback file has it."""
        self._run("UPDATE event SET fallback = 1 WHERE id = ?", event.id)

    def again(self, event: Event, channels: Iterable[str]) -> None:
        """Put an event in line once more, where it was not delivered; as the newest if it was unknown."""
        with self._transaction():
            if self._insert(event, [], quiet=False) is not None:
                self.fell_back(event)
            sequence = self._sequence(event.id)
            self._line_up(sequence, channels)
            self._run(
                "UPDATE delivery SET state = 'pending', due = 0 WHERE event = ? AND state = 'refused'",
                sequence,
            )

    def forget(self, before: datetime) -> int:
        """Remove what is older, delivered or given up, and belongs to nothing open; how many events."""
        with self._transaction():
            old = (
                "SELECT sequence FROM event WHERE at < ? AND sequence NOT IN (SELECT event FROM matter)"
                " AND NOT EXISTS (SELECT 1 FROM delivery WHERE event = sequence AND state = 'pending')"
            )
            self._run(f"DELETE FROM delivery WHERE event IN ({old})", before.timestamp())
            return self._run(f"DELETE FROM event WHERE sequence IN ({old})", before.timestamp()).rowcount

    # ---- SQL

    def _open_keys(self) -> dict[str, int]:
        return dict(self._rows("SELECT key, told FROM matter"))

    def _told_by(self, keys: Iterable[str]) -> Sequence[str]:
        """The channels that heard of these matters since they opened."""
        found: dict[str, None] = {}
        for key in keys:
            rows = self._rows(
                "SELECT DISTINCT channel FROM delivery JOIN event ON delivery.event = sequence"
                " JOIN matter ON matter.key = ? AND delivery.event >= matter.event"
                " WHERE EXISTS (SELECT 1 FROM json_each(event.matters) WHERE value = matter.key)",
                key,
            )
            found.update((channel, None) for (channel,) in rows)
        return list(found)

    def _insert(self, event: Event, about: Iterable[str], quiet: bool) -> int | None:
        """The event's sequence number, or None if its id is known."""
        inserted = self._run(
            "INSERT OR IGNORE INTO event (id, body, matters, at, quiet) VALUES (?, ?, ?, ?, ?)",
            event.id, event.as_json(), json.dumps(list(about)), event.at.timestamp(), int(quiet),
        )  # fmt: skip
        return inserted.lastrowid if inserted.rowcount else None

    def _sequence(self, id: str) -> int:
        found: int = self._rows("SELECT sequence FROM event WHERE id = ?", id)[0][0]
        return found

    def _line_up(self, sequence: int, channels: Iterable[str]) -> None:
        rows = [(sequence, channel) for channel in channels]
        self._run_many("INSERT OR IGNORE INTO delivery (event, channel) VALUES (?, ?)", rows)

    def _run(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        try:
            with self._turn:
                return self._connection.execute(statement, parameters)
        except sqlite3.Error as error:
            raise OutboxError(path=self._path, reason=error) from error

    def _rows(self, statement: str, *parameters: Any) -> list[Any]:
        with self._turn:
            return self._run(statement, *parameters).fetchall()

    def _run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        try:
            with self._turn:
                self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise OutboxError(path=self._path, reason=error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Survives a power cut too. An outcome outside of one survives any kill, which is enough: what a
        power cut takes back of it is sent a second time, under the same id."""
        with self._turn:
            self._run("PRAGMA synchronous = FULL")
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._run("COMMIT")
            except BaseException:
                with suppress(OutboxError):
                    self._run("ROLLBACK")
                raise
            finally:
                with suppress(OutboxError):
                    self._run("PRAGMA synchronous = NORMAL")
