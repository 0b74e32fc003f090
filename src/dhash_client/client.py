"""The clients: they send calls, wait where the service asks them to, and keep the line full."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from dhash_client import requests
from dhash_client.answers import Extracted, Near, Sighted, Submitted
from dhash_client.requests import Call, Item, ProblemError, batches, read_answer, wait

T = TypeVar("T")

BATCH, BATCH_BYTES, AT_ONCE = 50, 16 * 1024**2, 4
"""Items and bytes of a batch, and batches on their way at once."""

Progress = Callable[[int], object]
"""Called with the number of items that are done."""


class Client:
    """Asks one service. Any number of threads may share a client; close it, or use it in a `with`."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 60,
        sleep: Callable[[float], object] = time.sleep,
        **options: Any,
    ) -> None:
        """`options` go to httpx. `sleep` waits so many seconds before a request is sent again."""
        self._sleep = sleep
        self._http = httpx.Client(base_url=url, timeout=timeout, headers=bearer(token), **options)

    def submit(self, data: bytes, *, register: bool = True, **words: Any) -> Submitted:
        """Send a picture, with `name`, `source` and `tags`. Raises `ProblemError`, `httpx.TransportError`."""
        return self._send(requests.submit(Item(data, **words), register=register))

    def extract(self, data: bytes, *, register: bool = True, **words: Any) -> Extracted:
        """Send a PDF, or a picture as one of its own, with `name`, `source` and `tags`."""
        return self._send(requests.extract(Item(data, **words), register=register))

    def submit_many(
        self, items: Iterable[Item], *, register: bool = True, progress: Progress = lambda done: None
    ) -> Iterator[Submitted | ProblemError]:
        """Send many pictures in batches, several at once; their results in order. Each fails alone."""
        done = 0
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="dhash-client") as threads:
            ahead: deque[Future[list[Submitted | ProblemError]]] = deque()
            for batch in batches(items, BATCH, BATCH_BYTES):
                ahead.append(threads.submit(self._send, requests.submit_batch(batch, register=register)))
                while len(ahead) > AT_ONCE:
                    results = ahead.popleft().result()
                    progress(done := done + len(results))
                    yield from results
            for future in ahead:
                results = future.result()
                progress(done := done + len(results))
                yield from results

    def search(self, hash: str, *, radius: int = 10, limit: int = 20) -> list[Near]:
        """The known pictures near a hash, nearest first."""
        return self._send(requests.search(hash, radius, limit))

    def search_picture(
        self, data: bytes, *, radius: int = 10, limit: int = 20, variants: bool = False
    ) -> list[Near]:
        """The known pictures near a picture, which is not kept; turned and mirrored ones too if asked for."""
        return self._send(requests.search_picture(data, radius, limit, variants=variants))

    def sightings(
        self, *, image: str | None = None, name: str | None = None, tag: str | None = None
    ) -> Iterator[Sighted]:
        """Every place that a picture, or matching pictures, were seen at, the newest first."""
        cursor: str | None = None
        while True:
            found, cursor = self._send(requests.sightings(image, name, tag, cursor))
            yield from found
            if cursor is None:
                return

    def fingerprint(self, id: str) -> str:
        """The hash of a known picture."""
        return self._send(requests.fingerprint(id))

    def thumbnail(self, id: str) -> bytes:
        """A known picture, at most 256 px."""
        return self._send(requests.thumbnail(id))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        tries = 0
        while True:
            tries += 1
            answer: httpx.Response | None = None
            try:
                answer = self._http.request(call.method, call.path, **arguments(call))
            except httpx.TransportError:
                if (pause := wait(tries, None)) is None:
                    raise
            else:
                if answer.is_success or (pause := wait(tries, answer)) is None:
                    return read_answer(call, answer)
            self._sleep(pause)


class AsyncClient:
    """The same for asyncio."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 60,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        **options: Any,
    ) -> None:
        """See `Client`."""
        self._sleep = sleep
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout, headers=bearer(token), **options)

    async def submit(self, data: bytes, *, register: bool = True, **words: Any) -> Submitted:
        """Send a picture, with `name`, `source` and `tags`. Raises `ProblemError`, `httpx.TransportError`."""
        return await self._send(requests.submit(Item(data, **words), register=register))

    async def extract(self, data: bytes, *, register: bool = True, **words: Any) -> Extracted:
        """Send a PDF, or a picture as one of its own, with `name`, `source` and `tags`."""
        return await self._send(requests.extract(Item(data, **words), register=register))

    async def submit_many(
        self, items: Iterable[Item], *, register: bool = True, progress: Progress = lambda done: None
    ) -> AsyncIterator[Submitted | ProblemError]:
        """Send many pictures in batches, several at once; their results in order. Each fails alone."""
        done = 0
        ahead: deque[asyncio.Task[list[Submitted | ProblemError]]] = deque()
        try:
            for batch in batches(items, BATCH, BATCH_BYTES):
                sending = self._send(requests.submit_batch(batch, register=register))
                ahead.append(asyncio.create_task(sending))
                if len(ahead) < AT_ONCE:
                    continue
                results = await ahead.popleft()
                progress(done := done + len(results))
                for result in results:
                    yield result
            while ahead:
                results = await ahead.popleft()
                progress(done := done + len(results))
                for result in results:
                    yield result
        finally:
            for task in ahead:
                task.cancel()

    async def search(self, hash: str, *, radius: int = 10, limit: int = 20) -> list[Near]:
        """The known pictures near a hash, nearest first."""
        return await self._send(requests.search(hash, radius, limit))

    async def search_picture(
        self, data: bytes, *, radius: int = 10, limit: int = 20, variants: bool = False
    ) -> list[Near]:
        """The known pictures near a picture, which is not kept; turned and mirrored ones too if asked for."""
        return await self._send(requests.search_picture(data, radius, limit, variants=variants))

    async def fingerprint(self, id: str) -> str:
        """The hash of a known picture."""
        return await self._send(requests.fingerprint(id))

    async def thumbnail(self, id: str) -> bytes:
        """A known picture, at most 256 px."""
        return await self._send(requests.thumbnail(id))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: Call[T]) -> T:
        tries = 0
        while True:
            tries += 1
            answer: httpx.Response | None = None
            try:
                answer = await self._http.request(call.method, call.path, **arguments(call))
            except httpx.TransportError:
                if (pause := wait(tries, None)) is None:
                    raise
            else:
                if answer.is_success or (pause := wait(tries, answer)) is None:
                    return read_answer(call, answer)
            await self._sleep(pause)


def bearer(token: str | None) -> dict[str, str]:
    """The headers of somebody with a token."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def arguments(call: Call[Any]) -> dict[str, Any]:
    """A call as httpx takes it."""
    return {"params": call.params, "content": call.content, "json": call.json, "headers": call.headers}
