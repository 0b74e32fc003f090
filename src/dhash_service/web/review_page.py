"""The review page: pairs to compare and decide, and what was decided.

The page comes with its first pairs; its script fetches the next ones ahead, sends decisions one by one, and
keeps them in the browser until they are acknowledged. Looking is open to whoever may read; deciding needs a
session of a reviewer.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, Field

from dhash_service.api.auth import Running
from dhash_service.api.models import Decided
from dhash_service.errors import BadRequestError
from dhash_service.facts import Verdict, new_id
from dhash_service.reviewing import Pair, Reviewing
from dhash_service.service import Service
from dhash_service.store.review import Filter, ReviewQueue
from dhash_service.web.paces import paces
from dhash_service.web.pages import render
from dhash_service.web.pairs import Json, lease_json, pairs_json, progress_json
from dhash_service.web.queue_filter import AGES, Asked, AskedQueue, chips
from dhash_service.web.visitors import Reader, Reviewer, Visitor

FIRST = 3
"""Pairs that come with the page; the script asks for more at once."""

AHEAD = 20
"""Most pairs handed out at once."""

RECENT = 20
"""Decisions of one's own that the undo key reaches after the page was loaded again."""

VOTES = 20_000
"""Most decisions that the page of reviewers is made from."""

DECISIONS = 50
"""Decisions on one page of the history."""

router = APIRouter(prefix="/review")

Number = Annotated[int, Query(ge=1, le=AHEAD)]


class Wanted(BaseModel):
    """The next pairs: after this one, and none of those that the page has."""

    after: UUID | None = None
    number: int = Field(ge=1, le=AHEAD)
    without: list[UUID] = Field([], max_length=500)


class Lookups(BaseModel):
    lookups: list[UUID] = Field(max_length=2 * AHEAD)


class Claims(BaseModel):
    claims: list[UUID] = Field(max_length=2 * AHEAD)


class NewDecision(BaseModel):
    """A decision under an id that the page made, so that sending it again makes no second one."""

    id: UUID
    lookup: UUID
    verdict: Verdict
    note: str = Field("", max_length=2000)


class NewWithdrawal(BaseModel):
    """The decision to be taken back."""

    id: UUID
    decision: UUID


@router.get("")
async def page(request: Request, service: Running, visitor: Reader, asked: Asked) -> Response:
    """The page, with its first pairs."""
    if arrives_as_a_stranger(request, visitor):
        return render(request, "arrive.html")
    reviewing, now = Reviewing(service), service.store.now()
    filter = asked.filter(now)
    if visitor.session and visitor.may_decide:
        pairs = await reviewing.hand_out(visitor.session.id, filter, None, FIRST)
    else:
        pairs = await reviewing.browse(filter, None, FIRST)
    progress = await reviewing.progress(visitor.name, midnight(now), filter)
    undoable = await service.read(lambda: service.store.verdicts.undoable(visitor.name, RECENT))
    start = {
        "reviewer": visitor.name if visitor.may_decide else None,
        "csrf": visitor.csrf,
        "query": asked.query,
        "lease_seconds": service.settings.lease_seconds,
        "pairs": await shown(service, pairs),
        "progress": progress_json(progress),
        "recent": [str(id) for id in reversed(undoable)],
    }
    older, unsure = await service.read(lambda: counted(service.store.queue, now))
    return render(
        request,
        "review.html",
        start=start,
        queue=asked,
        everything=progress.queue.length,
        chips=list(chips(asked, reasons_of(asked, progress.queue.reasons), older, unsure)),
    )


@router.post("")
async def decide_by_form(
    service: Running,
    reviewer: Reviewer,
    lookup: Annotated[UUID, Form()],
    verdict: Annotated[Verdict, Form()],
    note: Annotated[str, Form(max_length=2000)] = "",
    query: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Record a decision from the form that browsers without scripts show; then the next pair."""
    await Reviewing(service).decide(reviewer, new_id(), lookup, verdict, note)
    return RedirectResponse("/review" + (f"?{query}" if query.isprintable() and query else ""), 303)


@router.get("/pairs")
async def browse(
    service: Running, visitor: Reader, asked: Asked, number: Number, after: UUID | None = None
) -> Json:
    """The next pairs for somebody who only looks."""
    pairs = await Reviewing(service).browse(asked.filter(service.store.now()), after, number)
    return {"pairs": await shown(service, pairs)}


@router.post("/pairs")
async def hand_out(service: Running, reviewer: Reviewer, asked: Asked, wanted: Wanted) -> Json:
    """The next pairs, leased to this session."""
    pairs = await Reviewing(service).hand_out(
        reviewer.id, asked.filter(service.store.now()), wanted.after, wanted.number, wanted.without
    )
    return {"pairs": await shown(service, pairs)}


@router.post("/leases")
async def renew(service: Running, reviewer: Reviewer, asked: Asked, held: Lookups) -> Json:
    """Keep pairs for longer: the leases by lookup. A pair without one is lost to this session."""
    claims = await Reviewing(service).renew(reviewer.id, held.lookups, unsure=asked.show == "unsure")
    now = service.store.now()
    return {"leases": {str(claim.lookup): lease_json(claim, now) for claim in claims}}


@router.post("/leave")
async def leave(service: Running, reviewer: Reviewer, held: Claims) -> Json:
    """Give pairs back, so that others get them."""
    return {"given_back": await Reviewing(service).give_back(reviewer.id, held.claims)}


@router.post("/decisions")
async def decide(service: Running, reviewer: Reviewer, new: NewDecision) -> Response:
    """Record a decision: 201, or 200 where it was recorded before."""
    made, created = await Reviewing(service).decide(reviewer, new.id, new.lookup, new.verdict, new.note)
    status = HTTPStatus.CREATED if created else HTTPStatus.OK
    return JSONResponse(Decided.of(made).model_dump(mode="json"), status)


@router.post("/withdrawals")
async def take_back(service: Running, reviewer: Reviewer, asked: Asked, new: NewWithdrawal) -> Json:
    """Take a decision back; its pair, where that waits again and is this session's."""
    unsure = asked.show == "unsure"
    _, pair = await Reviewing(service).take_back(reviewer, new.id, new.decision, unsure=unsure)
    return {"pair": (await shown(service, [pair]))[0] if pair else None}


async def shown(service: Service, pairs: Sequence[Pair]) -> list[Json]:
    """Pairs as the page's script takes them; originals may have to be asked for elsewhere."""
    return await service.read(lambda: pairs_json(pairs, service.store.originals, service.store.now()))


@router.get("/progress")
async def progress(service: Running, visitor: Reader, asked: Asked, day: datetime | None = None) -> Json:
    """The progress of review, in the part that is asked for. `day`: when the reader's day began."""
    now = service.store.now()
    try:
        began = day.astimezone(UTC) if day else midnight(now)
    except (OverflowError, ValueError):  # at either end of the calendar
        raise BadRequestError(f"{day} is no moment of UTC.") from None
    return progress_json(await Reviewing(service).progress(visitor.name, began, asked.filter(now)))


@router.get("/reviewers")
async def reviewers(request: Request, service: Running, visitor: Reader) -> Response:
    """The pace of each reviewer over a week, and how often they agree."""
    now = service.store.now()
    votes = await service.read(lambda: service.store.verdicts.votes(now - timedelta(days=7), VOTES))
    return render(request, "reviewers.html", paces=paces(votes, midnight(now)), cut=len(votes) == VOTES)


@router.get("/history")
async def history(
    request: Request,
    service: Running,
    visitor: Reader,
    before: UUID | None = None,
    reviewer: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """The decisions, the newest first."""
    verdicts = service.store.verdicts
    found, reviewers = await service.read(
        lambda: (verdicts.history(before, DECISIONS, reviewer=reviewer or None), verdicts.reviewers())
    )
    chosen = {"reviewer": reviewer} if reviewer else {}
    return render(
        request,
        "history.html",
        history=found,
        reviewers=reviewers,
        reviewer=reviewer,
        before=before,
        here=request.url.query,
        older=urlencode({**chosen, "before": found.before}),
    )


@router.post("/history")
async def take_back_by_form(
    service: Running,
    reviewer: Reviewer,
    decision: Annotated[UUID, Form()],
    query: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """The same from the history's list; then the list again. The pair goes back to everybody."""
    _, pair = await Reviewing(service).take_back(reviewer, new_id(), decision)
    if pair and pair.claim:
        await Reviewing(service).give_back(reviewer.id, [pair.claim.id])
    return RedirectResponse("/review/history" + (f"?{query}" if query.isprintable() and query else ""), 303)


def arrives_as_a_stranger(request: Request, visitor: Visitor) -> bool:
    """True if somebody followed a link from another site: then the browser keeps our cookie to itself.

    A page that loads itself again is not another site, and learns who it is.
    """
    elsewhere = request.headers.get("sec-fetch-site") == "cross-site"
    return elsewhere and request.headers.get("sec-fetch-mode") == "navigate" and not visitor.known


def reasons_of(asked: AskedQueue, counts: Mapping[str, int]) -> dict[str, int]:
    """The reasons to choose from, with how many wait for each; the chosen one even when none does."""
    return ({asked.reason: 0} if asked.reason else {}) | dict(counts)


def counted(queue: ReviewQueue, now: datetime) -> tuple[list[int], int]:
    """Count what waits for longer than each of `AGES`, and what was decided as unsure. Reads the store."""
    older = queue.older([now - age for _, age in AGES.values()])
    return older, queue.count(Filter(unsure=True))


def midnight(now: datetime) -> datetime:
    """Return the start of this day, in UTC."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
