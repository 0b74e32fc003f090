"""Sending pictures: one, a batch, or those inside a document."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import to_json

from dhash_service.api import bodies
from dhash_service.api.auth import Client, Running
from dhash_service.api.models import Batch, BatchItem, Extracted, Submitted
from dhash_service.api.problems import PROBLEMS
from dhash_service.documents import is_document

router = APIRouter(prefix="/api/dhash", tags=["pictures"], responses=PROBLEMS)

Register = Annotated[bool, Query(description="false only looks up: nothing is kept")]


@router.post(
    "",
    summary="Fingerprint a picture, find the nearest known one, and keep it",
    status_code=HTTPStatus.CREATED,
    responses={200: {"model": Submitted, "description": "The picture was known already, or only looked up"}},
    openapi_extra=bodies.schema(),
)
async def submit_picture(
    request: Request,
    response: Response,
    service: Running,
    client: Client,
    label: bodies.Labelled,
    register: Register = True,
) -> Submitted:
    sent = await bodies.one_file(request, service.algorithm.name, label)
    submission = await service.submit(
        sent.read(), register=register, label=sent.label, as_admin=client.is_admin
    )
    if not submission.created:
        response.status_code = HTTPStatus.OK
    return Submitted.of(submission, service.settings.release)


@router.post(
    "/batch",
    summary="Submit many pictures",
    response_model=Batch,
    openapi_extra=bodies.schema(batch=True),
)
async def submit_batch(
    request: Request, service: Running, client: Client, register: Register = True
) -> Response:
    files = await bodies.many_files(request, service.algorithm.name, service.settings.max_batch)
    outcomes = await service.submit_batch(
        [(file.read, file.label) for file in files], register=register, as_admin=client.is_admin
    )
    results = [
        BatchItem.fields(index, file.name, outcome, service.settings.release)
        for index, (file, outcome) in enumerate(zip(files, outcomes, strict=True))
    ]
    succeeded = sum(item["problem"] is None for item in results)
    answer = {"results": results, "succeeded": succeeded, "failed": len(results) - succeeded}
    return Response(to_json(answer), media_type="application/json")


@router.post(
    "/extract",
    summary="Submit the pictures inside a PDF, or a picture itself",
    openapi_extra=bodies.schema(),
)
async def extract(
    request: Request,
    service: Running,
    client: Client,
    label: bodies.Labelled,
    register: Register = True,
) -> Extracted:
    sent = await bodies.one_file(request, service.algorithm.name, label)
    data, release = sent.read(), service.settings.release
    if is_document(data):
        extracted = await service.extract(data, register=register, label=sent.label, as_admin=client.is_admin)
        return Extracted.of(extracted, release)
    submission = await service.submit(data, register=register, label=sent.label, as_admin=client.is_admin)
    return Extracted.of_picture(submission, release)
