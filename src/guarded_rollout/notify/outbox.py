"""The outbox: events stored before the first attempt, delivered at least once, in order for each channel.

Several processes may write and deliver: a channel's queue is worked by the process that holds its lock.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from guarded_rollout.errors import OutboxError
from guarded_rollout.files import try_lock
from guarded_rollout.notify import incidents
from guarded_rollout.notify.events import Event, Kind
from guarded_rollout.notify.incidents import EscalationStage, Incident
from guarded_rollout.sqlite import Database, connect, look_at

SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    matters TEXT NOT NULL,          -- keys that it opens, concerns or closes: a JSON array
    at REAL NOT NULL,               -- seconds since 1970, UTC
    quiet INTEGER NOT NULL,         -- 1: suppressed, for it repeats what has gone out
    fallback INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS delivery (
    event INTEGER NOT NULL REFERENCES event (sequence),
    channel TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,    -- not before, by our own backoff
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


CONSOLE = "console"
"""Who looks at it is known to nobody: beside another channel it delivers nothing."""


class DeliveryState(StrEnum):
    """The state of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    REFUSED = "refused"  # for good; the next one in the queue goes on


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to a channel."""

    sequence: int
    channel: str
    event: Event
    incidents: tuple[str, ...]
    attempts: int
    due: float


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of an event on one channel."""

    state: DeliveryState
    attempts: int
    problem: str

    def __str__(self) -> str:
        return f"{self.state}: {self.problem}" if self.problem else str(self.state)


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its results by channel."""

    event: Event
    results: Mapping[str, DeliveryResult]
    suppressed: bool  # not sent, for it repeats what has gone out
    fallback: bool  # the fallback file has it


@dataclass(frozen=True, slots=True)
class DeliveryLog:
    """The newest events first, the open incidents oldest first, and the number of pending deliveries."""

    events: tuple[LoggedEvent, ...] = ()
    incidents: tuple[Incident, ...] = ()
    pending: int = 0


class Outbox(Database):
    """The store. Times are seconds since 1970, given by the caller. Its methods raise `OutboxError`."""

    @staticmethod
    def _failure(path: Path, error: Exception) -> OutboxError:
        return OutboxError(path=path, reason=error)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file, or create it. Raises `OutboxError`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Events may quote what others must not read.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = connect(path, SCHEMA)
            connection.execute("PRAGMA synchronous = NORMAL")
        except (OSError, sqlite3.Error) as error:
            raise cls._failure(path, error) from error
        return cls(connection, path)

    @classmethod
    def look(cls, path: Path) -> Self:
        """Open an existing file to be read alone. Raises `OutboxError`."""
        try:
            return cls(look_at(path), path)
        except sqlite3.Error as error:
            raise cls._failure(path, error) from error

    # ---- events and incidents

    def put(self, event: Event, channels: Iterable[str], now: datetime, *, delayed: bool = False) -> bool:
        """Store an event for these channels; return True if it goes out now.

        An event that repeats an open incident, or ends one that never went out, is stored and suppressed. One
        that ends an incident also goes wherever that went. With `delayed` an incident opens unnotified.
        """
        with self._transaction():
            opened = dict(self._rows("SELECT key, told FROM matter"))
            key = incidents.opens(event)
            ended = [known for known in opened if incidents.closes(event, known)]
            about = [key] if key else ended or list(filter(None, [incidents.concerns(event)]))
            repeat = key in opened or (event.kind is Kind.GATE_CLEARED and not any(opened[k] for k in ended))
            suppressed = repeat or (delayed and key is not None)
            sequence = self._insert(event, about, suppressed)
            if sequence is None:
                return False
            if key and repeat:
                self._run("UPDATE matter SET repeats = repeats + 1 WHERE key = ?", key)
            elif key:
                self._run(
                    "INSERT INTO matter (key, event, opened, told) VALUES (?, ?, ?, ?)",
                    key, sequence, now.timestamp(), 0 if delayed else 1,
                )  # fmt: skip
            wanted = dict.fromkeys([*channels, *self._channels_of(ended)])
            self._run_many("DELETE FROM matter WHERE key = ?", [(known,) for known in ended])
            if not suppressed:
                self._enqueue(sequence, wanted)
            return not suppressed

    def escalate(self, incident: Incident, stage: EscalationStage, event: Event) -> bool:
        """Queue a stage's event; return False if another call did, or the incident was acknowledged."""
        with self._transaction():
            changed = self._run(
                "UPDATE matter SET told = ? WHERE key = ? AND told = ? AND acknowledged = ''",
                stage.number + 1, incident.key, stage.number,
            ).rowcount  # fmt: skip
            if not changed:
                return False
            sequence = self._insert(event, [incident.key], suppressed=False)
            if sequence is None:  # stage 0 is the opening event itself, which was delayed until now
                sequence = self._sequence(event.id)
                self._run("UPDATE event SET quiet = 0 WHERE sequence = ?", sequence)
            self._enqueue(sequence, stage.channels)
            return True

    def acknowledge(self, event: Event, channels: Iterable[str]) -> tuple[str, ...]:
        """Note who looks after all open incidents, notify wherever they went, and return their keys."""
        with self._transaction():
            rows = self._rows("SELECT key FROM matter WHERE acknowledged = ''")
            keys = tuple(key for (key,) in rows)
            sequence = self._insert(event, keys, suppressed=False) if keys else None
            if sequence is not None:
                operator = event.facts.get("operator", "someone")
                self._run("UPDATE matter SET acknowledged = ? WHERE acknowledged = ''", operator)
                self._enqueue(sequence, dict.fromkeys([*channels, *self._channels_of(keys)]))
            return keys

    def requeue(self, event: Event, channels: Iterable[str]) -> None:
        """Queue an event once more where it was not delivered; as the newest if it was unknown."""
        with self._transaction():
            if self._insert(event, [], suppressed=False) is not None:
                self.mark_fallback(event)
            sequence = self._sequence(event.id)
            self._enqueue(sequence, channels)
            self._run(
                "UPDATE delivery SET state = 'pending', due = 0 WHERE event = ? AND state = 'refused'",
                sequence,
            )

    def mark_fallback(self, event: Event) -> None:
        """Note that the fallback file has an event."""
        self._run("UPDATE event SET fallback = 1 WHERE id = ?", event.id)

    def prune(self, before: datetime) -> int:
        """Remove older events with nothing pending and no open incident; return how many."""
        with self._transaction():
            old = (
                "SELECT sequence FROM event WHERE at < ? AND sequence NOT IN (SELECT event FROM matter)"
                " AND NOT EXISTS (SELECT 1 FROM delivery WHERE event = sequence AND state = 'pending')"
            )
            self._run(f"DELETE FROM delivery WHERE event IN ({old})", before.timestamp())
            return self._run(f"DELETE FROM event WHERE sequence IN ({old})", before.timestamp()).rowcount

    # ---- deliveries

    @contextmanager
    def claim(self, channel: str) -> Iterator[bool]:
        """Claim a channel's queue for a block; yields False while another process has it."""
        descriptor = os.open(
            self._path.with_suffix(f".{channel}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            yield try_lock(descriptor)
        finally:
            os.close(descriptor)

    def head(self, channel: str) -> Delivery | None:
        """Return the first delivery in a channel's queue; its `due` says when it may be tried."""
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

    def finish(self, delivery: Delivery, state: DeliveryState, problem: str = "") -> None:
        """Note that a delivery is over."""
        self._run(
            "UPDATE delivery SET state = ?, attempts = attempts + 1, problem = ?"
            " WHERE event = ? AND channel = ?",
            state, problem, delivery.sequence, delivery.channel,
        )  # fmt: skip

    def postpone(self, delivery: Delivery, problem: str, *, due: float = 0.0, closed: float = 0.0) -> None:
        """Note a failed attempt, and when to try again: by our backoff (`due`) or the receiver (`closed`)."""
        self._run(
            "UPDATE delivery SET attempts = attempts + 1, problem = ?, due = ?, closed = ?"
            " WHERE event = ? AND channel = ?",
            problem, due, closed, delivery.sequence, delivery.channel,
        )  # fmt: skip

    def skip_backoff(self) -> None:
        """Make every pending delivery due, except where the receiver asked for more time."""
        self._run("UPDATE delivery SET due = 0 WHERE state = 'pending'")

    # ---- queries

    def pending(self) -> int:
        """Return the number of deliveries that are neither delivered nor refused."""
        return int(self._rows("SELECT count(*) FROM delivery WHERE state = 'pending'")[0][0])

    def channels(self) -> tuple[str, ...]:
        """Return the channels with pending deliveries."""
        rows = self._rows("SELECT DISTINCT channel FROM delivery WHERE state = 'pending'")
        return tuple(channel for (channel,) in rows)

    def results(self, event: Event) -> Mapping[str, DeliveryResult]:
        """Return how far an event came, by channel."""
        rows = self._rows(
            "SELECT channel, state, attempts, problem FROM delivery"
            " JOIN event ON event = sequence WHERE id = ?",
            event.id,
        )
        return {channel: _result(*about) for channel, *about in rows}

    def incidents(self) -> Sequence[Incident]:
        """Return the open incidents, oldest first."""
        rows = self._rows(
            "SELECT key, body, opened, told, acknowledged FROM matter"
            " JOIN event ON event = sequence ORDER BY opened"
        )
        return [
            Incident(key, Event.from_json(body), datetime.fromtimestamp(opened, UTC), notified, bool(by))
            for key, body, opened, notified, by in rows
        ]

    def undelivered(self, attempts: int) -> Sequence[Event]:
        """Return the events that no channel has delivered, without those that the fallback file has.

        Each channel has refused the event, or failed this often with the one at the head of its queue.
        """
        rows = self._rows(
            "SELECT body FROM event WHERE quiet = 0 AND fallback = 0 AND NOT EXISTS ("
            " SELECT 1 FROM delivery WHERE event = sequence AND (channel <> ? OR NOT EXISTS ("
            "  SELECT 1 FROM delivery AS beside WHERE beside.event = sequence AND beside.channel <> ?))"
            " AND (state = 'delivered' OR state = 'pending' AND ("
            "  SELECT attempts FROM delivery AS head WHERE head.channel = delivery.channel"
            "  AND head.state = 'pending' ORDER BY head.event LIMIT 1) < ?)) ORDER BY sequence",
            CONSOLE,
            CONSOLE,
            attempts,
        )
        return [Event.from_json(body) for (body,) in rows]

    def log(self, limit: int = 30) -> DeliveryLog:
        """Return the delivery log of the newest `limit` events."""
        newest = "(SELECT sequence FROM event ORDER BY sequence DESC LIMIT ?)"
        results: dict[int, dict[str, DeliveryResult]] = {}
        for sequence, channel, *about in self._rows(
            f"SELECT event, channel, state, attempts, problem FROM delivery WHERE event IN {newest}"
            " ORDER BY channel",
            limit,
        ):
            results.setdefault(sequence, {})[channel] = _result(*about)
        events = [
            LoggedEvent(Event.from_json(body), results.get(sequence, {}), bool(quiet), bool(fallback))
            for sequence, body, quiet, fallback in self._rows(
                f"SELECT sequence, body, quiet, fallback FROM event WHERE sequence IN {newest}"
                " ORDER BY sequence DESC",
                limit,
            )
        ]
        # What a killed command had journalled is stored after what has happened since.
        events.sort(key=lambda one: one.event.at, reverse=True)
        return DeliveryLog(tuple(events), tuple(self.incidents()), self.pending())

    # ---- SQL

    def _channels_of(self, keys: Iterable[str]) -> Sequence[str]:
        """Return the channels that these incidents have gone to since they opened."""
        rows = self._rows(
            "SELECT DISTINCT channel FROM delivery JOIN event ON delivery.event = sequence"
            " JOIN matter ON delivery.event >= matter.event"
            " WHERE matter.key IN (SELECT value FROM json_each(?))"
            " AND EXISTS (SELECT 1 FROM json_each(event.matters) WHERE value = matter.key)",
            json.dumps(list(keys)),
        )
        return [channel for (channel,) in rows]

    def _insert(self, event: Event, about: Iterable[str], suppressed: bool) -> int | None:
        """Return the event's sequence number, or None if its id is known."""
        inserted = self._run(
            "INSERT OR IGNORE INTO event (id, body, matters, at, quiet) VALUES (?, ?, ?, ?, ?)",
            event.id, event.as_json(), json.dumps(list(about)), event.at.timestamp(), int(suppressed),
        )  # fmt: skip
        return inserted.lastrowid if inserted.rowcount else None

    def _sequence(self, id: str) -> int:
        found: int = self._rows("SELECT sequence FROM event WHERE id = ?", id)[0][0]
        return found

    def _enqueue(self, sequence: int, channels: Iterable[str]) -> None:
        rows = [(sequence, channel) for channel in channels]
        self._run_many("INSERT OR IGNORE INTO delivery (event, channel) VALUES (?, ?)", rows)

    def _run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._connected() as connection:
            connection.executemany(statement, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what survives a power cut. What is written outside of a transaction survives any kill, which
        is enough: a result that a power cut takes back is sent a second time, under the same id."""
        with self._turn:
            self._run("PRAGMA synchronous = FULL")
            try:
                with super()._transaction():
                    yield
            finally:
                with suppress(OutboxError):
                    self._run("PRAGMA synchronous = NORMAL")


def _result(state: str, attempts: int, problem: str) -> DeliveryResult:
    return DeliveryResult(DeliveryState(state), attempts, problem)
