"""The least that a server can do with a picture: what the service's own work is measured against."""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dhash_service.pictures.fingerprint import read_picture

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ANSWER = b'{"status":"new"}'
threads = ThreadPoolExecutor((os.cpu_count() or 1) + 1)


async def takes(scope: Message, receive: Receive, send: Send) -> None:
    """Receives the body and answers: the floor of any service under uvicorn."""
    if scope["type"] == "http":
        await body_of(receive)
        await answer(send)


async def reads(scope: Message, receive: Receive, send: Send) -> None:
    """And reads the picture as the service does (SHA-256, fingerprint, thumbnail): no store, no index."""
    if scope["type"] == "http":
        body = await body_of(receive)
        await asyncio.get_running_loop().run_in_executor(threads, read_picture, body)
        await answer(send)


async def body_of(receive: Receive) -> bytes:
    """All of a request's body."""
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)


async def answer(send: Send) -> None:
    """201 with a few bytes of JSON."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})
