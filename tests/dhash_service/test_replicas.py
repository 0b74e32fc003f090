"""Two real `dhash serve` over one PostgreSQL: what one acknowledged, the other finds; one alone says new."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier

import pytest

from tests.dhash_service.serving import Server, start
from tests.pictures import jpeg

pytestmark = pytest.mark.system

PAIRS = 40


@pytest.fixture
def replicas(postgres_url: str, tmp_path: Path) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        servers = []
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            servers.append(start(folder, store=postgres_url, keep_thumbnails=False))
            stack.callback(servers[-1].stop)
        yield [server.wait_until_ready() for server in servers]


def submitted(server: Server, data: bytes) -> dict[str, object]:
    answer = server.client.post("/api/dhash", content=data, headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 201, answer.text
    found: dict[str, object] = answer.json()
    return found


def test_of_a_pair_sent_to_two_replicas_at_once_one_is_new(replicas: list[Server]) -> None:
    counts: Counter[int] = Counter()
    with ThreadPoolExecutor(2) as threads:
        for number in range(PAIRS):
            pair = [jpeg(400, 300, number, quality=quality) for quality in (80, 95)]
            together = Barrier(2)

            def send(place: int, pair: list[bytes] = pair, together: Barrier = together) -> object:
                together.wait(10)
                return submitted(replicas[place], pair[place])["status"]

            statuses = list(threads.map(send, range(2)))
            counts[statuses.count("new")] += 1
    assert counts[2] == 0, counts
    assert counts[1] > PAIRS / 2, counts  # the others met an earlier pair


def test_what_one_acknowledged_the_other_finds_at_once(replicas: list[Server]) -> None:
    one, other = replicas
    for number in range(30):
        data = jpeg(400, 300, 1000 + number)
        sent = submitted(one, data)
        answer = other.client.get("/api/dhash/search", params={"hash": str(sent["hash"]), "radius": 0})
        assert sent["id"] in [each["id"] for each in answer.json()["results"]]
        near = jpeg(400, 300, 1000 + number, quality=60)
        answer = other.client.post(
            "/api/dhash", params={"register": "false"}, content=near, headers={"Content-Type": "image/jpeg"}
        )
        assert answer.json()["status"] != "new"
        one, other = other, one
