"""Decisions on groups of duplicates. A group's id follows from its members; its newest decision holds.

Deciding a group decides the waiting lookups whose two pictures are both members. Nothing is ever deleted.
"""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from uuid import UUID

from sqlalchemy import Connection, Engine, select

from dhash_service.errors import BadRequestError
from dhash_service.facts import Decision, GroupDecision, Verdict, id_of_digest, new_id
from dhash_service.store.engine import reading
from dhash_service.store.prompt import driver_of
from dhash_service.store.recorder import Recorder, add, present, storable
from dhash_service.store.repository import chunks
from dhash_service.store.review import ReviewQueue
from dhash_service.store.tables import group_decisions, lookups
from dhash_service.store.writer import Writer


def group_id(members: Iterable[UUID]) -> UUID:
    """The id of the group of these images, in whatever order."""
    whole = b"".join(sorted(member.bytes for member in members))
    return id_of_digest(hashlib.sha256(whole).hexdigest())


class GroupDecisions:
    """The group decisions of one store."""

    def __init__(self, engine: Engine, writer: Writer, recorder: Recorder, queue: ReviewQueue) -> None:
        self._engine = engine
        self._writer = writer
        self._recorder = recorder
        self._queue = queue

    def record(self, decision: GroupDecision, members: Sequence[UUID]) -> Future[int]:
        """Decide the group of these images; returns the number of waiting lookups decided with it.

        Fails with `BadRequestError` unless the group is that of its members, all known, the kept one among
        them.
        """
        return self._writer.submit(self._record, (decision, members))

    def newest(self, groups: Sequence[UUID]) -> dict[UUID, GroupDecision]:
        """The decisions that hold on these groups."""
        found: dict[UUID, GroupDecision] = {}
        wanted = select(group_decisions).order_by(group_decisions.c.created_at, group_decisions.c.id)
        with reading(self._engine) as connection:
            for chunk in chunks(groups):
                for row in connection.execute(wanted.where(group_decisions.c.group_id.in_(chunk))):
                    verdict = Verdict(row.verdict)
                    found[row.group_id] = GroupDecision(
                        row.id,
                        row.group_id,
                        row.kept_id,
                        verdict,
                        row.reviewer,
                        row.note,
                        row.release,
                        row.created_at,
                    )
        return found

    def _record(
        self, connection: Connection, new: Sequence[tuple[GroupDecision, Sequence[UUID]]]
    ) -> list[int]:
        counts = []
        for decision, members in new:
            storable(decision.reviewer, decision.note)
            known = set(present(driver_of(connection), members))
            if len(known) < 2 or known != set(members) or group_id(known) != decision.group:
                raise BadRequestError("That is not a group of known pictures.", "Load the groups again.")
            if decision.kept is not None and decision.kept not in known:
                raise BadRequestError("The picture to keep is not in the group.", "Load the groups again.")
            row = {
                "id": decision.id,
                "group_id": decision.group,
                "kept_id": decision.kept,
                "verdict": decision.verdict,
                "reviewer": decision.reviewer,
                "note": decision.note,
                "release": decision.release,
                "created_at": decision.created_at,
            }
            add(connection, group_decisions, [row])
            counts.append(self._decide_lookups(connection, decision, known))
        return counts

    def _decide_lookups(self, connection: Connection, decision: GroupDecision, members: set[UUID]) -> int:
        """Decide the lookups that wait between two members, as the group was decided."""
        if decision.verdict is Verdict.UNSURE:
            return 0
        waiting = self._queue.is_waiting(connection)
        ids = [
            row.id
            for chunk in chunks(list(members))
            for row in connection.execute(
                select(lookups.c.id, lookups.c.nearest_id).where(waiting, lookups.c.image_id.in_(chunk))
            )
            if row.nearest_id in members
        ]
        note = f"group {decision.group}: {decision.note}".removesuffix(": ")
        made = [
            Decision(
                new_id(), id, decision.verdict, decision.reviewer, note, decision.release, decision.created_at
            )
            for id in ids
        ]
        self._recorder.add_decisions(connection, made)
        return len(made)
