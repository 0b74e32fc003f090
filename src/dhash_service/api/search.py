"""Finding known pictures: by fingerprint, by picture, by id."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic_core import to_json

from dhash_service.api import bodies
from dhash_service.api.auth import Admin, Client, Running
from dhash_service.api.models import (
    ANY_HASH,
    DIGEST,
    LIMIT,
    RADIUS,
    ErasedPicture,
    Known,
    SearchAnswer,
    SearchRequest,
    SightingsPage,
)
from dhash_service.api.problems import PROBLEMS
from dhash_service.errors import BatchTooLargeError, NotFoundError
from dhash_service.facts import Sha256
from dhash_service.pictures.formats import sniff
from dhash_service.service import backups_until
from dhash_service.store.sightings import SightingFilter, require_words

router = APIRouter(prefix="/api/dhash", tags=["search"], responses=PROBLEMS)

Cursor = Annotated[UUID | None, Query(description="`next` of the page before")]
PageLength = Annotated[int, Query(ge=1, le=200, description="most items on a page")]
Part = Annotated[str | None, Query(min_length=1, max_length=255, description="a part of the name or source")]
Tag = Annotated[str | None, Query(min_length=1, max_length=64, description="only with this tag")]
Radius = Annotated[int, Query(ge=RADIUS.least, le=RADIUS.most, description="most differing bits")]
Limit = Annotated[int, Query(ge=LIMIT.least, le=LIMIT.most, description="most results")]
Hash = Annotated[
    str, Query(pattern=ANY_HASH, description="fingerprint, 16 hex digits", examples=["8f0f0f1f3f7fff00"])
]


@router.get("/search", summary="Known pictures near a fingerprint")
async def search_by_hash(
    service: Running, client: Client, hash: Hash, radius: Radius = RADIUS.usual, limit: Limit = LIMIT.usual
) -> SearchAnswer:
    value = int(hash, 16)
    found = await service.search(value, radius, limit)
    return SearchAnswer.of(value, radius, service.algorithm.name, found)


@router.post(
    "/search", summary="Known pictures near a picture, which is not kept", openapi_extra=bodies.schema()
)
async def search_by_picture(
    request: Request,
    service: Running,
    client: Client,
    radius: Radius = RADIUS.usual,
    limit: Limit = LIMIT.usual,
    variants: Annotated[bool, Query(description="turned and mirrored copies of the picture, too")] = False,
) -> SearchAnswer:
    sent = await bodies.one_file(request, service.algorithm.name)
    if variants:
        value, found = await service.search_turned(sent.read(), radius, limit)
        return SearchAnswer.of(value, radius, service.algorithm.name, found)
    value = (await service.submit(sent.read(), register=False)).fingerprint.value
    found = await service.search(value, radius, limit)
    return SearchAnswer.of(value, radius, service.algorithm.name, found)


@router.post(
    "/search/batch",
    summary="Known pictures near each of many fingerprints",
    response_model=list[SearchAnswer],
)
async def search_many(service: Running, client: Client, asked: SearchRequest) -> Response:
    if len(asked.hashes) > service.settings.max_batch:
        raise BatchTooLargeError(
            f"{len(asked.hashes)} hashes; {service.settings.max_batch} are allowed in one batch."
        )
    values = [int(each, 16) for each in asked.hashes]
    found = await service.search_many(values, asked.radius, asked.limit)
    answers = [
        SearchAnswer.fields(value, asked.radius, service.algorithm.name, each)
        for value, each in zip(values, found, strict=True)
    ]
    return Response(to_json(answers), media_type="application/json")


@router.get("/{id:uuid}", summary="A known picture")
async def picture(service: Running, client: Client, id: UUID) -> Known:
    known = await service.read(lambda: service.image(id))
    if known is None:
        raise NotFoundError(f"There is no image {id}.")
    return Known.of(known)


@router.get("/sightings", summary="Known pictures by name, source and tag: where each was seen, newest first")
async def sightings(
    service: Running,
    client: Client,
    name: Part = None,
    tag: Tag = None,
    document: Annotated[str | None, Query(pattern=DIGEST, description="only in this PDF")] = None,
    cursor: Cursor = None,
    limit: PageLength = 50,
) -> SightingsPage:
    for words in (name, tag):
        require_words("search", words or "", 255)
    wanted = SightingFilter(name, tag, document=Sha256(document) if document else None)
    return SightingsPage.of(await service.read(lambda: service.store.sightings.page(wanted, cursor, limit)))


@router.get("/{id:uuid}/sightings", summary="The names and places that a known picture was seen under")
async def sightings_of_image(
    service: Running,
    client: Client,
    id: UUID,
    name: Part = None,
    tag: Tag = None,
    cursor: Cursor = None,
    limit: PageLength = 50,
) -> SightingsPage:
    for words in (name, tag):
        require_words("search", words or "", 255)
    wanted = SightingFilter(name, tag, image=id)
    return SightingsPage.of(await service.read(lambda: service.store.sightings.page(wanted, cursor, limit)))


KEPT = "private, max-age=600"
"""What an id names never changes; but a browser must not show for long what was taken down or erased."""

BYTES = "application/octet-stream"
BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/{id:uuid}/thumbnail",
    summary="A known picture, at most 256 px: JPEG, or WebP where it is transparent",
    response_class=Response,
    responses={
        200: {
            "content": {"application/octet-stream": BINARY, "image/jpeg": BINARY, "image/webp": BINARY},
            "description": "The picture; as octet-stream where `Accept` names nothing else",
        }
    },
)
async def thumbnail(
    service: Running,
    client: Client,
    id: UUID,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    small = await service.read(lambda: service.store.thumbnail(id))
    if small is None:
        raise NotFoundError(f"There is no thumbnail of {id}.")
    return Response(
        small,
        media_type=BYTES if accept == BYTES else f"image/{str(sniff(small)).lower()}",
        headers={"Cache-Control": KEPT},
    )


@router.delete(
    "/{id:uuid}",
    summary="Take a picture out of search, where nothing is deleted, or erase it for good",
    status_code=204,
    responses={200: {"model": ErasedPicture, "description": "It was erased"}},
)
async def hide_picture(
    service: Running,
    admin: Admin,
    id: UUID,
    reason: Annotated[
        str, Query(min_length=1, max_length=500, description="why; kept with the fact")
    ] = "on request",
    erase: Annotated[
        bool, Query(description="remove original, thumbnail, fingerprint and all else about it, for good")
    ] = False,
) -> Response:
    if not erase:
        await service.hide(id, reason, admin.name)
        return Response(status_code=204)
    at = await service.erase(id, reason, admin.name)
    said = ErasedPicture(id=id, erased_at=at, backups=backups_until(service.settings, at))
    return Response(said.model_dump_json(), media_type="application/json")
