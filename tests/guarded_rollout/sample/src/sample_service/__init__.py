"""Keeps the contract with as little as possible: submits are rows in SQLite, fingerprints are checksums."""

import argparse
import hashlib
import json
import os
import random
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

REVISIONS = [
    {
        "revision": "0001",
        "kind": "expand",
        "sql": "CREATE TABLE picture (sha256 TEXT PRIMARY KEY, release TEXT)",
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
    return f"{number:04d}" if number else None


def pending() -> list[dict[str, Any]]:
    at = current()
    return [revision for revision in REVISIONS if at is None or str(revision["revision"]) > at]


def lacking() -> bool:
    """Whether a revision has not run that this release cannot do without."""
    return any(revision["kind"] == "expand" for revision in pending())


def upgrade(target: str) -> None:
    STORE.parent.mkdir(parents=True, exist_ok=True)
    connection = connect()
    for revision in pending():
        if str(revision["revision"]) > target:
            break
        connection.execute("BEGIN IMMEDIATE")
        for statement in str(revision["sql"]).split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {REVISIONS.index(revision) + 1}")
        connection.execute("COMMIT")


STARTED_AT = time.time()
COUNTERS = {
    "requests_total": 0,
    "server_errors_total": 0,
    "images_ok_total": 0,
    "images_failed_total": 0,
}


def metrics() -> dict[str, Any]:
    hashed = COUNTERS["images_ok_total"]
    histogram = {"buckets": {"0.1": hashed, "2": hashed, "+Inf": hashed}}
    gauges = {"low_confidence_queue_length": 3, "memory_usage_percentage": 20}
    return {
        **gauges,
        "counters": COUNTERS,
        "histograms": {"hash_seconds": histogram},
        "started_at": STARTED_AT,
    }


async def counted(body: bytes) -> tuple[int, dict[str, Any]]:
    """A submit; while a file `broken` in the project's folder names this release, three in ten fail."""
    COUNTERS["requests_total"] += 1
    broken = Path("broken")
    if broken.exists() and broken.read_text() == RELEASE and random.random() < 0.3:
        COUNTERS["server_errors_total"] += 1
        COUNTERS["images_failed_total"] += 1
        return 500, {"detail": "broken"}
    COUNTERS["images_ok_total"] += 1
    return await submit(body)


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
            return (503 if lacking() else 200), {"release": RELEASE, "pid": os.getpid()}
        case "POST", "/api/dhash":
            return await counted(body)
        case "GET", "/metrics":
            return 200, metrics()
        case "GET", "/api/dhash/search":
            return await search(query["hash"])
        case "GET", "/forwarded":
            told = {name.decode(): value.decode() for name, value in scope["headers"]}
            return 200, {name: value for name, value in told.items() if name.startswith("x-forwarded-")}
        case "GET", "/slow":
            import asyncio  # its commands, a dozen in each rollout, start without it

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
    told = json.dumps(content).encode()
    # With its length told, a cut answer is not passed on by the proxy but asked for again.
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(told)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": told})


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


def store(command: str, file: str | None) -> list[dict[str, Any]]:
    match command:
        case "upgrade":
            upgrade(str(file))
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
    left = pending()
    if command == "plan":
        return left
    applied = [revision for revision in REVISIONS if revision not in left]
    return [{"revision": current(), "head": REVISIONS[-1]["revision"], "applied": applied}]


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
        for line in store(given.action, given.file):
            print(json.dumps(line))
    elif given.command == "golden":
        print(json.dumps({"checked": 1, "moved": []}))


if __name__ == "__main__":
    main()
