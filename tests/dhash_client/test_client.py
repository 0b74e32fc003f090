"""The client: against a real service, and against one that is busy, broken or gone."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dhash_client import AsyncClient, Client, Item, ProblemError, requests
from tests.dhash_service.documents.pdfs import showing
from tests.dhash_service.serving import Server, dhash, serving
from tests.pictures import jpeg


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


def test_a_picture_is_sent_found_and_placed(server: Server) -> None:
    data = jpeg(240, 180, 1)
    with Client(server.url) as client:
        sent = client.submit(data, name="sea.jpg", tags=["sea", "2019"])
        assert sent.status in ("new", "review")
        assert client.submit(data).reasons[0] == "known"
        (near,) = client.search(sent.hash, radius=0)
        assert (near.id, near.names, near.tags) == (sent.id, ["sea.jpg"], ["2019", "sea"])
        assert client.search_picture(data, radius=0) == [near]
        assert [each.name for each in client.sightings(tag="sea")] == ["sea.jpg"]
        assert [each.name for each in client.sightings(image=sent.id)] == ["sea.jpg"]
        assert list(client.sightings(image=sent.id, tag="land")) == []
        (turned,) = client.search_picture(data, radius=0, variants=True)
        assert (turned.id, turned.turn) == (sent.id, "same")
        assert client.fingerprint(sent.id) == sent.hash
        assert client.thumbnail(sent.id).startswith(b"\xff\xd8")
        with pytest.raises(ProblemError, match="Not a supported picture") as caught:
            client.submit(b"no picture")
        assert (caught.value.status, caught.value.type) == (415, "/problems/unsupported-format")


def items() -> list[Item]:
    made = [Item(jpeg(120, 90, 100 + number, quality=70), name=f"{number}.jpg") for number in range(120)]
    made[57] = Item(b"broken", name="broken.jpg")
    return made


def test_many_are_sent_in_batches_in_order_and_each_fails_alone(server: Server) -> None:
    done: list[int] = []
    with Client(server.url) as client:
        found = list(client.submit_many(items(), progress=done.append))
        assert [type(each).__name__ for each in found].count("ProblemError") == 1
        assert isinstance(found[57], ProblemError)
        assert done[-1] == 120
        assert {each.name for each in client.sightings()} >= {"0.jpg", "119.jpg"}


def test_the_same_for_asyncio(server: Server) -> None:
    async def work() -> None:
        async with AsyncClient(server.url) as client:
            sent = await client.submit(jpeg(241, 180, 2), name="land.jpg")
            (near,) = await client.search(sent.hash, radius=0)
            assert near.names == ["land.jpg"]
            found = [each async for each in client.submit_many(items())]
            assert [each for each in found if isinstance(each, ProblemError)] == [found[57]]
            assert await client.fingerprint(sent.id) == sent.hash
            assert (await client.thumbnail(sent.id)).startswith(b"\xff\xd8")

    asyncio.run(work())


def answering(*answers: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """A service that gives these answers in turn, and the requests that it saw."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        given = answers[len(seen) - 1]
        if isinstance(given, Exception):
            raise given
        return given

    return httpx.MockTransport(answer), seen


def found() -> httpx.Response:
    return httpx.Response(200, json={"results": []})


def busy() -> httpx.Response:
    return httpx.Response(503, headers={"retry-after": "3"}, json={"title": "Busy", "detail": "No."})


def test_a_busy_or_absent_service_is_asked_again_after_the_pause_it_names() -> None:
    pauses: list[float] = []
    transport, seen = answering(busy(), httpx.ConnectError("refused"), found())
    with Client("http://service", transport=transport, sleep=pauses.append) as client:
        assert client.search("0" * 16) == []
    assert len(seen) == 3
    assert pauses[0] >= 3
    assert 0 < pauses[1] < 1


def test_the_same_pauses_for_asyncio() -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def work() -> None:
        transport, _ = answering(busy(), httpx.ReadTimeout("slow"), found())
        async with AsyncClient("http://service", transport=transport, sleep=sleep) as client:
            assert await client.search("0" * 16) == []

    asyncio.run(work())
    assert pauses[0] >= 3
    assert len(pauses) == 2


@pytest.mark.parametrize(
    ("answer", "raised"), [(busy(), ProblemError), (httpx.ConnectError("refused"), httpx.ConnectError)]
)
def test_trying_again_ends_and_says_why(answer: httpx.Response | Exception, raised: type[Exception]) -> None:
    transport, seen = answering(*[answer] * requests.TRIES)
    client = Client("http://service", transport=transport, sleep=lambda _: None)
    with client, pytest.raises(raised):
        client.search("0" * 16)
    assert len(seen) == requests.TRIES


def test_what_is_refused_is_not_sent_again() -> None:
    transport, seen = answering(httpx.Response(422, text="<html>"))
    client = Client("http://service", transport=transport)
    with client, pytest.raises(ProblemError, match="HTTP 422"):
        client.search("0" * 16)
    assert len(seen) == 1


def test_batches_are_bounded_in_items_and_bytes() -> None:
    sizes = [5, 5, 30, 1, 1, 1]
    made = list(requests.batches((Item(b"x" * size) for size in sizes), 2, 10))
    assert [[len(item.data) for item in batch] for batch in made] == [[5, 5], [30], [1, 1], [1]]


def test_the_command_line_asks_a_running_service(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(240, 180, 1))
    with Client(server.url) as client:
        client.submit(jpeg(240, 180, 1), name="sea.jpg")
    said = dhash("search", tmp_path / "a.jpg", "--radius", "0", "--url", server.url, "--json")
    assert said.returncode == 0, said.stderr
    assert "sea.jpg" in json.loads(said.stdout.splitlines()[0])["names"]
    gone = dhash("search", "0" * 16, "--url", "http://127.0.0.1:1")
    assert (gone.returncode, "did not answer" in gone.stderr) == (1, True)


def test_where_asks_a_running_service(server: Server, tmp_path: Path) -> None:
    data = jpeg(242, 180, 3)
    with Client(server.url) as client:
        sent = client.submit(data, name="cliff.jpg", source="/albums/cliff.jpg", tags=["cliff"])
    (tmp_path / "a.jpg").write_bytes(data)
    for what in (str(tmp_path / "a.jpg"), sent.hash, sent.sha256, sent.id):
        said = dhash("where", what, "--tag", "cliff", "--url", server.url, "--json")
        told = [json.loads(line) for line in said.stdout.splitlines()]
        assert [(each["source"], each["hash"]) for each in told] == [("/albums/cliff.jpg", sent.hash)], what
    assert dhash("where", "--name", "cliff.j", "--url", server.url).stdout.count("/albums/cliff.jpg") == 1
    assert dhash("where", "--name", "no such name", "--url", server.url).returncode == 1
    refused = dhash("where", "--name", "x" * 300, "--url", server.url)
    assert (refused.returncode, "255" in refused.stderr, "/health" in refused.stderr) == (1, True, False)


def test_a_folder_is_sent_to_a_running_service_and_each_file_fails_alone(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(244, 180, 4))
    (tmp_path / "b.pdf").write_bytes(showing(jpeg(245, 180, 5), jpeg(246, 180, 6)))
    (tmp_path / "c.png").write_bytes(b"no picture")
    run = dhash("index", tmp_path, "--root", tmp_path, "--url", server.url, "--json")
    told = json.loads(run.stdout)
    assert (run.returncode, told["pictures"], told["failed"], told["known"]) == (1, 3, 1, 0)
    assert "c.png: Not a supported picture" in run.stderr
    again = json.loads(dhash("index", tmp_path, "--url", server.url, "--json").stdout)
    assert (again["pictures"], again["failed"], again["known"]) == (0, 1, 2)
    with Client(server.url) as client:
        assert {each.source for each in client.sightings(name="b.pdf")} >= {"b.pdf"}
