"""Requests as data: what is sent, how the answer is read, and when to try again. No I/O."""

import base64
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx

from dhash_client.answers import Extracted, Near, Sighted, Submitted

T = TypeVar("T")

TRIES = 6
"""Times that a request is sent. Sending twice is safe: a picture's id follows from its bytes."""

PASSING = frozenset({408, 429, 502, 503, 504})
LONGEST_WAIT = 20.0


class ProblemError(Exception):
    """The service's own words for what is wrong (RFC 9457)."""

    def __init__(self, status: int, type: str, title: str, detail: str, advice: str) -> None:
        super().__init__(f"{title}: {detail} {advice}".strip())
        self.status, self.type, self.title, self.detail, self.advice = status, type, title, detail, advice

    @classmethod
    def of(cls, status: int, body: Mapping[str, Any]) -> "ProblemError":
        words = [str(body.get(name, "")) for name in ("type", "title", "detail", "advice")]
        return cls(status, words[0], words[1] or f"HTTP {status}", words[2], words[3])


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to be sent, and the words for it."""

    data: bytes
    name: str | None = None
    source: str | None = None
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


BYTES = {"content-type": "application/octet-stream"}


def submit(item: Item, *, register: bool) -> Call[Submitted]:
    return _sent("/api/dhash", lambda answer: Submitted.of(answer.json()), item, register=register)


def extract(item: Item, *, register: bool) -> Call[Extracted]:
    return _sent("/api/dhash/extract", lambda answer: Extracted.of(answer.json()), item, register=register)


def _sent(path: str, read: Callable[[httpx.Response], T], item: Item, *, register: bool) -> Call[T]:
    """A file's bytes as the body, with what is asked of them in the address."""
    return Call("POST", path, read, asked(item, register), item.data, headers=BYTES)


def asked(item: Item, register: bool) -> Mapping[str, Any]:
    """The query that goes with an item's bytes."""
    words = {"name": item.name, "source": item.source, "tag": list(item.tags) or None}
    given = {name: value for name, value in words.items() if value is not None}
    return given | {"register": str(register).lower()}


def submit_batch(items: Sequence[Item], *, register: bool) -> Call[list[Submitted | ProblemError]]:
    batch = [
        {
            "input": base64.b64encode(item.data).decode(),
            "name": item.name,
            "source": item.source,
            "tags": list(item.tags),
        }
        for item in items
    ]
    return Call(
        "POST", "/api/dhash/batch", read_batch, {"register": str(register).lower()}, json={"batch": batch}
    )


def read_batch(answer: httpx.Response) -> list[Submitted | ProblemError]:
    return [
        Submitted.of(item["result"])
        if item["result"]
        else ProblemError.of(item["problem"]["status"], item["problem"])
        for item in answer.json()["results"]
    ]


def search(hash: str, radius: int, limit: int) -> Call[list[Near]]:
    return Call("GET", "/api/dhash/search", read_near, {"hash": hash, "radius": radius, "limit": limit})


def search_picture(data: bytes, radius: int, limit: int, *, variants: bool) -> Call[list[Near]]:
    params = {"radius": radius, "limit": limit, "variants": str(variants).lower()}
    return Call("POST", "/api/dhash/search", read_near, params, data, headers=BYTES)


def read_near(answer: httpx.Response) -> list[Near]:
    return [Near.of(near) for near in answer.json()["results"]]


def sightings(
    image: str | None, name: str | None, tag: str | None, cursor: str | None
) -> Call[tuple[list[Sighted], str | None]]:
    given = {"name": name, "tag": tag, "cursor": cursor, "limit": 200}
    params = {word: value for word, value in given.items() if value is not None}
    path = f"/api/dhash/{image}/sightings" if image else "/api/dhash/sightings"
    return Call("GET", path, read_sightings, params)


def read_sightings(answer: httpx.Response) -> tuple[list[Sighted], str | None]:
    body = answer.json()
    return [Sighted.of(item) for item in body["items"]], body["next"]


def fingerprint(id: str) -> Call[str]:
    return Call("GET", f"/api/dhash/{id}", lambda answer: str(answer.json()["hash"]))


def thumbnail(id: str) -> Call[bytes]:
    return Call("GET", f"/api/dhash/{id}/thumbnail", lambda answer: answer.content)


def read_answer(call: Call[T], answer: httpx.Response) -> T:
    """The answer as a value. Raises `ProblemError`."""
    if answer.is_success:
        return call.read(answer)
    try:
        body = answer.json()
    except ValueError:
        body = {}
    raise ProblemError.of(answer.status_code, body if isinstance(body, dict) else {})


def wait(tries: int, answer: httpx.Response | None) -> float | None:
    """Seconds until a request is sent again after so many tries; None where that would not help.

    `answer` is None where none came. The service's own `Retry-After` goes before our doubling.
    """
    if tries >= TRIES or (answer is not None and answer.status_code not in PASSING):
        return None
    asked = answer.headers.get("retry-after", "") if answer is not None else ""
    longest = min(LONGEST_WAIT, 0.1 * 2.0**tries)
    return max(float(asked) if asked.isdigit() else 0.0, random.uniform(longest / 2, longest))


def batches(items: Iterable[Item], size: int, most_bytes: int) -> Iterator[list[Item]]:
    """The items in batches of at most `size` items and, but for single large ones, `most_bytes` bytes."""
    batch: list[Item] = []
    held = 0
    for item in items:
        if batch and (len(batch) >= size or held + len(item.data) > most_bytes):
            yield batch
            batch, held = [], 0
        batch.append(item)
        held += len(item.data)
    if batch:
        yield batch
