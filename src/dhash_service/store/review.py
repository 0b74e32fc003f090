"""The review queue: lookups that need a person and have no decision yet. Derived, never stored as a list.

A decision counts unless it was taken back. A lookup leaves the queue when somebody decides it, also when
they decide that they are unsure: one person has looked, and asking the next one over and over would hide
the rest. Unsure ones can be listed by themselves, for a second opinion; a later decision then holds. A
lookup whose image or nearest image is out of search leaves the queue too, since there is nothing left to
compare, and returns with them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    Text,
    and_,
    exists,
    func,
    select,
    text,
    tuple_,
)

from dhash_service.facts import Algorithm, Lookup, Sha256, Verdict
from dhash_service.store.engine import reading
from dhash_service.store.leases import held_by_others
from dhash_service.store.repository import chunks, read_lookups
from dhash_service.store.tables import decisions, lookups, withdrawals
from dhash_service.store.visibility import any_hidden_release, gone_image, hidden_image


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """The queue's length, its lookups by reason (one may have several), and the time of the oldest."""

    length: int
    reasons: Mapping[str, int]
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class LookupPage:
    """Lookups in the order they came. `after` is where the next page begins, None on the last one."""

    lookups: Sequence[Lookup]
    after: UUID | None


@dataclass(frozen=True, slots=True)
class Filter:
    """A part of the queue; `unsure`: what was last decided so, for a second opinion."""

    reason: str | None = None
    older_than: datetime | None = None
    document: Sha256 | None = None
    unsure: bool = False


EVERYTHING = Filter()


class ReviewQueue:
    """Reads the queue of one store."""

    def __init__(self, engine: Engine, algorithm: Algorithm) -> None:
        self._engine = engine
        self._algorithm = algorithm

    def status(self) -> QueueCounts:
        """Length, reasons and oldest of the queue, without reading the rows themselves."""
        with reading(self._engine) as connection:
            groups = connection.execute(
                select(lookups.c.reasons, func.count(), func.min(lookups.c.created_at))
                .where(self.is_waiting(connection))
                .group_by(lookups.c.reasons)
            ).all()
        reasons: dict[str, int] = {}
        for named, count, _ in groups:
            for reason in named:
                reasons[reason] = reasons.get(reason, 0) + count
        return QueueCounts(
            sum(count for _, count, _ in groups),
            dict(sorted(reasons.items())),
            min((oldest for _, _, oldest in groups), default=None),
        )

    def count(self, filter: Filter) -> int:
        """Count the lookups that pass a filter."""
        with reading(self._engine) as connection:
            wanted = self._wanted(connection, select(lookups.c.id), filter, None).order_by(None)
            return connection.scalar(select(func.count()).select_from(wanted.subquery())) or 0

    def older(self, moments: Sequence[datetime]) -> list[int]:
        """Count the waiting lookups from before each of these moments."""
        counts = [func.count().filter(lookups.c.created_at < moment) for moment in moments]
        with reading(self._engine) as connection:
            wanted = select(*counts).select_from(lookups).where(self.is_waiting(connection))
            return list(connection.execute(wanted).one())

    def page(self, filter: Filter = EVERYTHING, after: UUID | None = None, limit: int = 50) -> LookupPage:
        """The next lookups after a cursor, the oldest first."""
        with reading(self._engine) as connection:
            wanted = self._wanted(connection, select(lookups), filter, after).limit(limit + 1)
            found = list(read_lookups(connection, wanted, self._algorithm))
        more = len(found) > limit
        return LookupPage(found[:limit], found[limit - 1].id if more else None)

    def free(
        self, filter: Filter, after: UUID | None, limit: int, *, session: UUID, now: datetime
    ) -> list[UUID]:
        """The next lookups that no other session has before it at this moment, the oldest first."""
        with reading(self._engine) as connection:
            wanted = self._wanted(connection, select(lookups.c.id), filter, after)
            wanted = wanted.where(lookups.c.id.not_in(held_by_others()))
            return list(connection.scalars(wanted.limit(limit), {"holder": session, "now": now}))

    def waiting(self, ids: Sequence[UUID], *, unsure: bool = False) -> dict[UUID, Lookup]:
        """Select those of these lookups that wait."""
        with reading(self._engine) as connection:
            wanted = select(lookups).where(lookups.c.id.in_(ids), self.is_waiting(connection, unsure=unsure))
            return {lookup.id: lookup for lookup in read_lookups(connection, wanted, self._algorithm)}

    def _wanted(
        self, connection: Connection, columns: Select[Any], filter: Filter, after: UUID | None
    ) -> Select[Any]:
        wanted = columns.where(self.is_waiting(connection, unsure=filter.unsure))
        if after:
            wanted = wanted.where(lookups.c.id > after)
        if filter.reason is not None:
            quoted = json.dumps(filter.reason)
            wanted = wanted.where(lookups.c.reasons.cast(Text).contains(quoted, autoescape=True))
        if filter.older_than:
            wanted = wanted.where(lookups.c.created_at < filter.older_than)
        if filter.document:
            wanted = wanted.where(lookups.c.document == filter.document)
        return wanted.order_by(lookups.c.id)

    def waiting_of(self, images: Sequence[UUID], reason: str) -> list[UUID]:
        """The waiting lookups of these images that have a reason, oldest first."""
        quoted = json.dumps(reason)
        with reading(self._engine) as connection:
            wanted = select(lookups.c.id).where(
                self.is_waiting(connection), lookups.c.reasons.cast(Text).contains(quoted, autoescape=True)
            )
            parts = [wanted.where(lookups.c.image_id.in_(part)) for part in chunks(images)]
            found = [id for part in parts for id in connection.scalars(part)]
        return sorted(found)

    def is_waiting(self, connection: Connection, *, unsure: bool = False) -> ColumnElement[bool]:
        """True of a lookup that waits for a person at this moment."""
        return waiting(any_hidden_release(connection), unsure)


@cache
def waiting(quarantine: bool, unsure: bool) -> ColumnElement[bool]:
    """True of a lookup that waits for a person. Built once: building it costs more than asking.

    `quarantine`: some release is hidden, so an image may be out of search with nobody having named it.
    """
    # A lookup without a nearest image compares with no tombstone and no image: it stays.
    out = gone_image if quarantine else hidden_image
    shown = ~out(lookups.c.image_id), ~out(lookups.c.nearest_id)
    # The literal is what lets the databases use the partial index.
    return and_(lookups.c.status == text("'review'"), last_said_unsure() if unsure else ~decided(), *shown)


def decided() -> ColumnElement[bool]:
    """True of a lookup with a decision that stands."""
    return exists().where(decisions.c.lookup_id == lookups.c.id, stands(decisions))


def last_said_unsure() -> ColumnElement[bool]:
    """True of a lookup whose newest decision is `unsure`."""
    newer = decisions.alias()
    later = tuple_(newer.c.created_at, newer.c.id) > tuple_(decisions.c.created_at, decisions.c.id)
    return exists().where(
        decisions.c.lookup_id == lookups.c.id,
        decisions.c.verdict == Verdict.UNSURE.value,
        stands(decisions),
        ~exists().where(newer.c.lookup_id == decisions.c.lookup_id, later, stands(newer)),
    )


def stands(decision: FromClause) -> ColumnElement[bool]:
    """True of a decision that was not taken back."""
    return ~exists().where(withdrawals.c.decision_id == decision.c.id)
