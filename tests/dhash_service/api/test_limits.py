"""Limits answer before memory is spent, and leave others served."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn
from PIL import Image
from starlette.types import Receive, Scope, Send

from dhash_service.api.limits import require_few_values
from dhash_service.api.protocol import Protocol
from dhash_service.errors import BodyTooLargeError
from tests.dhash_service.api.test_submit import problem
from tests.dhash_service.serving import Server, free_port, serving
from tests.pictures import encode, jpeg

MB = 1024**2


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with small limits."""
    with serving(
        tmp_path_factory.mktemp("tight"),
        threads=1,
        max_body_bytes=4 * MB,
        max_bodies_bytes=8 * MB,
        max_in_flight=4,
        max_in_flight_per_caller=2,
        max_pixels=20_000_000,
        body_seconds=2,
    ) as server:
        yield server


def post(server: Server, data: bytes, caller: str = "10.0.0.1") -> httpx.Response:
    headers = {"Content-Type": "image/png", "X-Forwarded-For": caller}
    return httpx.post(f"{server.url}/api/dhash", content=data, headers=headers, timeout=60)


def connect(server: Server, head: str) -> socket.socket:
    """A connection on which a request has been begun."""
    url = httpx.URL(server.url)
    connection = socket.create_connection((url.host, url.port or 80), timeout=20)
    connection.sendall(head.replace("\n", "\r\n").encode())
    return connection


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(tight: Server) -> None:
    head = f"POST /api/dhash HTTP/1.1\nHost: x\nContent-Type: image/png\nContent-Length: {10**12}\n\n"
    with connect(tight, head) as connection:
        assert b"413" in connection.recv(4096).split(b"\r\n")[0]


def test_a_body_that_does_not_say_its_length_is_cut_off_at_the_limit(tight: Server) -> None:
    memory = psutil.Process(tight.process.pid).memory_info().rss
    head = "POST /api/dhash HTTP/1.1\nHost: x\nContent-Type: image/png\nTransfer-Encoding: chunked\n\n"
    with connect(tight, head) as connection:
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        answer = b""
        try:
            for _ in range(1024):  # 64 MB, if nobody stopped us
                connection.sendall(chunk)
        except OSError:
            pass
        connection.settimeout(5)
        try:
            answer = connection.recv(4096)
        except OSError:
            pytest.skip("the answer was lost with the connection")
        assert b"413" in answer.split(b"\r\n")[0]
    assert psutil.Process(tight.process.pid).memory_info().rss - memory < 32 * MB


@pytest.mark.parametrize("piece", [b"a:b\r\n", b"a"], ids=["many", "one"])
@pytest.mark.parametrize("trailing", [False, True], ids=["headers", "trailers"])
def test_a_head_without_an_end_is_cut_off(tight: Server, piece: bytes, trailing: bool) -> None:
    before = peak_memory(tight)
    body = "Transfer-Encoding: chunked\n\n0\n" if trailing else ""
    with connect(
        tight, f"POST /api/dhash HTTP/1.1\nHost: x\nContent-Type: image/png\n{body}X: "
    ) as connection:
        sent, answer = 0, b""
        try:
            while sent < 16 * MB:
                sent += connection.send(piece * (65_536 // len(piece)))
            answer = connection.recv(4096)
        except OSError:  # the connection was reset, with the answer perhaps
            pass
    assert sent < 16 * MB
    assert not answer or trailing or b"431" in answer.split(b"\r\n")[0]
    assert peak_memory(tight) - before < 64 * MB
    assert tight.client.get("/health/live").status_code == 200


def test_readers_who_take_nothing_hold_no_place(tight: Server) -> None:
    request = "GET /openapi.json HTTP/1.1\nHost: x\nX-Forwarded-For: 10.0.0.9\n\n"
    idle = [connect(tight, request * 200) for _ in range(4)]  # as many as have places, with 12 MB to take
    try:
        for _ in range(5):
            time.sleep(0.2)
            answer = httpx.get(f"{tight.url}/banks", headers={"X-Forwarded-For": "10.0.0.9"}, timeout=60)
            assert answer.status_code == 200, answer.text
    finally:
        for connection in idle:
            connection.close()


def test_a_reader_who_takes_nothing_is_given_up() -> None:
    class Hasty(Protocol):
        stall_seconds = 0.2

    ended = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(MB), "more_body": True})
        ended.set()

    server = uvicorn.Server(
        uvicorn.Config(app, port=free_port(), http=Hasty, lifespan="off", log_level="error")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        with socket.create_connection(("127.0.0.1", server.config.port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert ended.wait(20)
    finally:
        server.should_exit = True
        thread.join(20)


def test_what_is_no_http_is_a_problem_too(tight: Server) -> None:
    with connect(tight, "GET / HTTP/1.1\nHost: x\nContent-Length: -5\n\n") as connection:
        head, _, body = connection.recv(4096).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json")
    assert json.loads(body)["type"] == "/problems/bad-request"


@pytest.mark.parametrize("path", ["/api/dhash/search/batch", "/api/dhash/batch", "/api/dhash"])
@pytest.mark.parametrize(
    ("values", "status", "kind"), [(90_000, 422, "bad-request"), (600_000, 413, "body-too-large")]
)
def test_numbers_that_nobody_asked_for_cost_little(
    tight: Server, path: str, values: int, status: int, kind: str
) -> None:
    before = peak_memory(tight)
    ones = [1] * (values // 3)
    body = {"input": "", "hashes": ones, "batch": ones, "tags": ones}
    answer = httpx.post(f"{tight.url}{path}", json=body, timeout=60)
    assert (answer.status_code, problem(answer)) == (status, kind)
    assert peak_memory(tight) - before < 24 * MB


@pytest.mark.parametrize(
    ("kind", "bounded"),
    [
        (b"Application/JSON; charset=utf-8", True),
        (b"application/problem+json", True),
        (b"application/x-ndjson", False),
        (b"text/csv", False),
        (b"image/png", False),
    ],
)
def test_lists_and_pictures_may_have_any_number_of_commas(kind: bytes, bounded: bool) -> None:
    with pytest.raises(BodyTooLargeError) if bounded else nullcontext():
        require_few_values({"headers": [(b"content-type", kind)]}, b"," * 200_000)


def test_a_picture_with_too_many_pixels_is_refused_without_decoding(tight: Server) -> None:
    bomb = encode(Image.new("1", (20_000, 20_000)), "PNG")
    before = peak_memory(tight)
    answer = post(tight, bomb)
    assert (answer.status_code, problem(answer)) == (413, "too-many-pixels")
    assert peak_memory(tight) - before < 32 * MB  # decoded, it would take 400


def peak_memory(server: Server) -> int:
    """The most memory that the service has held at once, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def slow_pictures(count: int) -> list[bytes]:
    """Pictures that take a while to decode and are small as files: PNGs are not reduced while decoding."""
    gradient = Image.linear_gradient("L")
    return [encode(gradient.resize((4000, 4000 - seed)), "PNG") for seed in range(count)]


def test_more_than_the_places_is_told_to_come_back(tight: Server) -> None:
    answers: list[httpx.Response] = []
    # Each of its own caller, all at once: four find a place.
    pictures = slow_pictures(2)
    threads = [
        threading.Thread(
            target=lambda n=number: answers.append(post(tight, pictures[n % 2] + bytes([n]), f"10.0.1.{n}"))
        )
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {201, 503}, codes
    busy = next(answer for answer in answers if answer.status_code == 503)
    assert problem(busy) == "busy"
    assert busy.headers["retry-after"] == "1"
    assert httpx.get(f"{tight.url}/health").status_code == 200


def test_one_caller_cannot_take_every_place(tight: Server) -> None:
    answers: list[httpx.Response] = []
    picture = slow_pictures(1)[0]
    threads = [
        threading.Thread(target=lambda n=number: answers.append(post(tight, picture + bytes([99, n]))))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {201, 429}, codes
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert (problem(refused), refused.headers["retry-after"]) == ("too-many-requests", "1")


def test_slow_senders_hold_no_place_from_others(tight: Server) -> None:
    head = "POST /api/dhash HTTP/1.1\nHost: x\nContent-Type: image/jpeg\nContent-Length: 100000\n\nx"
    slow = [connect(tight, head) for _ in range(100)]
    try:
        assert post(tight, jpeg(300, 200, 77)).status_code == 201
        # Who never finishes is told so.
        assert b"408" in slow[0].recv(4096).split(b"\r\n")[0]
    finally:
        for connection in slow:
            connection.close()


def test_half_sent_bodies_fill_their_budget_and_not_the_memory(tight: Server) -> None:
    """Eight megabytes may wait; the ninth is told to come back, and all of it is free again afterwards."""
    head = "POST /api/dhash HTTP/1.1\nHost: x\nContent-Type: image/jpeg\nContent-Length: 4000000\n\n"
    waiting = [connect(tight, head) for _ in range(3)]
    refused = 0
    try:
        for connection in waiting:
            try:
                connection.sendall(b"x" * 3_500_000)
            except OSError:
                refused += 1
        for connection in waiting:
            connection.settimeout(0.5)
            try:
                refused += b"503" in connection.recv(4096).split(b"\r\n")[0]
            except OSError:
                continue
        assert refused == 1
    finally:
        for connection in waiting:
            connection.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if post(tight, jpeg(310, 200, 78)).status_code in (200, 201):
            return
    pytest.fail("the budget was never given back")


def test_a_client_that_goes_away_leaves_no_trace(tight: Server) -> None:
    head = "POST /api/dhash HTTP/1.1\nHost: x\nContent-Type: image/jpeg\nContent-Length: 1000\n\nx"
    for _ in range(50):
        connect(tight, head).close()
    assert post(tight, jpeg(320, 200, 79)).status_code == 201
    assert not [line for line in tight.log.read_text().splitlines() if '"level": "error"' in line]


def test_a_locked_service_wants_a_token_for_everything_but_health(tmp_path: Path) -> None:
    with serving(tmp_path, locked=True) as server:
        assert server.client.get("/health").status_code == 200
        assert server.client.get("/metrics").status_code == 200
        assert server.client.get("/api/dhash/queue/status").status_code == 401
        assert server.client.post("/api/dhash", content=b"x").status_code == 401
        client = server.token("carl", "client")
        assert server.client.get("/api/dhash/queue/status", headers=client).status_code == 200
        headers = {**client, "Content-Type": "image/jpeg"}
        assert server.client.post("/api/dhash", content=jpeg(99, 88), headers=headers).status_code == 201
