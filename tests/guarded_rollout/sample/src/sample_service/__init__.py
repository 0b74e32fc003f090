"""Keeps the contract with as little as possible: submits are rows in SQLite, fingerprints are checksums."""

import argparse
import asyncio
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

REVISIONS = [
    {
        "revision": "0001",
        "kind": "expand",
        "sql": ["CREATE TABLE picture (sha256 TEXT PRIMARY KEY, release TEXT)"],
    },
]
RELEASE = os.environ.get("DHASH_RELEASE", "development")
STORE = Path(os.environ.get("DHASH_STORE", "sqlite:///sample.db").removeprefix("sqlite:///"))


def connect() -> sqlite3.Connection:
    connection = sqlite3.connect(STORE, timeout=5, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def current() -> str | None:
    if not STORE.exists():
        return None
    with connect() as connection:
        number = connection.execute("PRAGMA user_version").fetchone()[0]
    return str(REVISIONS[number - 1]["revision"]) if number else None


def pending() -> list[dict[str, Any]]:
    at = current()
    return [revision for revision in REVISIONS if at is None or str(revision["revision"]) > at]


def upgrade() -> None:
    STORE.parent.mkdir(parents=True, exist_ok=True)
    connection = connect()
    for revision in pending():
        connection.execute("BEGIN IMMEDIATE")
        for statement in revision["sql"]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {REVISIONS.index(revision) + 1}")
        connection.execute("COMMIT")


async def submit(body: bytes) -> tuple[int, dict[str, Any]]:
    sha256 = hashlib.sha256(body).hexdigest()
    connection = connect()
    new = connection.execute("INSERT OR IGNORE INTO picture VALUES (?, ?)", (sha256, RELEASE)).rowcount
    connection.close()
    return 201 if new else 200, {"id": sha256, "sha256": sha256, "hash": sha256[:16], "release": RELEASE}


async def search(value: str) -> tuple[int, dict[str, Any]]:
    connection = connect()
    rows = connection.execute("SELECT sha256 FROM picture WHERE sha256 LIKE ?", (value + "%",)).fetchall()
    connection.close()
    return 200, {"results": [{"id": sha256, "sha256": sha256, "distance": 0} for (sha256,) in rows]}


async def answer(scope: dict[str, Any], body: bytes) -> tuple[int, dict[str, Any]]:
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    match scope["method"], scope["path"]:
        case "GET", "/health" | "/health/ready":
            return (503 if pending() else 200), {"release": RELEASE, "pid": os.getpid()}
        case "POST", "/api/dhash":
            return await submit(body)
        case "GET", "/api/dhash/search":
            return await search(query["hash"])
        case "GET", "/slow":
            await asyncio.sleep(float(query.get("seconds", "1.5")))
    return 200, {"release": RELEASE, "pid": os.getpid()}


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["type"] != "http":
        raise RuntimeError(scope["type"])
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    status, content = await answer(scope, body)
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def serve() -> None:
    import uvicorn

    uvicorn.run(
        app,
        uds=os.environ["DHASH_UDS"],
        lifespan="off",
        log_level="warning",
        timeout_graceful_shutdown=10,
        timeout_keep_alive=75,
    )


def store(command: str, file: str | None) -> dict[str, Any]:
    match command:
        case "upgrade":
            upgrade()
        case "snapshot":
            source, target = connect(), sqlite3.connect(str(file))
            source.backup(target)
        case "merge":
            connection = connect()
            connection.execute("ATTACH ? AS other", (file,))
            connection.execute("INSERT OR IGNORE INTO picture SELECT * FROM other.picture")
        case "check" if STORE.exists():
            found = connect().execute("PRAGMA integrity_check").fetchone()[0]
            if found != "ok":
                sys.exit(f"damaged: {found}")
    return {
        "revision": current(),
        "current": current(),
        "head": REVISIONS[-1]["revision"],
        "revisions": pending(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("action", nargs="?")
    parser.add_argument("file", nargs="?")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--uds")
    given, _ = parser.parse_known_args()
    if given.command == "serve":
        serve()
    elif given.command == "db":
        print(json.dumps(store(given.action, given.file)))
    elif given.command == "golden":
        print(json.dumps({"checked": 1, "moved": []}))


if __name__ == "__main__":
    main()
