"""The API's documentation as a page: complete, and of this service alone."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI

from dhash_service.app import create_app
from dhash_service.settings import Settings
from dhash_service.web.api_docs import in_words, reference
from tests.dhash_service.serving import serving
from tests.pictures import jpeg

BASE = "http://localhost:3000/"


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings.load())


def test_every_operation_is_there_once(app: FastAPI) -> None:
    groups, _ = reference(app, BASE)
    shown = [(one.path, one.method.lower()) for _, operations in groups for one in operations]
    wanted = [(path, method) for path, methods in app.openapi()["paths"].items() for method in methods]
    assert sorted(shown) == sorted(wanted)


def test_every_model_that_is_named_is_explained(app: FastAPI) -> None:
    groups, models = reference(app, BASE)
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


def test_every_example_can_be_typed_and_run(app: FastAPI) -> None:
    groups, _ = reference(app, BASE)
    for _, operations in groups:
        for one in operations:
            words = shlex.split(one.example.curl)
            assert words[0] == "curl"
            assert any(word.startswith(BASE) for word in words)
            assert "{" not in next(word for word in words if word.startswith(BASE))
            assert ("Authorization" in one.example.curl) == one.token
            compile(one.example.python, one.id, "exec")
            if one.example.answer:
                json.loads(one.example.answer)


def test_an_example_does_what_it_says(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        groups, _ = reference(create_app(Settings.load()), server.url)
        examples = {one.id: one.example for _, operations in groups for one in operations}
        (tmp_path / "picture.jpg").write_bytes(jpeg(300, 200, 1))
        for name in ("submit_picture", "search_by_picture", "search_many", "health", "duplicates"):
            for program in (["sh", "-c", examples[name].curl], [sys.executable, "-c", examples[name].python]):
                done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
                assert done.returncode == 0, done.stderr
                got, said = json.loads(done.stdout), json.loads(examples[name].answer)
                if isinstance(said, list):
                    got, said = got[0], said[0]
                assert set(got) == set(said), name
