"""A kept original, shrunk for the screen: large enough to compare by eye, small enough to fetch ahead."""

import asyncio
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from dhash_service.api.auth import Running
from dhash_service.api.search import KEPT
from dhash_service.errors import NotFoundError
from dhash_service.pictures.large import CLOSE, SIDE
from dhash_service.web.visitors import Reader

AT_ONCE = 2
"""Pictures drawn at the same time: what is submitted needs the cores too."""

router = APIRouter()


def drawing_places(request: Request) -> asyncio.Semaphore:
    """The places of this process to draw in."""
    state = request.app.state
    if not hasattr(state, "drawing_places"):
        state.drawing_places = asyncio.Semaphore(AT_ONCE)
    places: asyncio.Semaphore = state.drawing_places
    return places


@router.get("/pictures/{id:uuid}/large")
async def large(
    service: Running,
    visitor: Reader,
    id: UUID,
    places: Annotated[asyncio.Semaphore, Depends(drawing_places)],
    close: bool = False,
) -> Response:
    """The original at 1024 px at most, or `close` at 4096. Answers 404 where it was not kept or is hidden."""

    def draw() -> tuple[bytes, str] | None:
        image, originals = service.store.image(id), service.store.originals
        content = originals.get(image.sha256) if image and originals else None
        return service.documents.large(content, CLOSE if close else SIDE) if content else None

    async with places:
        drawn = await asyncio.to_thread(draw)
    if drawn is None:
        raise NotFoundError(f"There is no original of {id}.")
    headers = {"Cache-Control": KEPT, "X-Content-Type-Options": "nosniff"}
    return Response(drawn[0], media_type=drawn[1], headers=headers)
