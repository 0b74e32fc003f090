"""The review queue: what waits for a person, and what people decided."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from dhash_service.api.auth import Client, Reviewer, Running
from dhash_service.api.models import Decided, DecisionRequest, QueuePage, QueueStatus
from dhash_service.api.problems import PROBLEMS
from dhash_service.facts import Sha256
from dhash_service.store.review import Filter

router = APIRouter(prefix="/api/dhash/queue", tags=["review"], responses=PROBLEMS)


@router.get("/status", summary="The queue at a glance")
async def queue_status(service: Running, client: Client) -> QueueStatus:
    return QueueStatus.of(await service.read(service.store.queue.status), service.store.now())


@router.get("", summary="The queue, oldest first, in pages")
async def queue_page(
    service: Running,
    client: Client,
    cursor: Annotated[UUID | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    reason: Annotated[str | None, Query(max_length=64, description="only lookups with this reason")] = None,
    document: Annotated[
        str | None, Query(pattern="^[0-9a-f]{64}$", description="only pictures of this PDF")
    ] = None,
    unsure: Annotated[bool, Query(description="those last decided `unsure` instead")] = False,
) -> QueuePage:
    def read() -> QueuePage:
        wanted = Filter(reason, document=Sha256(document) if document else None, unsure=unsure)
        found = service.store.queue.page(wanted, cursor, limit)
        return QueuePage.of(*service.store.pictured(found.lookups), found.after)

    return await service.read(read)


@router.post("/{lookup:uuid}/decision", summary="Decide: the same picture, or not", status_code=201)
async def decide_lookup(service: Running, reviewer: Reviewer, lookup: UUID, body: DecisionRequest) -> Decided:
    return Decided.of(await service.decide(lookup, body.verdict, reviewer.name, body.note))
