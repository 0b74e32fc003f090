"""Leases: which session has which pair before it, so that no two reviewers work on the same one.

A claim is a fact with an end. The newest claim on a lookup holds while it lasts; whoever gives a pair back
adds one that ends as it begins. Claims are made inside the writer's transaction, of which a store has one
at a time whichever process or release it belongs to (SQLite's write lock, PostgreSQL's advisory lock), so
what is seen to be free there is free.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, bindparam, exists, func, select, true, tuple_

from dhash_service.facts import Claim, new_id
from dhash_service.store.recorder import add, after
from dhash_service.store.repository import chunks
from dhash_service.store.tables import (
    claims,
    decisions,
    lookups,
    session_ends,
    sessions,
    token_revocations,
    withdrawals,
)
from dhash_service.store.types import Id, Instant
from dhash_service.store.writer import Writer


@dataclass(frozen=True, slots=True)
class Request:
    """The first `number` of these lookups that are free, for a session, from now until then.

    `decided`: whether lookups that somebody has decided are wanted too, for a second opinion.
    """

    session: UUID
    lookups: Sequence[UUID]
    number: int
    now: datetime
    until: datetime
    decided: bool = False


class Leases:
    """The claims of one store."""

    def __init__(self, writer: Writer, release: str) -> None:
        self._writer = writer
        self._release = release

    def take(self, request: Request) -> Future[list[Claim]]:
        """Claim what is free, in the order asked for. What the session has already is claimed again."""
        return self._writer.submit(self._take, request)

    def give_back(self, session: UUID, ids: Sequence[UUID] | None, now: datetime) -> Future[int]:
        """End these claims of a session, or all it has; how many held until now.

        A claim renewed since is left alone: a page that is left and opened again at once may tell
        of its leaving after it has asked for its pairs.
        """
        which = true() if ids is None else claims.c.id.in_(ids)
        return self._writer.submit(self._give_back, (session, which, now))

    def done_with(self, session: UUID, lookup: UUID, now: datetime) -> Future[int]:
        """End a session's claim on a lookup, if it has one: it was decided."""
        return self._writer.submit(self._give_back, (session, claims.c.lookup_id == lookup, now))

    def _take(self, connection: Connection, requests: Sequence[Request]) -> list[list[Claim]]:
        return [self._taken(connection, request) for request in requests]

    def _taken(self, connection: Connection, request: Request) -> list[Claim]:
        barred = set(connection.scalars(held_by_others(), {"holder": request.session, "now": request.now}))
        for chunk in () if request.decided else chunks(request.lookups):
            standing = ~exists().where(withdrawals.c.decision_id == decisions.c.id)
            barred.update(
                connection.scalars(
                    select(decisions.c.lookup_id).where(decisions.c.lookup_id.in_(chunk), standing)
                )
            )
        here: set[UUID] = set()  # the others were erased meanwhile
        for chunk in chunks(request.lookups):
            here.update(connection.scalars(select(lookups.c.id).where(lookups.c.id.in_(chunk))))
        wanted = (id for id in dict.fromkeys(request.lookups) if id in here and id not in barred)
        free = list(islice(wanted, request.number))
        return self._add(connection, free, request.session, request.now, request.until)

    def _give_back(
        self, connection: Connection, asked: Sequence[tuple[UUID, ColumnElement[bool], datetime]]
    ) -> list[int]:
        counts = []
        for session, which, now in asked:
            wanted = in_force().where(claims.c.session_id == session, which)
            held = list(connection.scalars(wanted, {"now": now}))
            self._add(connection, held, session, now, now)
            counts.append(len(held))
        return counts

    def _add(
        self, connection: Connection, lookups: Sequence[UUID], session: UUID, now: datetime, until: datetime
    ) -> list[Claim]:
        earlier = (
            select(claims.c.lookup_id, func.max(claims.c.created_at).label("newest"))
            .where(claims.c.lookup_id.in_(lookups))
            .group_by(claims.c.lookup_id)
        )
        newest = {row.lookup_id: row.newest for row in connection.execute(earlier)}
        made = [
            Claim(new_id(), lookup, session, until, self._release, after(newest.get(lookup), now))
            for lookup in lookups
        ]
        rows = [
            {
                "id": claim.id,
                "lookup_id": claim.lookup,
                "session_id": claim.session,
                "until": claim.until,
                "release": claim.release,
                "created_at": claim.created_at,
            }
            for claim in made
        ]
        add(connection, claims, rows)
        return made


# Building these costs more than running them: each is built once.


@cache
def held_by_others() -> Select[Any]:
    """The lookups that another session than `holder` has before it at `now`.

    They are few, whatever the length of the queue. A session that was signed out, or whose token was
    revoked, holds nothing.
    """
    over = exists().where(session_ends.c.session_id == claims.c.session_id)
    revoked = exists().where(
        sessions.c.id == claims.c.session_id, token_revocations.c.token_id == sessions.c.token_id
    )
    return in_force().where(claims.c.session_id != bindparam("holder", type_=Id), ~over, ~revoked)


@cache
def in_force() -> Select[Any]:
    """The lookups of claims that hold at `now`: the newest of their lookup, and not over."""
    newer = claims.alias()
    later = tuple_(newer.c.created_at, newer.c.id) > tuple_(claims.c.created_at, claims.c.id)
    overruled = exists().where(newer.c.lookup_id == claims.c.lookup_id, later)
    return select(claims.c.lookup_id).where(claims.c.until > bindparam("now", type_=Instant), ~overruled)
