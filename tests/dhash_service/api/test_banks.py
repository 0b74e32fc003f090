"""Banks over HTTP: a match is told, queued or refused."""

import hashlib

import httpx
import pytest

from tests.dhash_service.api.test_submit import seeds, send
from tests.pictures import jpeg


@pytest.fixture
def bank(client: httpx.Client, admin: dict[str, str]):  # type: ignore[no-untyped-def]
    """Puts a picture into a bank that does this, by its hash and digests; the bank's name."""

    def make(action: str, data: bytes, *kinds: str) -> str:
        name = f"bank-{action}-{next(seeds)}"
        settings = {"action": action, "radius": 2}
        assert client.put(f"/api/dhash/banks/{name}", json=settings, headers=admin).status_code == 200
        looked = client.post("/api/dhash?register=false", files={"file": ("a.jpg", data)}).json()
        values = {"dhash": looked["hash"], "sha256": looked["sha256"], "md5": hashlib.md5(data).hexdigest()}
        text = "kind,value,label\n" + "".join(f"{kind},{values[kind]},mark\n" for kind in kinds)
        report = client.post(f"/api/dhash/banks/{name}/entries", content=text, headers=admin).json()
        assert (report["changed"], report["refused"]) == (len(kinds), 0)
        return name

    return make


def test_a_match_is_told(client: httpx.Client, bank) -> None:  # type: ignore[no-untyped-def]
    data = jpeg(300, 200, next(seeds))
    name = bank("told", data, "dhash", "sha256", "md5")
    answer = send(client, data)
    assert answer.status_code == 201
    hits = [hit for hit in answer.json()["banks"] if hit["bank"] == name]
    assert {hit["kind"] for hit in hits} == {answer.json()["algorithm"], "sha256", "md5"}
    assert {(hit["label"], hit["action"]) for hit in hits} == {("mark", "told")}
    assert [hit for hit in send(client, data).json()["banks"] if hit["bank"] == name] == hits


def test_a_match_is_queued_for_a_person(client: httpx.Client, bank) -> None:  # type: ignore[no-untyped-def]
    data = jpeg(301, 200, next(seeds))
    bank("queued", data, "dhash")
    sent = send(client, data).json()
    assert sent["status"] == "review"
    assert sent["reasons"][0] == "banked"
    queue = client.get("/api/dhash/queue", params={"reason": "banked", "limit": 200}).json()
    assert sent["lookup"] in [item["lookup"] for item in queue["items"]]


def test_a_match_is_refused_and_nothing_is_kept(
    client: httpx.Client,
    bank,
    admin: dict[str, str],  # type: ignore[no-untyped-def]
) -> None:
    data = jpeg(302, 200, next(seeds))
    name = bank("refused", data, "sha256")
    answer = send(client, data)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/refused-by-bank")
    assert name in answer.json()["detail"]
    looked = client.post("/api/dhash?register=false", files={"file": ("a.jpg", data)})
    assert looked.status_code == 200
    assert client.get(f"/api/dhash/{looked.json()['id']}").status_code == 404
    exported = client.get(f"/api/dhash/banks/{name}/entries", headers=admin).text
    removed = client.post(f"/api/dhash/banks/{name}/entries?remove=true", content=exported, headers=admin)
    assert removed.json()["changed"] == 1
    assert send(client, data).status_code == 201


def test_changing_a_bank_needs_an_admin_and_reading_its_list_a_reviewer(
    client: httpx.Client, reviewer: dict[str, str]
) -> None:
    assert client.put("/api/dhash/banks/x", json={}, headers=reviewer).status_code == 403
    assert client.get("/api/dhash/banks/x/entries").status_code == 401
    assert client.get("/api/dhash/banks/nobody/entries", headers=reviewer).status_code == 404
    assert client.get("/api/dhash/banks").status_code == 200
