"""What was told and what still waits, read from the outbox without taking part in it."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from guarded_rollout.errors import OutboxError
from guarded_rollout.notify.escalation import Matter
from guarded_rollout.notify.events import Event
from guarded_rollout.notify.outbox import Result, State
from guarded_rollout.sqlite import look_at


@dataclass(frozen=True, slots=True)
class Told:
    """One event, and how far it came by channel. `quiet`: nobody is told, for it repeats what was told;
    `fallback`: the fallback file has it, because no channel took it."""

    event: Event
    results: Mapping[str, Result]
    quiet: bool
    fallback: bool


@dataclass(frozen=True, slots=True)
class Ledger:
    """The newest events first, the open matters oldest first, and how many deliveries wait."""

    told: tuple[Told, ...] = ()
    matters: tuple[Matter, ...] = ()
    waiting: int = 0


class LedgerReader:
    """An outbox that is only looked at. A missing one reads as empty."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    def look(cls, path: Path) -> Self:
        """Raises `OutboxError`."""
        try:
            connection = look_at(path)
        except sqlite3.Error as error:
            raise OutboxError(path=path, reason=error) from error
        return cls(connection, path)

    def close(self) -> None:
        self._connection.close()

    def version(self) -> int:
        """A number that changes when another process has written."""
        return int(self._rows("PRAGMA data_version")[0][0])

    def read(self, limit: int = 30) -> Ledger:
        """The newest `limit` events. Raises `OutboxError`."""
        deliveries: dict[int, dict[str, Result]] = {}
        newest = "(SELECT sequence FROM event ORDER BY sequence DESC LIMIT ?)"
        for sequence, channel, state, attempts, problem in self._rows(
            f"SELECT event, channel, state, attempts, problem FROM delivery WHERE event IN {newest}"
            " ORDER BY channel",
            limit,
        ):
            deliveries.setdefault(sequence, {})[channel] = Result(State(state), attempts, problem)
        told = [
            Told(Event.from_json(body), deliveries.get(sequence, {}), bool(quiet), bool(fallback))
            for sequence, body, quiet, fallback in self._rows(
                f"SELECT sequence, body, quiet, fallback FROM event WHERE sequence IN {newest}"
                " ORDER BY sequence DESC",
                limit,
            )
        ]
        # What a killed command had written down is told after what happened since.
        told.sort(key=lambda one: one.event.at, reverse=True)
        matters = [
            Matter(key, Event.from_json(body), datetime.fromtimestamp(opened, UTC), told_stages, bool(by))
            for key, body, opened, told_stages, by in self._rows(
                "SELECT key, body, opened, told, acknowledged FROM matter"
                " JOIN event ON event = sequence ORDER BY opened"
            )
        ]
        waiting = self._rows("SELECT count(*) FROM delivery WHERE state = 'pending'")[0][0]
        return Ledger(tuple(told), tuple(matters), waiting)

    def _rows(self, statement: str, *parameters: Any) -> Sequence[Any]:
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise OutboxError(path=self._path, reason=error) from error
