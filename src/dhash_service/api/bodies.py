"""The three ways to send pictures: multipart files, the raw bytes, or JSON with base64."""

import base64
import binascii
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, TypeVar

import pydantic
from fastapi import Depends, Query, Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from dhash_service.documents import is_document
from dhash_service.errors import BadRequestError, BatchTooLargeError, UnsupportedFormatError
from dhash_service.facts import UNLABELLED, Label
from dhash_service.pictures.formats import sniff
from dhash_service.store.sightings import file_label, label_of

M = TypeVar("M", bound=pydantic.BaseModel)

FEW = 8
"""Fields that a form may have besides its files."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A file as it was sent; its bytes are made when they are needed."""

    read: Callable[[], bytes]
    name: str | None = None
    label: Label = UNLABELLED


class Input(pydantic.BaseModel):
    """A picture as JSON."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={"examples": [{"input": "iVBORw0KGgo…", "name": "logo.png", "tags": ["logo"]}]}
    )

    input: str = pydantic.Field(description="base64, or a data: URL")
    algorithm: str | None = pydantic.Field(None, description='the store\'s algorithm; "dhash" means it too')
    name: str | None = pydantic.Field(None, description="a name for it, most often its file's")
    source: str | None = pydantic.Field(None, description="the path or URL it came from")
    tags: Annotated[list[str], pydantic.FailFast()] = pydantic.Field([], description="tags for it")


class BatchInput(pydantic.BaseModel):
    """Several pictures as JSON."""

    batch: Annotated[list[Input], pydantic.FailFast()]


def schema(*, batch: bool = False) -> dict[str, Any]:
    """The request body for the OpenAPI document."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    model = (BatchInput if batch else Input).model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = model.pop("$defs", {})
    if batch:
        model["properties"]["batch"]["items"] = definitions["Input"]
    files: dict[str, Any] = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "properties": {"files" if batch else "file": {"type": "array", "items": files} if batch else files},
        "required": ["files" if batch else "file"],
    }
    content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": model}}
    if not batch:  # by any name, but clients are generated from this one: the first bytes decide
        content["application/octet-stream"] = binary
    return {"requestBody": {"required": True, "content": content}}


def labelled(
    name: Annotated[str | None, Query(description="a name for it, most often its file's")] = None,
    source: Annotated[str | None, Query(description="the path or URL it came from")] = None,
    tag: Annotated[list[str] | None, Query(description="tags for it")] = None,
) -> Label:
    """The label in a request's query."""
    return label_of(name, source, tag or ())


Labelled = Annotated[Label, Depends(labelled)]


async def one_file(request: Request, algorithm: str, label: Label = UNLABELLED) -> Sent:
    """The one picture or document of a request, whichever way it was sent.

    The words of `label`, from the query, go before those of the form or JSON.
    """
    sent = await _one_file(request, algorithm)
    given = sent.label
    words = Label(label.name or given.name, label.source or given.source, label.tags or given.tags)
    return replace(sent, label=words)


async def _one_file(request: Request, algorithm: str) -> Sent:
    kind = content_type(request)
    if kind == "multipart/form-data":
        files = await multipart(request, limit=1)
        if not files:
            raise BadRequestError("The form has no file.", 'Send one in the field "file".')
        return files[0]
    body = await request.body()
    if kind == "application/json":
        return from_json(validated(Input, body), algorithm)
    named = kind.startswith("image/") or kind in ("application/pdf", "application/octet-stream")
    if named:
        require_body(body)
    # curl --data-binary calls everything a form. A TGA begins with too little to be told from one.
    if named or sniff(body) not in (None, "TGA") or is_document(body):
        return Sent(lambda: body)
    raise UnsupportedFormatError(
        f"The body is {kind or 'of no stated type'}.",
        "Send multipart/form-data, image/*, application/pdf or application/json.",
    )


def require_body(body: bytes) -> None:
    """Raise `BadRequestError` where nothing was sent."""
    if not body:
        raise BadRequestError("The body is empty.")


async def many_files(request: Request, algorithm: str, limit: int) -> list[Sent]:
    """All files of a batch, in order."""
    kind = content_type(request)
    if kind == "multipart/form-data":
        files = await multipart(request, limit)
    elif kind == "application/json":
        batch = validated(BatchInput, await request.body()).batch
        files = [from_json(item, algorithm) for item in batch]
    else:
        raise UnsupportedFormatError(
            f"The body is {kind or 'of no stated type'}.",
            'Send multipart/form-data with many files, or {"batch": [{"input": …}]} as application/json.',
        )
    if not files:
        raise BadRequestError("The batch is empty.")
    return files


def content_type(request: Request) -> str:
    """The body's media type in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def validated(model: type[M], body: bytes) -> M:
    """The JSON body as a model. Raises `BadRequestError` naming the field."""
    try:
        return model.model_validate_json(body)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise BadRequestError(f"{place}: {first['msg']}.") from None


def from_json(item: Input, algorithm: str) -> Sent:
    """A JSON input whose base64 is decoded when its turn comes, so that only that item fails."""

    def read() -> bytes:
        if item.algorithm not in (None, "dhash", algorithm):
            raise BadRequestError(
                f"algorithm {item.algorithm!r}: this store holds {algorithm}.",
                f'Leave it out, or "{algorithm}".',
            )
        text = item.input
        if text.startswith("data:"):
            head, comma, text = text.partition(",")
            if not comma or not head.endswith(";base64"):
                raise BadRequestError("input: the data: URL is not base64.", "Use data:image/png;base64,…")
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequestError(
                "input: not base64.", "Encode the file's bytes as standard base64."
            ) from None
        if not data:
            raise BadRequestError("input: empty.", "Encode the file's bytes as standard base64.")
        return data

    try:
        return Sent(read, item.name, label_of(item.name, item.source, item.tags))
    except BadRequestError as error:
        return Sent(partial(refuse, error), item.name)


def refuse(error: BadRequestError) -> bytes:
    """Raise the error when the bytes are asked for, so that the item fails alone."""
    raise error


class InMemory(MultiPartParser):
    """Starlette's parser without its temporary files: `Limits` has bounded the body already."""

    spool_max_size = sys.maxsize


async def form(request: Request, limit: int) -> FormData:
    """A multipart form with at most `limit` files. Raises `BatchTooLargeError`, `BadRequestError`."""
    try:
        return await InMemory(
            request.headers, request.stream(), max_files=limit, max_fields=max(limit, FEW)
        ).parse()
    except (MultiPartException, KeyError, UnicodeError) as error:  # of a part, of its name, of its charset
        if "Too many files" in str(error):
            if limit == 1:
                raise BatchTooLargeError(
                    "The form has several files; this takes one.", "Send many to /api/dhash/batch."
                ) from None
            raise BatchTooLargeError(f"The form has more than {limit} files.") from None
        raise BadRequestError(
            f"The multipart body is damaged: {error}.", "Let your HTTP client make it and its Content-Type."
        ) from None


async def multipart(request: Request, limit: int) -> list[Sent]:
    """The files of a multipart form, in order; other fields are passed over."""
    items = (await form(request, limit)).multi_items()
    return [
        Sent(value.file.read, value.filename, file_label(value.filename))
        for _, value in items
        if isinstance(value, UploadFile)
    ]
