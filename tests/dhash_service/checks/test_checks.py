"""The checks of a running service: against the real one, and against one that goes wrong in one place."""

import hashlib
import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from dhash_service.checks.checks import CHECKS, SEED, Result, run
from dhash_service.checks.drawing import document, picture
from dhash_service.checks.probe import Probe
from dhash_service.facts import Sha256, image_id
from dhash_service.golden.readers import over_socket, over_url
from tests.dhash_service.serving import Server, dhash, free_port, serving

CRITICAL = [check.name for check in CHECKS if check.critical]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("service")) as server:
        yield server


@pytest.fixture(scope="module")
def admin(service: Server) -> str:
    return service.token("smoke", "admin")["Authorization"].removeprefix("Bearer ")


def asked(
    url: str,
    *,
    quick: bool = False,
    token: str = "",
    limit_ms: float = 5000,
    seed: str = SEED,
    patience: float = 20,
) -> list[Result]:
    with Probe(over_url(url, patience), url, token=token, limit_ms=limit_ms) as probe:
        return list(run(probe, quick=quick, seed=seed))


def failed(outcomes: list[Result]) -> dict[str, str]:
    return {outcome.name: outcome.detail for outcome in outcomes if not outcome.passed}


def rows(service: Server) -> dict[str, int]:
    """How many rows each table has."""
    path = service.env["DHASH_STORE"].removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables
        }


def known(service: Server) -> int:
    return int(service.client.get("/api/dhash/search?hash=0000000000000000&radius=32").json()["known"])


def test_a_good_service_passes_every_test_the_critical_ones_first(service: Server) -> None:
    outcomes = asked(service.url)
    assert failed(outcomes) == {}
    assert [outcome.name for outcome in outcomes] == [check.name for check in CHECKS]
    assert [outcome.name for outcome in outcomes[:2]] == CRITICAL == ["health", "submit_and_find"]


def test_quick_is_the_critical_ones(service: Server) -> None:
    assert [outcome.name for outcome in asked(service.url, quick=True)] == CRITICAL


def test_nothing_is_left_in_search(service: Server, admin: str) -> None:
    before = known(service)
    outcomes = asked(service.url, token=admin)
    assert failed(outcomes) == {}
    assert "taken out of search" in next(o.detail for o in outcomes if o.name == "submit_and_find")
    assert known(service) <= before


def test_without_an_admin_s_token_a_second_run_adds_no_row_at_all(service: Server) -> None:
    asked(service.url)
    before = rows(service)
    assert failed(asked(service.url)) == {}
    assert rows(service) == before


def test_the_row_of_a_new_picture_is_of_the_release_that_confirmed_it(service: Server) -> None:
    row = f"/api/dhash/{image_id(Sha256(hashlib.sha256(picture('read back, kept')).hexdigest()))}"
    with wrong(service, "GET", row, (200, '{"release": "old"}')) as url:
        told = failed(asked(url, quick=True, seed="read back"))
    assert "and its row is of release old" in told["submit_and_find"]
    assert failed(asked(service.url, quick=True, seed="read back, and well")) == {}


@contextmanager
def wrong(service: Server, method: str, path: str, answer: tuple[int, str] | None) -> Iterator[str]:
    """The service as it is, but for one request, which is answered like this, or never."""
    client = httpx.Client(base_url=service.url, timeout=30)
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.command == method and self.path.partition("?")[0] == path:
                if answer is None:
                    over.wait(10)
                    return
                status, content, kind = answer[0], answer[1].encode(), "application/json"
            else:
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                real = client.request(self.command, self.path, content=body, headers=headers)
                status, content, kind = real.status_code, real.content, real.headers.get("content-type", "")
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = forward

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
        client.close()


GONE = '{"status": "failing", "checks": {"store": {"ok": false, "detail": "gone"}}}'
WITH_PASSWORD = '{"store": "postgresql://u:hunter2@h/db"}'
WITH_KEY = '{"deep": [{"api_key": "abc"}]}'
GAUGELESS = json.dumps({"error_rate": 0, "p95_hash_time_ms": "fast"})
OTHER = json.dumps({"sha256": "0" * 64, "hash": "0" * 16, "id": "1"})


@pytest.mark.parametrize(
    ("method", "path", "answer", "test", "reason"),
    [
        ("GET", "/health", (503, GONE), "health", "not well: store: gone"),
        ("GET", "/health", (200, "<html>"), "health", "with no JSON: <html>"),
        ("GET", "/health", (200, '{"status": "failing"}'), "health", "not well: failing"),
        ("GET", "/health", (502, ""), "health", "answered 502 instead of 200 or 503"),
        ("GET", "/health", None, "health", "gave no answer within 4 s"),
        ("POST", "/api/dhash", (500, '{"title": "oops"}'), "submit_and_find", "answered 500 .*oops"),
        ("POST", "/api/dhash", (200, "{}"), "submit_and_find", "has the fingerprint None"),
        ("POST", "/api/dhash", (201, OTHER), "submit_and_find", "about another one"),
        ("GET", "/api/dhash/search", (200, '{"results": []}'), "submit_and_find", "is not found by it"),
        ("GET", "/metrics", (200, GAUGELESS), "metrics", "no number for .*p95_hash_time_ms"),
        ("GET", "/metrics", (200, "[]"), "metrics", "instead of an object"),
        ("GET", "/api/dhash/queue/status", (200, '{"length": -1}'), "queue_status", "length is -1"),
        ("POST", "/api/dhash/batch", (200, '{"results": [{"problem": null}]}'), "batch", r"taken: \[True\]"),
        ("POST", "/api/dhash/extract", (200, '{"pictures": []}'), "extraction", "0 were found"),
        ("GET", "/api/config", (200, WITH_PASSWORD), "configuration", "shows store"),
        ("GET", "/api/config", (200, WITH_KEY), "configuration", r"deep\[0\]\.api_key"),
        ("GET", "/api/admin/status", (200, "{}"), "admin", "answered 200 instead of 401 or 403"),
    ],
)  # fmt: skip
def test_what_is_wrong_fails_its_own_test_with_the_reason(
    service: Server, method: str, path: str, answer: tuple[int, str] | None, test: str, reason: str
) -> None:
    with wrong(service, method, path, answer) as url:
        found = failed(asked(url, patience=20 if answer else 4))
    assert test in found
    assert re.search(reason, found[test]), found[test]
    if path not in ("/api/dhash", "/api/dhash/search"):  # what other tests need as well
        assert list(found) == [test]


def test_input_that_is_taken_though_it_is_invalid_fails(service: Server) -> None:
    kept = json.dumps({"hash": "0" * 16, "sha256": "x", "id": "1"})
    with wrong(service, "POST", "/api/dhash", (200, kept)) as url:
        assert "answered 200 instead of 400 or 413" in failed(asked(url))["invalid_input"]


def test_a_slow_lookup_fails_against_its_limit(service: Server) -> None:
    assert "0.01 are allowed" in failed(asked(service.url, limit_ms=0.01))["latency"]


def test_nothing_listening_is_said_as_it_is() -> None:
    found = failed(asked(f"http://127.0.0.1:{free_port()}", quick=True))
    assert list(found) == CRITICAL
    assert "nothing answers at http://127.0.0.1" in found["health"]


def test_a_page_that_breaks_is_found(service: Server) -> None:
    with wrong(service, "GET", "/docs", (500, "oops")) as url:
        assert "GET /docs answered 500 instead of 200: oops" in failed(asked(url))["pages"]


def test_a_socket_that_is_not_there_is_said_as_it_is(tmp_path: Path) -> None:
    with Probe(over_socket(tmp_path / "none.sock"), "none.sock") as probe:
        [health, _] = run(probe, quick=True)
    assert health.detail == "nothing answers at none.sock (there is no socket)"


def test_the_drawings_are_the_same_bytes_each_time() -> None:
    assert picture("a") == picture("a") != picture("b")
    assert document("a")[:5] == b"%PDF-"


# ---- the command


def test_the_command_prints_a_line_a_check_and_json(service: Server) -> None:
    done = dhash("check", "--url", service.url, "--json", "--only", "health", "--only", "admin")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["name"], line["critical"], line["passed"]) for line in lines] == [
        ("health", True, True),
        ("admin", False, True),
    ]


def test_a_failed_check_is_exit_code_1() -> None:
    done = dhash("check", "--url", f"http://127.0.0.1:{free_port()}", "--quick")
    assert done.returncode == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["FAIL", name] for name in CRITICAL]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Which service is to be asked?"),
        (("--url", "http://localhost:1", "--uds", "y"), "Which service is to be asked?"),
        (("--url", "localhost"), "localhost is not the address of a service."),
        (("--only", "no", "--url", "http://localhost:1"), "There is no check 'no'."),
    ],
)
def test_a_wrong_option_is_a_clear_error_and_no_check_is_said_to_fail(
    words: tuple[str, ...], sentence: str
) -> None:
    done = dhash("check", *words)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert done.stdout == ""
