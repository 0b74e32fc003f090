"""The use cases of people who review: getting pairs, deciding, taking back, and how it goes.

What a reviewer has before them is leased to their session, so that nobody else gets it meanwhile.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from uuid import UUID

from dhash_service.errors import BadRequestError, ForbiddenError, NotFoundError
from dhash_service.facts import (
    Claim,
    Decision,
    Image,
    Lookup,
    Neighbour,
    Role,
    Session,
    Verdict,
    Withdrawal,
    new_id,
)
from dhash_service.search.confidence import COPY, Reason
from dhash_service.service import Service
from dhash_service.store.leases import Request
from dhash_service.store.review import EVERYTHING, Filter, QueueCounts
from dhash_service.store.verdicts import Counted, with_note

CLUSTER = 500
"""Most blank pictures that are decided together."""

OTHERS = 7
"""Known pictures shown besides the nearest one."""

PAUSE = timedelta(minutes=2)
"""A longer time between two decisions is a pause, and tells nothing of the pace."""

PACED = 30
"""Decisions that a reviewer's pace is told by."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A lookup with its picture, the nearest one now and others, and the claim on it, if it is leased.

    `alike`: waiting lookups of blank pictures like this one, which are decided with it.
    """

    lookup: Lookup
    image: Image
    others: Sequence[Neighbour]
    claim: Claim | None
    alike: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class ReviewProgress:
    """The progress of review: the queue, how many wait in the part of it that is asked for, the decisions of
    the day and of the last hour, and the seconds that the reviewer usually takes (None: too few to tell)."""

    queue: QueueCounts
    left: int
    pace: float | None
    today: Counted
    hour: Counted


class Reviewing:
    """The review of one running service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._store = service.store
        self._lease = timedelta(seconds=service.settings.lease_seconds)

    async def hand_out(
        self, session: UUID, filter: Filter, after: UUID | None, number: int, without: Sequence[UUID] = ()
    ) -> list[Pair]:
        """The next pairs, leased to a session: the oldest after a cursor, then from the queue's beginning.

        `without` are those the session has already. Fewer than `number` come back when no more are free.
        """
        claims: list[Claim] = []
        cursor = after
        while len(claims) < number:
            known = {*without, *(claim.lookup for claim in claims)}
            known |= await self._alike(list(known))
            ids = await self._free(session, filter, cursor, 2 * number + len(known))
            if wanted := [id for id in ids if id not in known]:
                # Somebody else may have been faster with some of them: then the next round asks further on.
                wanted = await self._unlike(wanted)
                claims += await self._claim(session, wanted, number - len(claims), filter.unsure)
                cursor = wanted[-1]
            elif cursor is None or filter.unsure:
                break
            else:
                cursor = None
        return await self._pairs(claims, filter.unsure)

    async def browse(self, filter: Filter, after: UUID | None, number: int) -> list[Pair]:
        """The next pairs for somebody who only looks: leased to nobody."""

        def read() -> list[Pair]:
            return self._as_pairs(self._store.queue.page(filter, after, number).lookups, {})

        return await self._service.read(read)

    async def renew(self, session: UUID, lookups: Sequence[UUID], *, unsure: bool) -> list[Claim]:
        """Keep pairs for longer. One that is not among the answers is lost: decided, or somebody else's."""
        return await self._claim(session, lookups, len(lookups), unsure)

    async def give_back(self, session: UUID, claims: Sequence[UUID] | None = None) -> int:
        """Let others have these pairs, or all of a session's; how many they were."""
        return await asyncio.wrap_future(self._store.leases.give_back(session, claims, self._store.now()))

    async def decide(
        self, session: Session, id: UUID, lookup: UUID, verdict: Verdict, note: str
    ) -> tuple[Decision, bool]:
        """Record a decision under the id that the page gave it; whether it is new.

        Sent again, it is found and changes nothing. Raises `BadRequestError`, `NotFoundError`,
        `ConflictError`, `StoreError`.
        """
        require_time_ordered(id)
        made = Decision(
            id, lookup, verdict, session.name, note, self._service.settings.release, self._store.now()
        )
        recorded = self._store.verdicts.record(made)
        done = self._store.leases.done_with(session.id, lookup, made.created_at)  # in the same commit
        await asyncio.wrap_future(done)
        decided = await asyncio.wrap_future(recorded)
        if decided[1] or not await self._service.read(lambda: self._store.verdicts.taken_back(id)):
            await self._decide_alike(decided[0])  # sent again too: the first time may have ended half-way
        return decided

    async def _decide_alike(self, made: Decision) -> None:
        """Decide the lookups of blank pictures like a decided one the same way."""
        if made.verdict is Verdict.UNSURE:
            return
        for lookup in await self._alike([made.lookup]):
            along = replace(made, id=new_id(), lookup=lookup, note=with_note(made.id))
            await asyncio.wrap_future(self._store.verdicts.record(along))

    async def take_back(
        self, session: Session, id: UUID, decision: UUID, *, unsure: bool = False
    ) -> tuple[Withdrawal, Pair | None]:
        """Take a decision back, one's own unless an admin does it; and its pair, if it waits again.

        `unsure`: a pair that waits for a second opinion counts, instead.
        Raises `NotFoundError`, `ForbiddenError`, `BadRequestError`, `StoreError`.
        """
        require_time_ordered(id)
        made = await self._service.read(lambda: self._store.verdicts.decision(decision))
        if made is None:
            raise NotFoundError(f"There is no decision {decision}.")
        if made.reviewer != session.name and session.role is not Role.ADMIN:
            raise ForbiddenError(f"{made.reviewer} decided that.", "Ask them, or an admin, to take it back.")
        withdrawal = Withdrawal(id, decision, session.name, self._service.settings.release, self._store.now())
        withdrawal = await asyncio.wrap_future(self._store.verdicts.withdraw(withdrawal))
        for along in await self._service.read(lambda: self._store.verdicts.made_with(made)):
            back = replace(withdrawal, id=new_id(), decision=along)
            await asyncio.wrap_future(self._store.verdicts.withdraw(back))
        claims = await self._claim(session.id, [made.lookup], 1, unsure)
        pairs = await self._pairs(claims, unsure)
        return withdrawal, pairs[0] if pairs else None

    async def progress(self, reviewer: str, day: datetime, filter: Filter = EVERYTHING) -> ReviewProgress:
        """The progress of a day that began at this moment, in the part of the queue that passes a filter."""
        now = self._store.now()
        verdicts, queue = self._store.verdicts, self._store.queue

        def read() -> ReviewProgress:
            counts = queue.status()
            return ReviewProgress(
                counts,
                counts.length if filter == EVERYTHING else queue.count(filter),
                pace(verdicts.times(reviewer, PACED)),
                verdicts.count(reviewer, day),
                verdicts.count(reviewer, now - timedelta(hours=1)),
            )

        return await self._service.read(read)

    async def _free(self, session: UUID, filter: Filter, after: UUID | None, limit: int) -> list[UUID]:
        now = self._store.now()
        return await self._service.read(
            lambda: self._store.queue.free(filter, after, limit, session=session, now=now)
        )

    async def _claim(self, session: UUID, lookups: Sequence[UUID], number: int, unsure: bool) -> list[Claim]:
        now = self._store.now()
        request = Request(session, lookups, number, now, now + self._lease, decided=unsure)
        return await asyncio.wrap_future(self._store.leases.take(request))

    async def _pairs(self, claims: Sequence[Claim], unsure: bool) -> list[Pair]:
        by_lookup = {claim.lookup: claim for claim in claims}

        def read() -> list[Pair]:
            waiting = self._store.queue.waiting(list(by_lookup), unsure=unsure)
            return self._as_pairs([waiting[id] for id in by_lookup if id in waiting], by_lookup)

        return await self._service.read(read) if claims else []

    def _as_pairs(self, lookups: Sequence[Lookup], claims: dict[UUID, Claim]) -> list[Pair]:
        lookups, images = self._store.pictured(lookups)
        return [
            self._as_pair(lookup, images[lookup.image], claims.get(lookup.id))
            for lookup in lookups
            if lookup.image in images
        ]

    def _as_pair(self, lookup: Lookup, image: Image, claim: Claim | None) -> Pair:
        """The pair with the nearest known picture of now, which may be nearer than that of then."""
        radius = self._service.settings.match_radius
        found = self._service.matcher.neighbours(image.fingerprint.value, radius, OTHERS + 2).neighbours
        near = [each for each in found if each.image.id != image.id]
        near = self._store.sightings.named_neighbours(near)
        nearest = lookup.match.nearest
        if near and (nearest is None or near[0].distance < nearest.distance):
            nearest = near[0]
            lookup = replace(lookup, match=replace(lookup.match, nearest=nearest))
        shown = nearest.image.id if nearest else None
        others = [each for each in near if each.image.id != shown][:OTHERS]
        return Pair(lookup, image, others, claim, sorted(self._alike_to(lookup, image)))

    def _alike_to(self, lookup: Lookup, image: Image) -> set[UUID]:
        """The other waiting lookups of blank pictures like this one's, if it is one."""
        if Reason.LOW_QUALITY not in lookup.match.reasons:
            return set()
        found = self._service.matcher.neighbours(image.fingerprint.value, COPY, CLUSTER).neighbours
        images = [each.image.id for each in found]
        return set(self._store.queue.waiting_of(images, Reason.LOW_QUALITY)) - {lookup.id}

    async def _alike(self, ids: Sequence[UUID]) -> set[UUID]:
        """The waiting lookups that are decided with these."""

        def read() -> set[UUID]:
            found = list(self._store.queue.waiting(ids).values())
            if len(ids) == 1 and (one := self._store.lookup(ids[0])):  # decided a moment ago, perhaps
                found = [one]
            images = self._store.images([lookup.image for lookup in found])
            shown = [(lookup, images[lookup.image]) for lookup in found if lookup.image in images]
            return set().union(*(self._alike_to(*each) for each in shown)) - set(ids)

        return await self._service.read(read) if ids else set()

    async def _unlike(self, ids: Sequence[UUID]) -> list[UUID]:
        """These lookups, of blank pictures that are alike the first alone."""
        kept: list[UUID] = []
        alike: set[UUID] = set()
        for id in ids:
            if id not in alike:
                kept.append(id)
                alike |= await self._alike([id])
        return kept


def pace(times: Sequence[datetime]) -> float | None:
    """The median of the seconds between decisions, without pauses; None where there are fewer than three."""
    ordered = sorted(times)
    gaps = [later - earlier for earlier, later in pairwise(ordered) if later - earlier <= PAUSE]
    return median(gap.total_seconds() for gap in gaps) if len(gaps) >= 3 else None


def require_time_ordered(id: UUID) -> None:
    """Refuse an id that is no UUIDv7: the ids of what happens sort by time."""
    if id.version != 7:
        raise BadRequestError(f"{id} is no UUIDv7.", "Make a new id for each decision, and keep it.")
