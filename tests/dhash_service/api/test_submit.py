"""Sending pictures: three ways in, one answer out, and the same picture is known ever after."""

import base64
import hashlib
import io
import itertools
from typing import Any

import httpx
import imagehash
import pytest
from PIL import Image

from tests.pictures import encode, jpeg, photo

seeds = itertools.count(1000)


@pytest.fixture
def picture() -> bytes:
    """A picture that nobody has sent before."""
    return jpeg(320, 240, next(seeds))


def send(client: httpx.Client, data: bytes, **params: Any) -> httpx.Response:
    return client.post("/api/dhash", content=data, headers={"Content-Type": "image/jpeg"}, params=params)


def problem(answer: httpx.Response) -> str:
    """The type of a problem, after checking its form."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["detail"]
    assert body["advice"]
    return str(body["type"]).removeprefix("/problems/")


def test_a_new_picture_is_created_and_then_known(client: httpx.Client, picture: bytes) -> None:
    first = send(client, picture)
    assert first.status_code == 201
    body = first.json()
    assert body["sha256"] == hashlib.sha256(picture).hexdigest()
    assert body["algorithm"] == "dhash-64-visual-fast"
    assert (body["width"], body["height"]) == (320, 240)
    assert body["release"] == "test-1"
    assert 0 < body["quality"] <= 1

    again = send(client, picture)
    assert again.status_code == 200
    assert again.json()["id"] == body["id"]
    assert again.json()["status"] == "matched"
    assert again.json()["match"]["distance"] == 0
    assert again.json()["reasons"] == ["known"]


def test_the_hash_is_imagehashs_for_a_png(client: httpx.Client) -> None:
    data = encode(photo(640, 480, next(seeds)), "PNG")
    body = client.post("/api/dhash", files={"file": ("a.png", data, "image/png")}).json()
    assert body["hash"] == str(imagehash.dhash(Image.open(io.BytesIO(data))))


def test_the_three_ways_in_give_the_same_answer(client: httpx.Client, picture: bytes) -> None:
    text = base64.b64encode(picture).decode()
    raw = send(client, picture, register=False)
    form = client.post("/api/dhash?register=false", files={"file": ("a.jpg", picture)})
    plain = client.post("/api/dhash?register=false", json={"input": text, "algorithm": "dhash"})
    url = client.post("/api/dhash?register=false", json={"input": f"data:image/jpeg;base64,{text}"})
    assert {answer.status_code for answer in (raw, form, plain, url)} == {200}
    assert raw.json() == form.json() == plain.json() == url.json()


def test_only_looking_up_keeps_nothing(client: httpx.Client, picture: bytes) -> None:
    looked = send(client, picture, register=False).json()
    assert looked["lookup"] is None
    assert client.get(f"/api/dhash/{looked['id']}").status_code == 404
    assert send(client, picture).status_code == 201


def test_a_picture_saved_again_is_matched(client: httpx.Client) -> None:
    original = photo(800, 600, next(seeds))
    first = send(client, encode(original, "JPEG", quality=92)).json()
    again = send(client, encode(original, "JPEG", quality=60)).json()
    assert again["match"]["id"] == first["id"]
    assert again["match"]["distance"] <= 5
    assert again["status"] == "matched"


def test_a_flat_picture_goes_to_review_with_its_reason(client: httpx.Client) -> None:
    shade = next(seeds) % 200
    send(client, encode(Image.new("RGB", (300, 200), (shade, shade, shade)), "PNG"))
    other = send(client, encode(Image.new("RGB", (301, 200), (shade, shade, shade)), "PNG")).json()
    assert other["status"] == "review"
    assert "flat" in other["reasons"]
    assert other["confidence"] < 0.9


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        (b"GIF89a", 422, "damaged-picture"),
        (b"hello, world", 415, "unsupported-format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported-format"),
        (b"%PDF-1.7\n", 415, "unsupported-format"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 100, 422, "damaged-picture"),
        (b"", 422, "bad-request"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(
    client: httpx.Client, data: bytes, status: int, kind: str
) -> None:
    answer = send(client, data)
    assert answer.status_code == status
    assert problem(answer) == kind


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"input": "not base64!"}, 422, "bad-request"),
        ({"input": ""}, 422, "bad-request"),
        ({"input": "data:image/png,abc"}, 422, "bad-request"),
        ({"input": base64.b64encode(b"text").decode()}, 415, "unsupported-format"),
        ({"input": "AAAA", "algorithm": "phash"}, 422, "bad-request"),
        ({"input": 5}, 422, "bad-request"),
        ({}, 422, "bad-request"),
        ([], 422, "bad-request"),
    ],
)
def test_json_that_carries_no_picture_is_refused(
    client: httpx.Client, body: Any, status: int, kind: str
) -> None:
    answer = client.post("/api/dhash", json=body)
    assert answer.status_code == status
    assert problem(answer) == kind


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b"x", "text/plain", 415),
        (b"x", "", 415),
        (b"x", "multipart/form-data", 422),
        (b"--b\r\n\r\n", "multipart/form-data; boundary=b", 422),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 422),
        (b"garbage", "multipart/form-data; boundary=b", 422),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b; charset=undefined",
            422,
        ),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(
    client: httpx.Client, content: bytes, content_type: str, status: int
) -> None:
    answer = client.post("/api/dhash", content=content, headers={"Content-Type": content_type})
    assert answer.status_code == status, answer.text
    problem(answer)


def test_one_bad_item_of_a_batch_fails_alone(client: httpx.Client) -> None:
    good, other = jpeg(200, 150, next(seeds)), jpeg(210, 150, next(seeds))
    inputs = [base64.b64encode(data).decode() for data in (good, b"no picture", other)]
    answer = client.post("/api/dhash/batch", json={"batch": [{"input": each} for each in inputs]})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["succeeded"], body["failed"]) == (2, 1)
    assert [item["index"] for item in body["results"]] == [0, 1, 2]
    assert body["results"][1]["problem"]["type"] == "/problems/unsupported-format"
    for number, data in ((0, good), (2, other)):
        result = body["results"][number]["result"]
        assert result["sha256"] == hashlib.sha256(data).hexdigest()
        assert client.get(f"/api/dhash/{result['id']}").status_code == 200


def test_a_batch_of_files_keeps_their_names_and_order(client: httpx.Client) -> None:
    files = [("files", (f"{number}.jpg", jpeg(160, 120, next(seeds)))) for number in range(5)]
    body = client.post("/api/dhash/batch", files=files).json()
    assert [item["name"] for item in body["results"]] == [f"{number}.jpg" for number in range(5)]
    assert body["succeeded"] == 5


def test_an_empty_or_too_long_batch_is_refused(client: httpx.Client) -> None:
    empty = client.post("/api/dhash/batch", json={"batch": []})
    assert (empty.status_code, problem(empty)) == (422, "bad-request")
    long = client.post("/api/dhash/batch", json={"batch": [{"input": "AAAA"}] * 101})
    assert (long.status_code, problem(long)) == (413, "batch-too-large")
    files = [("files", (f"{number}", b"x")) for number in range(101)]
    form = client.post("/api/dhash/batch", files=files)
    assert (form.status_code, problem(form)) == (413, "batch-too-large")
    two = client.post("/api/dhash", files=files[:2])
    assert (two.status_code, two.json()["advice"]) == (413, "Send many to /api/dhash/batch.")


def test_a_picture_sent_to_extract_is_a_document_of_one_page(client: httpx.Client, picture: bytes) -> None:
    answer = client.post("/api/dhash/extract", files={"file": ("a.jpg", picture)})
    assert answer.status_code == 200
    body = answer.json()
    assert body["pages"] == 1
    assert body["pictures"][0]["sha256"] == hashlib.sha256(picture).hexdigest()


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_curl_with_data_binary_just_works(client: httpx.Client, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = client.post("/api/dhash", content=jpeg(230, 180, next(seeds)), headers=headers)
    assert answer.status_code == 201
    refused = client.post("/api/dhash", content=b"a=1&b=2", headers=headers)
    assert refused.json()["type"] == "/problems/unsupported-format"
