"""Groups of duplicates over HTTP: API and page."""

import httpx

from tests.dhash_service.api.test_submit import seeds
from tests.pictures import jpeg


def test_a_group_is_found_decided_and_shown(client: httpx.Client, reviewer: dict[str, str]) -> None:
    seed = next(seeds)
    for quality in (95, 90):
        client.post(
            "/api/dhash", files={"file": (f"dup{quality}.jpg", jpeg(320, 240, seed, quality=quality))}
        )
    asked = {"within": "dup9", "keep": "oldest"}
    found = client.get("/api/dhash/duplicates", params=asked).json()
    assert (found["total"], found["known"]) == (1, 2)
    (group,) = found["groups"]
    assert [each["names"] for each in group["pictures"]] == [["dup95.jpg"], ["dup90.jpg"]]
    body = {"members": [each["id"] for each in group["pictures"]], "keep": group["pictures"][0]["id"]}
    assert client.post("/api/dhash/duplicates/decision", json=body).status_code == 401
    assert client.post("/api/dhash/duplicates/decision", json=body, headers=reviewer).status_code == 201
    (again,) = client.get("/api/dhash/duplicates", params=asked).json()["groups"]
    assert (again["decision"]["kept"], again["decision"]["reviewer"]) == (body["keep"], "rita")
    page = client.get("/duplicates", params=asked, headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "dup95.jpg" in page.text
    assert "rita" in page.text


def test_what_is_no_group_is_refused(client: httpx.Client, reviewer: dict[str, str]) -> None:
    nobody = "00000000-0000-8000-8000-000000000000"
    answer = client.post(
        "/api/dhash/duplicates/decision", json={"members": [nobody, nobody]}, headers=reviewer
    )
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/bad-request")
