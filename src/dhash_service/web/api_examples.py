"""Examples of each operation, made from the OpenAPI document: curl, Python, and what comes back. Pure."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

ID = "0193d1f2-7c00-7000-8000-000000000000"
BY_FORMAT = {"uuid": ID, "date-time": "2026-11-30T16:16:00Z", "binary": "…"}
FILES = {"extract": "report.pdf", "import_entries": "hashes.csv"}
"""What is sent as it is, where that is no picture."""

DEEPEST = 4
"""Levels of an example's JSON; deeper ones say no more."""


@dataclass(frozen=True, slots=True)
class Example:
    """One operation asked for in two ways, and an answer to it; `answer` is empty where that is no JSON."""

    curl: str
    python: str
    answer: str


def example(method: str, path: str, told: Schema, models: Mapping[str, Schema], base: str) -> Example:
    """The example of an operation at a service's address."""
    for given in told.get("parameters", ()):
        if given["in"] == "path":
            path = path.replace(f"{{{given['name']}}}", str(sample(given["schema"], models)))
    asked = {
        given["name"]: sample(given["schema"], models)
        for given in told.get("parameters", ())
        if given["in"] == "query" and given.get("required")
    }
    url = base.rstrip("/") + path
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    token = {} not in told.get("security", [{}])
    content = told.get("requestBody", {}).get("content", {})
    as_file = "application/octet-stream" in content
    file = FILES.get(told["operationId"], "picture.jpg") if as_file else ""
    body = sample(content["application/json"]["schema"], models) if content and not as_file else None
    return Example(
        curl(method, f"{url}?{query}" if query else url, token, file, body),
        python(method, url, asked, token, file, body),
        answer(told, models),
    )


def curl(method: str, url: str, token: bool, file: str, body: object) -> str:
    """The command line; the token comes from a variable."""
    words = ["curl"]
    if file:
        words += ["--data-binary", f"@{file}"]
    elif body is not None:
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(body, ensure_ascii=False)]
    if method != ("POST" if file or body is not None else "GET"):
        words += ["-X", method]
    line = shlex.join([*words, url])
    return line + (' -H "Authorization: Bearer $DHASH_TOKEN"' if token else "")


def python(method: str, url: str, asked: Mapping[str, object], token: bool, file: str, body: object) -> str:
    """A script that prints the answer."""
    lines = ["import httpx", ""]
    given = [repr(url)]
    if token:
        lines[:1] = ["import os", "", "import httpx"]
        lines.append('token = {"Authorization": f"Bearer {os.environ[\'DHASH_TOKEN\']}"}')
        given.append("headers=token")
    if asked:
        given.append(f"params={dict(asked)!r}")
    if file:
        lines.append(f'data = open("{file}", "rb").read()')
        given.append("content=data")
    if body is not None:
        given.append(f"json={body!r}")
    call = f"httpx.{method.lower()}({', '.join(given)})"
    if method == "DELETE" and body is not None:
        call = f"httpx.request('DELETE', {', '.join(given)})"
    return "\n".join([*lines, f"answer = {call}", "print(answer.raise_for_status().text)"])


def answer(told: Schema, models: Mapping[str, Schema]) -> str:
    """The first good answer that is JSON."""
    for status, given in sorted(told["responses"].items()):
        found = given.get("content", {}).get("application/json")
        if status.startswith("2") and found:
            return json.dumps(sample(found["schema"], models), indent=2, ensure_ascii=False)
    return ""


def sample(schema: Schema, models: Mapping[str, Schema], depth: int = 0) -> Any:
    """A value that fits a schema: its own example, or the plainest there is."""
    if schema.get("examples"):
        return schema["examples"][0]
    if "$ref" in schema:
        return sample(models[str(schema["$ref"]).rpartition("/")[2]], models, depth)
    if "anyOf" in schema:
        return sample(schema["anyOf"][0], models, depth)
    if "enum" in schema or "const" in schema:
        return schema.get("enum", [schema.get("const")])[0]
    if schema.get("default") not in (None, [], {}):
        return schema["default"]
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items") or next(iter(schema.get("prefixItems", ())), None)
        return [] if items is None or depth >= DEEPEST else [sample(items, models, depth + 1)]
    if kind == "object" or "properties" in schema:
        if depth >= DEEPEST:
            return {}
        return {name: sample(told, models, depth + 1) for name, told in schema.get("properties", {}).items()}
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    if kind == "boolean":
        return False
    if schema.get("pattern", "").startswith("^[0-9a-f]{16}"):
        return "8f0f0f1f3f7fff00"
    return BY_FORMAT.get(schema.get("format", ""), str(schema.get("title", "text")).lower())
