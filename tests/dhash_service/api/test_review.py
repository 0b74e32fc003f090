"""The review queue: what is unsure waits for a person, and decisions are facts."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from tests.dhash_service.api.test_submit import problem, seeds, send
from tests.pictures import encode


@pytest.fixture
def queued(client: httpx.Client) -> dict[str, Any]:
    """A picture that went to the review queue: flat, and like another flat one."""
    for _ in range(2):
        picture = Image.new("RGB", (300 + next(seeds), 200), (90, 90, 90))
        body: dict[str, Any] = send(client, encode(picture, "PNG")).json()
    assert body["status"] == "review"
    return body


def waiting(client: httpx.Client) -> list[dict[str, Any]]:
    """The whole queue, page by page."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/api/dhash/queue", params={"limit": 2, **cursor}).json()
        items.extend(page["items"])
        if page["next"] is None:
            return items
        cursor = {"cursor": page["next"]}


def test_an_unsure_lookup_waits_with_its_reasons(client: httpx.Client, queued: dict[str, Any]) -> None:
    items = {item["lookup"]: item for item in waiting(client)}
    item = items[queued["lookup"]]
    assert item["image"]["id"] == queued["id"]
    assert item["match"]["id"] == queued["match"]["id"]
    assert item["confidence"] == queued["confidence"]
    status = client.get("/api/dhash/queue/status").json()
    assert status["length"] == len(items)
    assert status["oldest_age_seconds"] >= 0
    assert sum(status["by_reason"].values()) >= status["length"]
    assert client.get("/metrics").json()["low_confidence_queue_length"] == len(items)


def test_pages_hold_each_lookup_once_in_the_order_they_came(
    client: httpx.Client, queued: dict[str, Any]
) -> None:
    lookups = [item["lookup"] for item in waiting(client)]
    assert len(set(lookups)) == len(lookups)
    assert lookups == sorted(lookups)


def test_a_decision_takes_it_off_the_queue(
    client: httpx.Client, queued: dict[str, Any], reviewer: dict[str, str]
) -> None:
    path = f"/api/dhash/queue/{queued['lookup']}/decision"
    answer = client.post(path, json={"verdict": "different", "note": "other page"}, headers=reviewer)
    assert answer.status_code == 201
    assert answer.json()["reviewer"] == "rita"
    assert queued["lookup"] not in [item["lookup"] for item in waiting(client)]
    again = client.post(path, json={"verdict": "same"}, headers=reviewer)
    assert again.status_code == 201
    assert again.json()["id"] != answer.json()["id"]


def test_deciding_needs_a_reviewer(client: httpx.Client, queued: dict[str, Any]) -> None:
    path = f"/api/dhash/queue/{queued['lookup']}/decision"
    answer = client.post(path, json={"verdict": "same"})
    assert (answer.status_code, problem(answer)) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    wrong = client.post(path, json={"verdict": "same"}, headers={"Authorization": "Bearer wrong"})
    assert (wrong.status_code, problem(wrong)) == (401, "unauthenticated")


def test_a_decision_on_nothing_or_of_nothing_is_refused(
    client: httpx.Client, queued: dict[str, Any], reviewer: dict[str, str]
) -> None:
    nowhere = client.post(f"/api/dhash/queue/{uuid4()}/decision", json={"verdict": "same"}, headers=reviewer)
    assert (nowhere.status_code, problem(nowhere)) == (404, "not-found")
    for body in ({"verdict": "maybe"}, {}, {"verdict": "same", "note": "x" * 3000}):
        answer = client.post(f"/api/dhash/queue/{queued['lookup']}/decision", json=body, headers=reviewer)
        assert (answer.status_code, problem(answer)) == (422, "bad-request")
