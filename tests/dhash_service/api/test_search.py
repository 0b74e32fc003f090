"""Finding known pictures again."""

import io

import httpx
import pytest
from PIL import Image

from tests.dhash_service.api.test_submit import problem, seeds, send
from tests.pictures import encode, jpeg, photo

NOBODY = "00000000-0000-8000-8000-000000000000"


def test_a_picture_is_found_by_its_hash_as_soon_as_it_is_acknowledged(client: httpx.Client) -> None:
    for _ in range(20):
        body = send(client, jpeg(240, 180, next(seeds))).json()
        found = client.get("/api/dhash/search", params={"hash": body["hash"], "radius": 0}).json()
        assert body["id"] in [near["id"] for near in found["results"]]


def test_results_are_nearest_first_and_cut_at_the_limit(client: httpx.Client) -> None:
    for _ in range(5):
        send(client, jpeg(240, 180, next(seeds)))
    found = client.get("/api/dhash/search", params={"hash": "f" * 16, "radius": 32, "limit": 3}).json()
    distances = [near["distance"] for near in found["results"]]
    assert distances == sorted(distances)
    assert len(distances) <= 3
    assert found["total"] >= len(distances)
    for near in found["results"]:
        assert (int(near["hash"], 16) ^ 0xFFFFFFFFFFFFFFFF).bit_count() == near["distance"]


def test_few_and_many_alike_are_found_with_names_alone_and_together(
    client: httpx.Client, admin: dict[str, str]
) -> None:
    scene = jpeg(250, 180, next(seeds))
    names = [f"copy {number}.jpg" for number in range(6)]
    sent = []
    for number, name in enumerate(names):
        copy = scene[:2] + b"\xff\xfe\x00\x03" + bytes([number]) + scene[2:]  # with a comment
        sent.append(client.post("/api/dhash", files={"file": (name, copy)}).json())
        asked = {"hash": sent[0]["hash"], "radius": 0}
        alone = client.get("/api/dhash/search", params=asked).json()
        assert [near["id"] for near in alone["results"]] == [one["id"] for one in sent]
        assert [near["names"] for near in alone["results"]] == [[each] for each in names[: number + 1]]
        (together,) = client.post(
            "/api/dhash/search/batch", json={"hashes": [asked["hash"]], "radius": 0}
        ).json()
        assert together == alone
    client.delete(f"/api/dhash/{sent[1]['id']}", headers=admin).raise_for_status()
    for limit in (3, 20):
        left = client.get("/api/dhash/search", params=asked | {"limit": limit}).json()
        assert [near["id"] for near in left["results"]] == [one["id"] for one in sent if one != sent[1]][
            :limit
        ]


def test_searching_by_picture_finds_it_and_keeps_nothing(client: httpx.Client) -> None:
    data = jpeg(260, 180, next(seeds))
    known = send(client, data).json()
    other = jpeg(270, 180, next(seeds))
    found = client.post("/api/dhash/search", files={"file": ("a.jpg", data)}).json()
    assert found["results"][0]["id"] == known["id"]
    client.post("/api/dhash/search", files={"file": ("b.jpg", other)})
    assert send(client, other).status_code == 201


def test_a_known_picture_and_its_thumbnail(client: httpx.Client) -> None:
    body = send(client, jpeg(1200, 900, next(seeds))).json()
    known = client.get(f"/api/dhash/{body['id']}").json()
    assert (known["format"], known["width"], known["height"]) == ("JPEG", 1200, 900)
    answer = client.get(f"/api/dhash/{body['id']}/thumbnail")
    assert answer.headers["content-type"] == "image/jpeg"
    thumbnail = Image.open(io.BytesIO(answer.content))
    assert max(thumbnail.size) <= 256
    assert thumbnail.mode == "RGB"


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        (f"/api/dhash/{NOBODY}", 404, "not-found"),
        (f"/api/dhash/{NOBODY}/thumbnail", 404, "not-found"),
        ("/api/dhash/no-id", 404, "not-found"),
        ("/api/dhash/search", 422, "bad-request"),
        ("/api/dhash/search?hash=xyz", 422, "bad-request"),
        ("/api/dhash/search?hash=0000000000000000&radius=65", 422, "bad-request"),
        ("/api/dhash/search?hash=0000000000000000&limit=0", 422, "bad-request"),
        ("/nowhere", 404, "not-found"),
    ],
)
def test_what_does_not_exist_is_said_so(client: httpx.Client, path: str, status: int, kind: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert problem(answer) == kind


def test_a_hidden_picture_leaves_search_until_an_admin_sends_it_again(
    client: httpx.Client, admin: dict[str, str]
) -> None:
    data = jpeg(280, 180, next(seeds))
    body = send(client, data).json()
    assert client.delete(f"/api/dhash/{body['id']}").status_code == 401
    assert client.delete(f"/api/dhash/{body['id']}", headers=admin).status_code == 204
    search = {"hash": body["hash"], "radius": 0}
    assert client.get("/api/dhash/search", params=search).json()["results"] == []
    assert client.get(f"/api/dhash/{body['id']}").status_code == 404
    assert client.get(f"/api/dhash/{body['id']}/thumbnail").status_code == 404

    assert send(client, data).status_code == 451
    again = client.post("/api/dhash", content=data, headers={"Content-Type": "image/jpeg"} | admin)
    assert again.status_code == 201
    found = client.get("/api/dhash/search", params=search).json()["results"]
    assert [near["id"] for near in found] == [body["id"]]


def test_turned_and_mirrored_copies_are_found_and_told_how(client: httpx.Client) -> None:
    picture = photo(260, 180, next(seeds))
    known = send(client, encode(picture, "PNG")).json()
    turns = {"turned_90": Image.Transpose.ROTATE_270, "mirrored": Image.Transpose.FLIP_LEFT_RIGHT}
    for turn, transpose in turns.items():
        copy = encode(picture.transpose(transpose), "PNG")
        plain = client.post("/api/dhash/search", content=copy, params={"radius": 4}).json()
        assert known["id"] not in [near["id"] for near in plain["results"]]
        found = client.post("/api/dhash/search", content=copy, params={"radius": 4, "variants": True}).json()
        (near,) = (near for near in found["results"] if near["id"] == known["id"])
        back = {"turned_90": "turned_270", "mirrored": "mirrored"}[turn]
        assert (near["turn"], found["hash"]) == (back, plain["hash"])


def test_a_further_format_is_searched_with_variants_too(client: httpx.Client) -> None:
    picture = photo(270, 190, next(seeds))
    known = send(client, encode(picture, "AVIF")).json()
    found = client.post(
        "/api/dhash/search", content=encode(picture.rotate(180), "AVIF"), params={"variants": True}
    ).json()
    assert (known["id"], "turned_180") in [(near["id"], near["turn"]) for near in found["results"]]


def test_a_batch_of_searches_answers_each_as_if_alone(client: httpx.Client) -> None:
    known = [send(client, jpeg(280, 180, next(seeds))).json()["hash"] for _ in range(2)]
    hashes = [known[0], "0123456789abcdef", known[1].upper()]
    batch = client.post("/api/dhash/search/batch", json={"hashes": hashes, "radius": 4, "limit": 3})
    assert batch.status_code == 200
    for value, answer in zip(hashes, batch.json(), strict=True):
        alone = client.get("/api/dhash/search", params={"hash": value, "radius": 4, "limit": 3}).json()
        assert answer == alone
    for bad in ([], ["12"], "0123456789abcdef", ["0123456789abcdef"] * 101):
        refused = client.post("/api/dhash/search/batch", json={"hashes": bad})
        assert refused.status_code in (413, 422)
