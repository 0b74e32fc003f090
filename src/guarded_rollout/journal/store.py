"""The journal: an append-only record of what was done, by whom and why, which survives kill -9 at any moment.

Every step is written twice, as an intent and as an outcome, so that a later process knows what may be half
done. The database refuses to change or remove a row.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from uuid import UUID

from guarded_rollout.clock import Clock, SystemClock
from guarded_rollout.errors import (
    JournalDamagedError,
    NotWritableError,
    RolloutEndedError,
    RolloutOpenError,
    UnknownRolloutError,
)
from guarded_rollout.journal.model import (
    PLAN,
    EntryKind,
    JournalEntry,
    Rollout,
    RolloutOutcome,
    StepOutcome,
    fold,
    new_id,
)
from guarded_rollout.sqlite import Database, connect, look_at

ALL = -1  # as a limit: SQLite's word for none

SCHEMA = """
CREATE TABLE IF NOT EXISTS rollout (
    id TEXT PRIMARY KEY,            -- UUIDv7: sorts by time of creation
    environment TEXT NOT NULL,
    command TEXT NOT NULL,
    operator TEXT NOT NULL,
    source TEXT,
    target TEXT,
    why TEXT NOT NULL,
    started_at REAL NOT NULL        -- seconds since 1970, UTC
) STRICT;
CREATE INDEX IF NOT EXISTS rollout_environment ON rollout (environment, id);
CREATE TABLE IF NOT EXISTS event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout TEXT NOT NULL REFERENCES rollout (id),
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    at REAL NOT NULL,
    data TEXT NOT NULL              -- a JSON object
) STRICT;
CREATE INDEX IF NOT EXISTS event_rollout ON event (rollout, sequence);
CREATE UNIQUE INDEX IF NOT EXISTS event_end ON event (rollout) WHERE kind = 'end';
"""
GUARDS = "".join(
    f"CREATE TRIGGER IF NOT EXISTS {table}_{verb} BEFORE {verb} ON {table}"
    " BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;"
    for table in ("rollout", "event")
    for verb in ("UPDATE", "DELETE")
)
ENDED = "EXISTS (SELECT 1 FROM event WHERE event.rollout = rollout.id AND kind = 'end')"


class Journal(Database):
    """The record of one environment, in one SQLite file; many may read it while one writes."""

    def __init__(self, connection: sqlite3.Connection, path: Path, clock: Clock) -> None:
        super().__init__(connection, path)
        self._clock = clock

    @staticmethod
    def _failure(path: Path, error: Exception) -> JournalDamagedError | NotWritableError:
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        return (JournalDamagedError if damaged else NotWritableError)(path=path, reason=error)

    @classmethod
    def open(cls, path: Path, *, clock: Clock | None = None, create: bool = True) -> Self:
        """Open the journal, or begin one; without `create` a missing one reads as empty and stays missing.

        Raises `JournalDamagedError`, `NotWritableError`.
        """
        try:
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            name = path if create or path.exists() else ":memory:"
            return cls(connect(name, SCHEMA + GUARDS), path, clock or SystemClock())
        except (OSError, sqlite3.Error) as error:
            raise cls._failure(path, error) from error

    @classmethod
    def look(cls, path: Path) -> Self:
        """Open it to be read alone: nothing is created or repaired; a missing one reads as empty.

        Raises `JournalDamagedError`, `NotWritableError` (it is locked, or may not be read).
        """
        if not path.exists():
            return cls.open(path, create=False)
        try:
            return cls(look_at(path), path, SystemClock())
        except sqlite3.Error as error:
            raise cls._failure(path, error) from error

    # ---- writing

    def begin(
        self,
        environment: str,
        command: str,
        *,
        operator: str,
        source: str | None = None,
        target: str | None = None,
        why: str = "",
        plan: Mapping[str, object] | None = None,
        closes: UUID | None = None,
    ) -> UUID:
        """Begin a rollout and return its id.

        `plan` becomes its first note, and `closes` ends another one as rolled back, for the same reason,
        in the same transaction.
        With a `target`, another open rollout of the environment raises `RolloutOpenError`.
        """
        rollout, now = new_id(self._clock.now()), self._clock.now().timestamp()
        with self._transaction():
            if closes is not None:
                self._end(closes, RolloutOutcome.ROLLED_BACK, why or f"{command} by {operator}")
            if target is not None and (other := self.open_rollout(environment)):
                raise RolloutOpenError(environment=environment, command=other.command, target=other.target)
            self._run(
                "INSERT INTO rollout VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                str(rollout), environment, command, operator, source, target, why, now,
            )  # fmt: skip
            if plan is not None:
                self._insert(rollout, EntryKind.NOTE, PLAN, plan)
        return rollout

    def intend(self, rollout: UUID, step: str, **plan: object) -> None:
        """Note that a step is about to begin."""
        self._append(rollout, EntryKind.INTENT, step, plan)

    def settle(self, rollout: UUID, step: str, outcome: StepOutcome, **evidence: object) -> None:
        """Note how the step ended, with the evidence."""
        self._append(rollout, EntryKind.OUTCOME, step, {"outcome": outcome, **evidence})

    def note(self, rollout: UUID, name: str, **data: object) -> None:
        """Note that something happened within a rollout."""
        self._append(rollout, EntryKind.NOTE, name, data)

    def end(self, rollout: UUID, outcome: RolloutOutcome, reason: str = "") -> None:
        """Close a rollout. Raises `RolloutEndedError` when it is closed already."""
        with self._transaction():
            self._end(rollout, outcome, reason)

    @contextmanager
    def step(self, rollout: UUID, name: str, **plan: object) -> Iterator[dict[str, object]]:
        """Journal a block as a step, however it ends; the block fills the yielded mapping with evidence."""
        evidence: dict[str, object] = {}
        self.intend(rollout, name, **plan)
        try:
            yield evidence
        except BaseException as error:  # Ctrl-C is an outcome too
            evidence["error"] = str(error) or type(error).__name__
            self.settle(rollout, name, StepOutcome.FAILED, **evidence)
            raise
        self.settle(rollout, name, StepOutcome.DONE, **evidence)

    # ---- reading

    def open_rollout(self, environment: str) -> Rollout | None:
        """Return the open rollout of this environment that has a target, if there is one."""
        return self._first("environment = ? AND target IS NOT NULL AND NOT " + ENDED, environment)

    def rollout(self, rollout: UUID) -> Rollout:
        """Return a rollout by its id. Raises `UnknownRolloutError`."""
        found = self._first("id = ?", str(rollout))
        if found is None:
            raise UnknownRolloutError(id=rollout)
        return found

    def history(self, environment: str | None = None, *, limit: int = 20) -> list[Rollout]:
        """Return the newest rollouts first; of all environments if none is named."""
        return list(self._rollouts("?1 IS NULL OR environment = ?1", environment, limit))

    def deployments(self, environment: str | None = None, *, limit: int = 500) -> list[Rollout]:
        """Return the newest rollouts that replaced a release, or tried to, first."""
        condition = "(?1 IS NULL OR environment = ?1) AND target IS NOT NULL"
        return list(self._rollouts(condition, environment, limit))

    def events(self, rollout: UUID | None = None, *, after: int = 0) -> list[JournalEntry]:
        """Return the events with a higher sequence than `after`, in the order of writing."""
        rows = self._rows(
            "SELECT sequence, rollout, kind, name, at, data FROM event"
            " WHERE (?1 IS NULL OR rollout = ?1) AND sequence > ?2 ORDER BY sequence",
            str(rollout) if rollout else None,
            after,
        )
        return [_event(row) for row in rows]

    # ---- inside

    def _append(self, rollout: UUID, kind: EntryKind, name: str, data: Mapping[str, object]) -> None:
        with self._transaction():
            self._insert(rollout, kind, name, data)

    def _end(self, rollout: UUID, outcome: RolloutOutcome, reason: str) -> None:
        self._insert(rollout, EntryKind.END, outcome, {"reason": reason})

    def _insert(self, rollout: UUID, kind: EntryKind, name: str, data: Mapping[str, object]) -> None:
        known = self._rows(f"SELECT {ENDED} FROM rollout WHERE id = ?", str(rollout))
        if not known:
            raise UnknownRolloutError(id=rollout)
        if known[0][0]:
            raise RolloutEndedError(id=rollout)
        self._run(
            "INSERT INTO event (rollout, kind, name, at, data) VALUES (?, ?, ?, ?, ?)",
            str(rollout), kind, name, self._clock.now().timestamp(), json.dumps(data, default=str),
        )  # fmt: skip

    def _first(self, condition: str, parameter: str) -> Rollout | None:
        return next(self._rollouts(condition, parameter, 1), None)

    def _rollouts(self, condition: str, parameter: str | None, limit: int) -> Iterator[Rollout]:
        rows = self._rows(
            "SELECT id, environment, command, operator, source, target, why, started_at FROM rollout"
            f" WHERE {condition} ORDER BY rowid DESC LIMIT {limit:d}",
            parameter,
        )
        for id_, environment, command, operator, source, target, why, started_at in rows:
            begun = Rollout(
                UUID(id_), environment, command, operator, source, target, why, _moment(started_at)
            )
            yield fold(begun, self.events(begun.id))


def _event(row: tuple[int, str, str, str, float, str]) -> JournalEntry:
    sequence, rollout, kind, name, at, data = row
    return JournalEntry(sequence, UUID(rollout), EntryKind(kind), name, _moment(at), json.loads(data))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
