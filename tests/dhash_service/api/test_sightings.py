"""Names, sources and tags over HTTP."""

import base64

import httpx
import pytest

from tests.dhash_service.api.test_submit import seeds
from tests.pictures import jpeg

BINARY = {"content-type": "image/jpeg"}


def names(client: httpx.Client, **asked: str) -> list[str]:
    answer = client.get("/api/dhash/sightings", params=asked)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


def test_a_name_given_in_any_way_is_found_again(client: httpx.Client) -> None:
    query = {"source": "https://example.org/w1/raw.jpg?x=1", "tag": ["w1", "raw"]}
    raw = client.post("/api/dhash", params=query, content=jpeg(240, 180, next(seeds)), headers=BINARY).json()
    data = jpeg(241, 180, next(seeds))
    client.post("/api/dhash", files={"file": ("w1 form.jpg", data)})
    body = {
        "input": base64.b64encode(jpeg(242, 180, next(seeds))).decode(),
        "name": "w1 json",
        "tags": ["w1"],
    }
    client.post("/api/dhash", json=body)
    client.post("/api/dhash/batch", json={"batch": [body | {"name": "w1 batch"}]})
    assert set(names(client, name="w1 ")) == {"w1 form.jpg", "w1 json", "w1 batch"}
    assert set(names(client, tag="w1")) == {"raw.jpg?x=1", "w1 json", "w1 batch"}
    known = client.get(f"/api/dhash/{raw['id']}").json()
    assert (known["names"], known["tags"], known["sightings"]) == (["raw.jpg?x=1"], ["raw", "w1"], 1)


def test_search_results_and_matches_say_names(client: httpx.Client) -> None:
    data = jpeg(260, 180, next(seeds))
    sent = client.post("/api/dhash", files={"file": ("seen.jpg", data)}).json()
    again = client.post("/api/dhash", files={"file": ("copy.jpg", data)})
    assert again.status_code == 200
    found = client.get("/api/dhash/search", params={"hash": sent["hash"]}).json()["results"][0]
    assert found["names"] == ["seen.jpg", "copy.jpg"]
    seen = client.get(f"/api/dhash/{sent['id']}/sightings").json()["items"]
    assert {each["name"] for each in seen} == {"seen.jpg", "copy.jpg"}


def test_looking_up_leaves_no_sighting(client: httpx.Client) -> None:
    data = jpeg(261, 180, next(seeds))
    client.post("/api/dhash", files={"file": ("kept.jpg", data)})
    client.post("/api/dhash?register=false", files={"file": ("only-looked.jpg", data)})
    assert names(client, name="only-looked") == []


@pytest.mark.parametrize("query", ["name=%00", "tag=" + "x" * 65, "tag=", "name=" + "x" * 256])
def test_hostile_words_are_refused(client: httpx.Client, query: str) -> None:
    answer = client.post(f"/api/dhash?{query}", content=jpeg(240, 180, next(seeds)), headers=BINARY)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/bad-request")


def test_a_bad_label_fails_alone_in_a_batch(client: httpx.Client) -> None:
    good = {"input": base64.b64encode(jpeg(243, 180, next(seeds))).decode()}
    answer = client.post("/api/dhash/batch", json={"batch": [good, good | {"tags": [""]}]}).json()
    assert (answer["succeeded"], answer["failed"]) == (1, 1)
    assert "A tag is empty" in answer["results"][1]["problem"]["detail"]
