"""The API's documentation as a page, made from its own OpenAPI document.

FastAPI's comes from another host, which a strict content policy forbids and many a server cannot reach.
"""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from dhash_service.api.problems import list_problems
from dhash_service.web.api_examples import Example, example
from dhash_service.web.pages import render
from dhash_service.web.visitors import Anyone
from web_assets import page_headers, takes_gzip

router = APIRouter()
Schema = Mapping[str, Any]

UNSAID = "Successful Response"
"""FastAPI's words for an answer that has no description."""


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a member of a body: its name, its type in words, and what it is."""

    name: str
    type: str
    text: str
    required: bool


@dataclass(frozen=True, slots=True)
class Body:
    """A way to send a body, or an answer: media type (or status), its model's name, its own fields."""

    name: str
    type: str
    text: str = ""
    fields: Sequence[Field] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path."""

    id: str
    tag: str
    method: str
    path: str
    summary: str
    token: bool
    parameters: Sequence[Field]
    bodies: Sequence[Body]
    answers: Sequence[Body]
    example: Example


@dataclass(frozen=True, slots=True)
class Model:
    """A body that has a name."""

    name: str
    text: str
    fields: Sequence[Field]


@router.get("/docs")
async def docs(request: Request, visitor: Anyone) -> Response:
    """Every path with what it takes and answers, compressed where nothing on it is the visitor's own."""
    app: FastAPI = request.app
    groups, models = reference(app, str(request.base_url))
    about, known = app.openapi()["info"], await list_problems()
    page = render(request, "api_docs.html", groups=groups, models=models, about=about, problems=known)
    if visitor.known or not takes_gzip(request.headers.get("accept-encoding", "")):
        return page
    headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding, Cookie", **page_headers}
    return Response(gzip.compress(bytes(page.body)), media_type="text/html", headers=headers)


def reference(app: FastAPI, base: str) -> tuple[Sequence[tuple[str, Sequence[Operation]]], Sequence[Model]]:
    """The operations by tag, and the models that they name. `base` is the address that examples ask."""
    document = app.openapi()
    names = [tag["name"] for tag in document["tags"]]
    by_tag = sorted(read_operations(document, base), key=lambda one: names.index(one.tag))
    groups = [(tag, tuple(found)) for tag, found in groupby(by_tag, key=lambda one: one.tag)]
    models = [
        Model(name, schema.get("description", ""), fields_of(schema))
        for name, schema in document["components"]["schemas"].items()
    ]
    return groups, models


def read_operations(document: Schema, base: str) -> Iterator[Operation]:
    models = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            yield Operation(
                id=told["operationId"],
                tag=told["tags"][0],
                method=method.upper(),
                path=path,
                summary=told["summary"],
                token={} not in told.get("security", [{}]),
                parameters=[parameter(given) for given in told.get("parameters", ())],
                bodies=list(contents(told.get("requestBody", {}))),
                answers=[answer(status, given) for status, given in sorted(told["responses"].items())],
                example=example(method.upper(), path, told, models, base),
            )


def parameter(given: Schema) -> Field:
    schema = given["schema"]
    kind = in_words(schema)
    if given["in"] == "path":
        kind += ", in the path"
    if "default" in schema:
        kind += f", {str(schema['default']).lower()} unless given"
    return Field(given["name"], kind, given.get("description", ""), given.get("required", False))


def contents(body: Schema) -> Iterator[Body]:
    for kind, content in body.get("content", {}).items():
        schema = content["schema"]
        yield Body(kind, in_words(schema), schema.get("description", ""), fields_of(schema))


def answer(status: str, given: Schema) -> Body:
    kinds = dict.fromkeys(in_words(content["schema"]) for content in given.get("content", {}).values())
    return Body(status, " or ".join(kinds), given.get("description", "").replace(UNSAID, ""))


def fields_of(schema: Schema) -> list[Field]:
    required = schema.get("required", ())
    return [
        Field(name, in_words(told), told.get("description", ""), name in required)
        for name, told in schema.get("properties", {}).items()
    ]


def in_words(schema: Schema) -> str:
    """A JSON schema's type, as people say it."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(in_words(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(f'"{value}"' for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        items: Schema = schema.get("items") or next(iter(schema.get("prefixItems", ())), {})
        return f"list of {in_words(items)}"
    kind = {"binary": "file", "uuid": "UUID", "date-time": "time"}.get(schema.get("format", ""))
    kind = kind or str(schema.get("type", "anything"))
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    if lowest is not None and highest is not None:
        kind += f" from {lowest:g} to {highest:g}"
    elif lowest is not None:
        kind += f" from {lowest:g}"
    if "pattern" in schema:
        kind += f" like {schema['pattern']}"
    return kind
