"""The API's documentation as a page: complete, and of this service alone."""

import re

import pytest
from fastapi import FastAPI

from dhash_service.app import create_app
from dhash_service.settings import Settings
from dhash_service.web.api_docs import in_words, reference


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings.load())


def test_every_operation_is_there_once(app: FastAPI) -> None:
    groups, _ = reference(app)
    shown = [(one.path, one.method.lower()) for _, operations in groups for one in operations]
    wanted = [(path, method) for path, methods in app.openapi()["paths"].items() for method in methods]
    assert sorted(shown) == sorted(wanted)


def test_every_model_that_is_named_is_explained(app: FastAPI) -> None:
    groups, models = reference(app)
    names = {model.name for model in models}
    said = [
        told.type
        for _, operations in groups
        for one in operations
        for told in (*one.parameters, *one.bodies, *one.answers)
    ]
    said += [field.type for model in models for field in model.fields]
    assert set(re.findall(r"\b[A-Z][a-z]\w+", " ".join(said))) <= names


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 32}, "integer from 0 to 32"),
        ({"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]}, "UUID or null"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Near"}}, "list of Near"),
        ({"type": "string", "enum": ["ok", "failing"]}, '"ok" or "failing"'),
        ({"const": "ok"}, '"ok"'),
        ({"type": "string", "format": "binary"}, "file"),
        ({"type": "string", "pattern": "^[0-9a-f]{16}$"}, "string like ^[0-9a-f]{16}$"),
        ({}, "anything"),
    ],
)
def test_types_are_said_in_words(schema: dict[str, object], says: str) -> None:
    assert in_words(schema) == says
