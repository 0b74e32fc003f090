"""What is answered below FastAPI is answered as FastAPI answers it."""

from itertools import count
from typing import Any

import httpx
import pytest

from tests.dhash_service.serving import Server
from tests.pictures import jpeg

seeds = count(70_000)
NEW = {"id", "sha256", "lookup", "match", "confidence", "reasons", "status", "hash", "quality"}
"""What differs from one picture to the next."""


def kept(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    return body


def both(
    client: httpx.Client, path: str, by_application: dict[str, str], **asked: Any
) -> list[httpx.Response]:
    """The same GET, plain, and with a token: that is the application's."""
    return [client.get(path, headers=headers, **asked) for headers in ({}, by_application)]


@pytest.mark.parametrize(
    "query",
    [
        "hash=8f0f0f1f3f7fff00",
        "hash=8F0F0F1F3F7FFF00&radius=32&limit=1000",
        "limit=3&hash=ffffffffffffffff&radius=30",
        "hash=8f0f0f1f3f7fff00&radius=33",
        "hash=8f0f0f1f3f7fff00&radius=-1",
        "hash=8f0f0f1f3f7fff00&limit=0",
        "hash=8f0f0f1f3f7fff00&limit=1001",
        "hash=8f0f0f1f3f7fff00&limit=+5",
        "hash=8f0f0f1f3f7fff00&radius=1_0",
        "hash=8f0f0f1f3f7fff00&hash=0000000000000000",
        "hash=8f0f0f1f3f7fff0",
        "hash=8f0f0f1f3f7fff0g",
        "hash=8f0f0f1f3f7fff0%C3%A9",
        "hash=%38f0f0f1f3f7fff00",
        "hash=",
        "",
        "other=1&hash=8f0f0f1f3f7fff00",
        "hash=8f0f0f1f3f7fff00&radius=",
        "&=&hash=8f0f0f1f3f7fff00",
    ],
)
def test_a_search_is_answered_alike(client: httpx.Client, admin: dict[str, str], query: str) -> None:
    client.post("/api/dhash", content=jpeg(90, 70, 1), headers={"Content-Type": "image/jpeg"})
    plain, told = both(client, f"/api/dhash/search?{query}", admin)
    assert plain.status_code == told.status_code
    assert kept(plain) == kept(told)
    assert plain.headers["content-type"] == told.headers["content-type"]


@pytest.mark.parametrize("kind", ["image/jpeg", "IMAGE/JPEG", "image/jpeg; x=1", "application/octet-stream"])
@pytest.mark.parametrize(
    "query",
    ["", "?register=true", "?register=1", "?name=a.jpg&source=http%3A%2F%2Fb%2Fa.jpg", "?tag=x&tag=y"],
)
def test_a_picture_is_taken_alike(client: httpx.Client, admin: dict[str, str], kind: str, query: str) -> None:
    answers = []
    for headers in ({}, admin):
        data, headers = jpeg(120, 90, next(seeds)), {"Content-Type": kind} | headers
        first, again = (client.post(f"/api/dhash{query}", content=data, headers=headers) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert kept(again)["match"]["id"] == kept(first)["id"]
        answers.append(kept(first))
        assert kept(client.get(f"/api/dhash/{kept(first)['id']}"))["names"] == (
            ["a.jpg"] if "name" in query else []
        )
    plain, told = answers
    assert list(plain) == list(told)
    assert {key: plain[key] for key in plain if key not in NEW} == {
        key: told[key] for key in told if key not in NEW
    }


@pytest.mark.parametrize(
    ("query", "kind", "body"),
    [
        ("", "image/jpeg", b""),
        ("", "image/jpeg", b"no picture"),
        ("", "application/octet-stream", b""),
        ("?register=maybe", "image/jpeg", b"no picture"),
        ("?name=" + "x" * 300, "image/jpeg", b"no picture"),
        ("?name=a%00b", "image/jpeg", b"no picture"),
        ("?register=false", "image/jpeg", b"no picture"),
        ("", "text/plain", b"no picture"),
        ("", "", b"no picture"),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_a_fault_is_told_alike(
    client: httpx.Client, admin: dict[str, str], query: str, kind: str, body: bytes, accept: str
) -> None:
    asked = {"Content-Type": kind, "Accept": accept}
    plain, told = (
        client.post(f"/api/dhash{query}", content=body, headers=asked | more) for more in ({}, admin)
    )
    assert plain.status_code == told.status_code >= 400
    assert plain.headers["content-type"] == told.headers["content-type"]
    if accept == "*/*":
        assert kept(plain) == kept(told)


def test_both_count_under_the_path_of_the_document(server: Server, client: httpx.Client) -> None:
    client.get("/api/dhash/search?hash=8f0f0f1f3f7fff00")
    client.post("/api/dhash", content=jpeg(90, 70, next(seeds)), headers={"Content-Type": "image/jpeg"})
    said = client.get("/metrics", headers={"Accept": "text/plain"}).text
    assert 'dhash_requests_total{code="200",route="/api/dhash/search"}' in said
    assert 'dhash_requests_total{code="201",route="/api/dhash"}' in said
    assert '"path": "/api/dhash/search", "code": 200' in server.log.read_text()
