"""Decisions and their withdrawals: recorded once however often they are sent, and listed in pages.

The client names its decision, with a UUIDv7 of its own, so one that is sent again after a lost answer is
recognised. Taking a decision back is a fact about that decision: what was decided before it holds again,
and where nothing was, the lookup waits again.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Column, Connection, Engine, Row, Select, func, select, tuple_

from dhash_service.errors import ConflictError, NotFoundError
from dhash_service.facts import Algorithm, Decision, Lookup, Verdict, Withdrawal
from dhash_service.store.engine import reading
from dhash_service.store.recorder import Recorder, add
from dhash_service.store.repository import read_lookups
from dhash_service.store.review import stands
from dhash_service.store.tables import decisions, lookups, withdrawals
from dhash_service.store.writer import Writer


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision, what it was about, and its withdrawal, if somebody took it back."""

    decision: Decision
    lookup: Lookup
    withdrawal: Withdrawal | None


@dataclass(frozen=True, slots=True)
class History:
    """Decisions, the newest first. `before` is where the next page begins, None on the last one."""

    judged: Sequence[Judged]
    before: UUID | None


@dataclass(frozen=True, slots=True)
class Counted:
    """Decisions since a time that stand: by one reviewer, and by all."""

    mine: int
    all: int


class Vote(NamedTuple):
    """The part of a decision that tells of its reviewer; `stands` is False where it was taken back."""

    lookup: UUID
    verdict: Verdict
    reviewer: str
    created_at: datetime
    stands: bool


class Verdicts:
    """The decisions of one store."""

    def __init__(self, engine: Engine, writer: Writer, recorder: Recorder, algorithm: Algorithm) -> None:
        self._engine = engine
        self._writer = writer
        self._recorder = recorder
        self._algorithm = algorithm

    def record(self, decision: Decision) -> Future[tuple[Decision, bool]]:
        """Record a decision; as it is in the store, and whether it is new there.

        Fails with `NotFoundError` where there is no such lookup, `ConflictError` where another decision has
        its id.
        """
        return self._writer.submit(self._record, decision)

    def withdraw(self, withdrawal: Withdrawal) -> Future[Withdrawal]:
        """Take a decision back; the withdrawal that holds. Fails with `NotFoundError`."""
        return self._writer.submit(self._withdraw, withdrawal)

    def decision(self, id: UUID) -> Decision | None:
        """The decision with this id, taken back or not."""
        with reading(self._engine) as connection:
            return found_decision(connection, id)

    def taken_back(self, id: UUID) -> bool:
        """True if somebody has taken this decision back."""
        with reading(self._engine) as connection:
            return bool(withdrawn(connection, [id]))

    def history(self, before: UUID | None = None, limit: int = 50, *, reviewer: str | None = None) -> History:
        """Decisions before a cursor (a decision's id), the newest first."""
        wanted = select(decisions).order_by(decisions.c.created_at.desc(), decisions.c.id.desc())
        if reviewer is not None:
            wanted = wanted.where(decisions.c.reviewer == reviewer)
        with reading(self._engine) as connection:
            if before and (cursor := found_decision(connection, before)):
                place = tuple_(decisions.c.created_at, decisions.c.id)
                wanted = wanted.where(place < (cursor.created_at, cursor.id))
            rows = connection.execute(wanted.limit(limit + 1)).all()
            judged = list(self._judged(connection, [as_decision(row) for row in rows[:limit]]))
        return History(judged, judged[-1].decision.id if len(rows) > limit else None)

    def about(self, lookup: UUID) -> list[Judged]:
        """All decisions on one lookup, the newest first."""
        wanted = select(decisions).where(decisions.c.lookup_id == lookup)
        newest_first = wanted.order_by(decisions.c.created_at.desc(), decisions.c.id.desc())
        with reading(self._engine) as connection:
            made = [as_decision(row) for row in connection.execute(newest_first)]
            return self._judged(connection, made)

    def made_with(self, decision: Decision) -> list[UUID]:
        """The decisions that were made along with one (see `with_note`), by id."""
        wanted = select(decisions.c.id).where(
            decisions.c.reviewer == decision.reviewer,
            decisions.c.created_at >= decision.created_at,
            decisions.c.note == with_note(decision.id),
        )
        with reading(self._engine) as connection:
            return list(connection.scalars(wanted))

    def reviewers(self) -> list[str]:
        """Everybody who ever decided, by name."""
        with reading(self._engine) as connection:
            return list(connection.scalars(select(decisions.c.reviewer).distinct().order_by("reviewer")))

    def count(self, reviewer: str, since: datetime) -> Counted:
        """Count the decisions made since then that stand."""
        mine = func.count().filter(decisions.c.reviewer == reviewer)
        wanted = select(mine, func.count()).where(decisions.c.created_at >= since, stands(decisions))
        with reading(self._engine) as connection:
            return Counted(*connection.execute(wanted).one())

    def times(self, reviewer: str, limit: int) -> list[datetime]:
        """The times of a reviewer's newest decisions, without those made along with another."""
        with reading(self._engine) as connection:
            return list(connection.scalars(_own(decisions.c.created_at, reviewer, limit)))

    def undoable(self, reviewer: str, limit: int) -> list[UUID]:
        """Those of a reviewer's newest decisions that stand, without those made along with another."""
        with reading(self._engine) as connection:
            newest = list(connection.scalars(_own(decisions.c.id, reviewer, limit)))
            back = withdrawn(connection, newest)
        return [id for id in newest if id not in back]

    def votes(self, since: datetime, limit: int) -> list[Vote]:
        """The newest decisions since then, without those made along with another."""
        columns = (getattr(decisions.c, name) for name in ("lookup_id", "verdict", "reviewer", "created_at"))
        wanted = select(*columns, stands(decisions)).where(
            decisions.c.created_at >= since, decisions.c.note.not_like(f"{WITH}%")
        )
        newest_first = wanted.order_by(decisions.c.created_at.desc(), decisions.c.id.desc())
        with reading(self._engine) as connection:
            rows = connection.execute(newest_first.limit(limit)).all()
        return [Vote(row[0], Verdict(row[1]), row[2], row[3], bool(row[4])) for row in rows]

    def _judged(self, connection: Connection, made: Sequence[Decision]) -> list[Judged]:
        about = select(lookups).where(lookups.c.id.in_({decision.lookup for decision in made}))
        found = {lookup.id: lookup for lookup in read_lookups(connection, about, self._algorithm)}
        back = withdrawn(connection, [decision.id for decision in made])
        return [Judged(each, found[each.lookup], back.get(each.id)) for each in made]

    def _record(self, connection: Connection, new: Sequence[Decision]) -> list[tuple[Decision, bool]]:
        written = []
        for decision in new:
            there = found_decision(connection, decision.id)
            if there is None:
                written.append((self._recorder.add_decisions(connection, [decision])[0], True))
                continue
            if said(there) != said(decision):
                raise ConflictError(f"The decision {decision.id} was made already, and is another one.")
            written.append((there, False))
        return written

    def _withdraw(self, connection: Connection, new: Sequence[Withdrawal]) -> list[Withdrawal]:
        written = []
        for withdrawal in new:
            if found_decision(connection, withdrawal.decision) is None:
                raise NotFoundError(f"There is no decision {withdrawal.decision}.")
            there = withdrawn(connection, [withdrawal.decision]).get(withdrawal.decision)
            if there is None:
                row = {
                    "id": withdrawal.id,
                    "decision_id": withdrawal.decision,
                    "reviewer": withdrawal.reviewer,
                    "release": withdrawal.release,
                    "created_at": withdrawal.created_at,
                }
                add(connection, withdrawals, [row])
            written.append(there or withdrawal)
        return written


WITH = "with decision "


def _own(column: Column[Any], reviewer: str, limit: int) -> Select[Any]:
    """A column of a reviewer's newest decisions, without those made along with another."""
    wanted = select(column).where(decisions.c.reviewer == reviewer, decisions.c.note.not_like(f"{WITH}%"))
    return wanted.order_by(decisions.c.created_at.desc(), decisions.c.id.desc()).limit(limit)


def with_note(decision: UUID) -> str:
    """The note of decisions that were made along with another."""
    return f"{WITH}{decision}"


def said(decision: Decision) -> tuple[object, ...]:
    """The part of a decision that must agree when it is sent again."""
    return decision.lookup, decision.verdict, decision.reviewer, decision.note


def found_decision(connection: Connection, id: UUID) -> Decision | None:
    """The decision with this id."""
    row = connection.execute(select(decisions).where(decisions.c.id == id)).first()
    return as_decision(row) if row else None


def withdrawn(connection: Connection, made: Sequence[UUID]) -> dict[UUID, Withdrawal]:
    """The first withdrawal of each of these decisions that was taken back."""
    wanted: Select[Any] = select(withdrawals).where(withdrawals.c.decision_id.in_(made))
    rows = connection.execute(wanted.order_by(withdrawals.c.created_at.desc(), withdrawals.c.id.desc()))
    return {
        row.decision_id: Withdrawal(row.id, row.decision_id, row.reviewer, row.release, row.created_at)
        for row in rows
    }


def as_decision(row: Row[*tuple[Any, ...]]) -> Decision:
    """A decision from its row."""
    return Decision(
        row.id, row.lookup_id, Verdict(row.verdict), row.reviewer, row.note, row.release, row.created_at
    )
