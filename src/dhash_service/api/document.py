"""The OpenAPI document: what clients are generated from, without a warning and with names that last.

`examples.json` holds what a running service was asked and answered, by operation.
"""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

TAGS = (
    {"name": "pictures", "description": "Send pictures and documents."},
    {"name": "search", "description": "Find known pictures by hash, picture, name and tag."},
    {"name": "duplicates", "description": "Find and decide groups of duplicates."},
    {"name": "banks", "description": "Collections of known pictures and hashes."},
    {"name": "review", "description": "The queue of lookups that wait for a person."},
    {"name": "operations", "description": "Health, metrics, settings, and the catalogue of problems."},
)

SERVERS = ({"url": "/", "description": "the service that this document comes from"},)

OPTIONAL: list[dict[str, list[str]]] = [{}, {"HTTPBearer": []}]
"""A token is needed only where the service is locked."""


def operation_id(route: APIRoute) -> str:
    """The name of the function: a client's method is called so. A test holds them apart."""
    return route.name


def install(app: FastAPI) -> None:
    """Say in the document that the API takes a token where none is a must; and an example of each call."""
    made = app.openapi
    examples = json.loads((Path(__file__).parent / "examples.json").read_text("utf-8"))

    def openapi() -> dict[str, Any]:
        document = made()
        for path, methods in document["paths"].items():
            for operation in methods.values() if path.startswith("/api/") else ():
                operation.setdefault("security", OPTIONAL)
            for operation in methods.values():
                exemplify(operation, examples.get(operation["operationId"], {}))
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def exemplify(operation: dict[str, Any], example: dict[str, Any]) -> None:
    """Put an example into each of an operation's bodies that there is one for."""
    described = [(operation.get("requestBody", {}), example.get("request", {}))]
    described += [
        (operation["responses"].get(status, {}), bodies)
        for status, bodies in example.get("answers", {}).items()
    ]
    for body, bodies in described:
        for kind, value in bodies.items():
            if kind in body.get("content", {}):
                body["content"][kind]["example"] = value
