"""What was done, by whom, when and why: an append-only record that survives kill -9 at any moment.

Every step is written twice, as an intent before it and an outcome after it, so that whoever comes next knows
what may be half done. Nothing is ever changed or removed; the database itself refuses to.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
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
from guarded_rollout.sqlite import look_at

BUSY_SECONDS = 10
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
COMPLETED = ENDED.replace("'end'", "'end' AND name = 'completed'")


class Journal:
    """The record of one project root, in one SQLite file; many may read it while one writes."""

    def __init__(self, connection: sqlite3.Connection, path: Path, clock: Clock) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._writing = threading.Lock()

    @classmethod
    def open(cls, path: Path, *, clock: Clock | None = None, create: bool = True) -> Self:
        """Open the journal, or begin one; without `create` a missing one reads as empty and stays missing.

        Raises `JournalDamagedError`, `NotWritableError`.
        """
        try:
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            name = path if create or path.exists() else ":memory:"
            connection = sqlite3.connect(
                name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(SCHEMA + GUARDS)
        except (OSError, sqlite3.OperationalError) as error:
            raise NotWritableError(path=path, reason=error) from error
        except sqlite3.DatabaseError as error:
            raise JournalDamagedError(path=path, reason=error) from error
        return cls(connection, path, clock or SystemClock())

    @classmethod
    def look(cls, path: Path, *, clock: Clock | None = None) -> Self:
        """Open it to be read alone: nothing is created or repaired; a missing one reads as empty.

        Raises `JournalDamagedError`, `NotWritableError` (it is locked, or may not be read).
        """
        if not path.exists():
            return cls.open(path, clock=clock, create=False)
        try:
            connection = look_at(path)
        except sqlite3.OperationalError as error:
            raise NotWritableError(path=path, reason=error) from error
        return cls(connection, path, clock or SystemClock())

    def close(self) -> None:
        self._connection.close()

    def version(self) -> int:
        """A number that changes when another process has written: <https://sqlite.org/pragma.html#pragma_data_version>."""
        return int(self._execute("PRAGMA data_version")[0][0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

        `plan` becomes its first note, and `closes` ends another one as rolled back, both in the same
        transaction: no crash falls between.
        With a `target`, another open rollout of the environment raises `RolloutOpenError`.
        """
        rollout, now = new_id(self._clock.now()), self._clock.now().timestamp()
        with self._transaction():
            if closes is not None:
                self._end(closes, RolloutOutcome.ROLLED_BACK, f"closed by {command}")
            if target is not None and (other := self.open_rollout(environment)):
                raise RolloutOpenError(environment=environment, command=other.command, target=other.target)
            self._execute(
                "INSERT INTO rollout VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                str(rollout),
                environment,
                command,
                operator,
                source,
                target,
                why,
                now,
            )
            if plan is not None:
                self._insert(rollout, EntryKind.NOTE, PLAN, plan)
        return rollout

    def intend(self, rollout: UUID, step: str, **plan: object) -> None:
        """Say that a step is about to begin."""
        self._append(rollout, EntryKind.INTENT, step, plan)

    def settle(self, rollout: UUID, step: str, outcome: StepOutcome, **evidence: object) -> None:
        """Say how the step ended, and how one can tell."""
        self._append(rollout, EntryKind.OUTCOME, step, {"outcome": outcome, **evidence})

    def note(self, rollout: UUID, name: str, **data: object) -> None:
        """Say that something happened within a rollout."""
        self._append(rollout, EntryKind.NOTE, name, data)

    def end(self, rollout: UUID, outcome: RolloutOutcome, reason: str = "") -> None:
        """Close a rollout. Raises `RolloutEndedError` when it is closed already."""
        with self._transaction():
            self._end(rollout, outcome, reason)

    @contextmanager
    def step(self, rollout: UUID, name: str, **plan: object) -> Iterator[dict[str, object]]:
        """Journal a block as a step: intent before, outcome after, whatever ends it.

        The block fills the yielded dictionary with its evidence.
        """
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
        """The rollout of this environment that has a target and has not ended, if there is one."""
        return self._first("environment = ? AND target IS NOT NULL AND NOT " + ENDED, environment)

    def last_completed(self, environment: str) -> Rollout | None:
        """The newest rollout that replaced a release and ended well."""
        return self._first("environment = ? AND target IS NOT NULL AND " + COMPLETED, environment)

    def rollout(self, rollout: UUID) -> Rollout:
        """Return a rollout by its id. Raises `UnknownRolloutError`."""
        found = self._first("id = ?", str(rollout))
        if found is None:
            raise UnknownRolloutError(id=rollout)
        return found

    def history(self, environment: str | None = None, *, limit: int = 20) -> list[Rollout]:
        """The newest rollouts first; of all environments if none is named."""
        return list(self._rollouts("?1 IS NULL OR environment = ?1", environment, limit))

    def events(self, rollout: UUID | None = None, *, after: int = 0) -> list[JournalEntry]:
        """Events in the order of writing; those with a higher sequence than `after`."""
        rows = self._execute(
            "SELECT sequence, rollout, kind, name, at, data FROM event"
            " WHERE (?1 IS NULL OR rollout = ?1) AND sequence > ?2 ORDER BY sequence",
            str(rollout) if rollout else None,
            after,
        )
        return [_event(row) for row in rows]

    # ---- inside

    def _execute(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite3.OperationalError as error:
            raise NotWritableError(path=self._path, reason=error) from error
        except sqlite3.DatabaseError as error:
            raise JournalDamagedError(path=self._path, reason=error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._writing:
            self._execute("BEGIN IMMEDIATE")
            try:
                yield
                self._execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _append(self, rollout: UUID, kind: EntryKind, name: str, data: Mapping[str, object]) -> None:
        with self._transaction():
            self._insert(rollout, kind, name, data)

    def _end(self, rollout: UUID, outcome: RolloutOutcome, reason: str) -> None:
        self._insert(rollout, EntryKind.END, outcome, {"reason": reason})

    def _insert(self, rollout: UUID, kind: EntryKind, name: str, data: Mapping[str, object]) -> None:
        known = self._execute(f"SELECT {ENDED} FROM rollout WHERE id = ?", str(rollout))
        if not known:
            raise UnknownRolloutError(id=rollout)
        if known[0][0]:
            raise RolloutEndedError(id=rollout)
        self._execute(
            "INSERT INTO event (rollout, kind, name, at, data) VALUES (?, ?, ?, ?, ?)",
            str(rollout),
            kind,
            name,
            self._clock.now().timestamp(),
            json.dumps(data, default=str),
        )

    def _first(self, condition: str, parameter: str) -> Rollout | None:
        return next(self._rollouts(condition, parameter, 1), None)

    def _rollouts(self, condition: str, parameter: str | None, limit: int) -> Iterator[Rollout]:
        rows = self._execute(
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
