"""The search page: by fingerprint, by picture or PDF, and a page for each known picture.

Everything works as plain forms and links; `static/search.js` sends files one by one and keeps the state of
the service fresh. What is asked by fingerprint stands in the address, so a result can be sent to somebody.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import UploadFile

from dhash_service.api import bodies
from dhash_service.api import search as api
from dhash_service.api.auth import ANONYMOUS, Running
from dhash_service.documents import is_document
from dhash_service.errors import BadRequestError, DhashError, NotFoundError, StoreError, as_error
from dhash_service.facts import Image, Sha256, image_id
from dhash_service.pictures.formats import FURTHER, Format
from dhash_service.pictures.thumbnail import drawn_bits
from dhash_service.service import Service
from dhash_service.store.sightings import SightingFilter, file_label
from dhash_service.submitting import Submission
from dhash_service.web.asked import RADII, Asked, Kind, kind_of
from dhash_service.web.browse import Browsed, BrowsedPart, browse
from dhash_service.web.found import (
    BESIDE,
    PAGE,
    WHOLE,
    Answered,
    Brief,
    Card,
    Past,
    Results,
    Shown,
    left_out,
    sections,
    summary,
)
from dhash_service.web.pages import render, visitor_of
from dhash_service.web.standing import Standing
from dhash_service.web.visitors import Anyone, Reader, require_same_origin
from dhash_service.web.words import sentences

router = APIRouter()


@router.get("/")
async def search(
    request: Request,
    service: Running,
    visitor: Anyone,
    part: BrowsedPart,
    q: Annotated[str, Query(max_length=255)] = "",
    hash: str = "",
    radius: str = "",
    start: Annotated[str, Query(alias="from")] = "",
) -> Response:
    """The page, with what is near a fingerprint, what has a name, or what was added last.

    `q` is what was typed: a hash, an id, a SHA-256, or a part of a name.
    """
    kind = kind_of(q) if q.strip() and not hash else Kind.HASH
    closed = service.settings.locked and not visitor.known
    if kind in (Kind.ID, Kind.SHA256) and not closed:
        return await found_by_id(request, service, q.strip().lower(), kind)
    by_hash = hash or (q if kind is Kind.HASH else "")
    asked = Asked.read(by_hash, radius, start, service.settings.match_radius)
    if asked.mistake:
        return await page(request, service, asked, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    if closed:
        return await page(request, service, asked)
    try:
        if asked.value is None:
            part = replace(part, name=q.strip() if kind is Kind.NAME else "")
            browsed = await service.read(lambda: browse(service, part))
            return await page(request, service, replace(asked, typed=part.name), browsed=browsed)
        found = await service.search(asked.value, asked.radius, PAGE, asked.start)
    except StoreError as error:
        return await page(request, service, asked, problem=error, status=error.status)
    results = Results.of(asked.value, asked.radius, asked.start, found)
    return await page(request, service, asked, results=results)


async def found_by_id(request: Request, service: Service, text: str, kind: Kind) -> Response:
    """Lead to the page of one picture, which the search page's script loads as a whole."""
    id = UUID(text) if kind is Kind.ID else image_id(Sha256(text))
    if await service.read(lambda: service.store.image(id)) is None:
        asked = Asked(text, service.settings.match_radius, field="hash", mistake=f"No picture is {text}.")
        return await page(request, service, asked, status=HTTPStatus.NOT_FOUND)
    address = f"/pictures/{id}"
    if "hx-request" in request.headers:
        return Response(headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)


@router.post("/lookup")
async def look_up(request: Request, service: Running, visitor: Reader) -> HTMLResponse:
    """Look up the files of a form, and keep them where that was chosen. A bad one fails alone.

    The page's script sends one file at a time and takes its answer alone; problems come to it as JSON.
    """
    require_same_origin(request)
    form = await bodies.form(request, service.settings.max_batch)
    keep, variants = (form.get(name) == "yes" for name in ("keep", "variants"))
    files = [file for file in form.getlist("files") if isinstance(file, UploadFile) and file.filename]
    if not files:
        raise BadRequestError("The form has no file.", "Choose one, or drop it onto the page.")
    if "hx-request" in request.headers:
        answer = await answer_to(service, files[0], keep, variants)
        return render(request, "search_answer.html", answer=answer)
    answers = await asyncio.gather(*(answer_or_problem(service, file, keep, variants) for file in files))
    asked = Asked("", service.settings.match_radius)
    return await page(request, service, asked, answers=answers, keep=keep, variants=variants)


@router.get("/status")
async def status(request: Request, service: Running) -> HTMLResponse:
    """The state of the service as the page shows it; 200 also where checks fail. Asks nothing of the store
    but its state: who is signed in could not be told where it fails."""
    standing = await service.read(lambda: Standing.of(service))
    return render(request, "search_status.html", standing=standing)


@router.get("/pictures/{id:uuid}")
async def picture(request: Request, service: Running, visitor: Reader, id: UUID) -> HTMLResponse:
    """A known picture: its facts, and what is near it."""
    image = await service.read(lambda: service.image(id))
    if image is None:
        raise NotFoundError(f"There is no picture {id}.", "It may have been taken out of search.")
    value, radius = image.fingerprint.value, service.settings.match_radius
    near = await service.search(value, radius, PAGE + 1)
    others = [Card.of(other, value) for other in near.neighbours if other.image.id != id]
    return render(
        request,
        "picture.html",
        image=image,
        reasons=sentences((), image.fingerprint.reasons),
        past=await service.read(lambda: past_of(service, image)),
        results=Results.of(value, radius, 0, near),
        others=others[:PAGE],
        near_sections=sections(others[:PAGE]),
        original=await service.read(lambda: service.store.has_original(image)),
        seen=await service.read(lambda: service.store.sightings.page(SightingFilter(image=id), limit=PAGE)),
    )


@router.get("/pictures/{id:uuid}/thumbnail")
async def thumbnail(service: Running, visitor: Reader, id: UUID) -> Response:
    """The same as the API's, for whoever may read pages: browsers send cookies with pictures, not tokens.

    Where no thumbnails are kept, it is the original, or else the fingerprint's bits.
    """
    try:
        return await api.thumbnail(service, ANONYMOUS, id)
    except NotFoundError:
        image = await service.read(lambda: service.store.image(id))
        if image is None:
            raise
    if await service.read(lambda: service.store.has_original(image)):
        return RedirectResponse(f"/pictures/{id}/large")
    return Response(drawn_bits(image.fingerprint.value), media_type="image/png")


async def page(
    request: Request,
    service: Service,
    asked: Asked,
    *,
    results: Results | None = None,
    browsed: Browsed | None = None,
    answers: Sequence[Answered] = (),
    problem: DhashError | None = None,
    keep: bool = False,
    variants: bool = False,
    status: int = 200,
) -> HTMLResponse:
    """The whole page."""
    return render(
        request,
        "search.html",
        status=status,
        question=asked,
        results=results,
        browsed=browsed,
        answers=answers,
        summary=summary(answers),
        problem=problem,
        keep=keep,
        variants=variants,
        radii=RADII,
        closed=service.settings.locked and not visitor_of(request).known,
        largest=service.settings.max_body_bytes,
        further=further(service.settings.opening.formats),
        standing=await service.read(lambda: Standing.of(service)),
    )


def further(formats: Collection[str]) -> list[Format]:
    """The formats that the settings add to those always read."""
    return [format for format in FURTHER.values() if format.pillow in formats]


async def answer_or_problem(service: Service, file: UploadFile, keep: bool, variants: bool) -> Answered:
    try:
        return await answer_to(service, file, keep, variants)
    except Exception as error:  # whatever it is, it is this file's
        return Answered.failed(str(file.filename), as_error(error))


async def answer_to(service: Service, file: UploadFile, keep: bool, variants: bool) -> Answered:
    """Answer a picture, with `variants` by turned and mirrored copies too, or each picture in a PDF.

    Raises `DhashError`.
    """
    name, data = str(file.filename), file.file.read()
    if not is_document(data):
        submission = await service.submit(data, register=keep, label=file_label(name))
        if not variants:
            return Answered(name, pictures=[await shown(service, submission)])
        radius = service.settings.match_radius
        _, near = await service.search_turned(data, radius, BESIDE + 1)
        return Answered(name, pictures=[Shown.of(submission, near, radius)])
    document = await service.extract(data, register=keep, label=file_label(name))
    found = [(submission, item.page) for item, submission in document.pictures]
    radius = service.settings.match_radius
    return Answered(
        name,
        pages=document.pages,
        pictures=[await shown(service, *pair) for pair in found[:WHOLE]],
        briefly=[Brief.of(submission, radius, number) for submission, number in found[WHOLE:]],
        skipped=left_out(document),
    )


def past_of(service: Service, image: Image) -> Past | None:
    """The history of a known picture. Reads the store: call it outside the event loop."""
    lookup = service.store.kept_by(image)
    if lookup is None:
        return None
    return Past.of(lookup, service.store.verdicts.about(lookup.id), service.settings.match_radius)


async def shown(service: Service, submission: Submission, number: int | None = None) -> Shown:
    """A picture beside the nearest known ones; `number` is its page in a document."""
    radius = service.settings.match_radius
    near = await service.search(submission.fingerprint.value, radius, BESIDE + 1)
    return Shown.of(submission, near, radius, number)
