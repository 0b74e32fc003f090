"""Smoke tests against the real service, and against one that goes wrong in one place."""

import json
import re
import sqlite3
import subprocess
import threading
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from guarded_rollout.checks import report
from guarded_rollout.checks.probe import SmokeProbe
from guarded_rollout.checks.smoke import CHECKS, SmokeOutcome, run
from guarded_rollout.cli.app import app
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.secret import Secret
from tests.dhash_service.serving import Server, free_port, serving

ROOT = Path(__file__).parents[2]
CRITICAL = [check.name for check in CHECKS if check.critical]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("service")) as server:
        yield server


@pytest.fixture(scope="module")
def admin(service: Server) -> str:
    return service.token("smoke", "admin")["Authorization"].removeprefix("Bearer ")


def asked(url: str, *, quick: bool = False, token: str = "", limit_ms: float = 5000) -> list[SmokeOutcome]:
    return list(run(SmokeProbe(Endpoint(url, 2), token=Secret(token), limit_ms=limit_ms), quick=quick))


def failed(outcomes: list[SmokeOutcome]) -> dict[str, str]:
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
        ("GET", "/health", None, "health", "gave no whole answer within 2 s"),
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
        found = failed(asked(url))
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
    assert re.search("http://127.0.0.1:.* does not answer: .*refused", found["health"])


# ---- the command


@pytest.fixture
def command(service: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    port = service.env["DHASH_PORT"]
    (tmp_path / "rollout.toml").write_text(f"[environments.production]\nport = {port}\n")
    monkeypatch.setenv("ROLLOUT_TOML", str(tmp_path / "rollout.toml"))
    monkeypatch.delenv("DHASH_TOKEN", raising=False)
    return lambda *words: CliRunner().invoke(app, ["smoke", *words])


def test_the_command_reports_and_logs(command: Callable[..., Result], tmp_path: Path) -> None:
    answer = command("--junit", str(tmp_path / "out" / "smoke.xml"))
    assert answer.exit_code == 0, answer.output
    assert "10 of 10 smoke tests passed" in answer.output
    [log] = (tmp_path / "monitor_logs").glob("smoke_tests_production_*.log")
    messages = [json.loads(text)["message"] for text in log.read_text().splitlines()]
    assert any(text.startswith("PASS health (critical)") for text in messages)
    suite = xml.parse(tmp_path / "out" / "smoke.xml").getroot()
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuite", "10", "0")


def test_json_has_each_outcome(command: Callable[..., Result]) -> None:
    found = json.loads(command("--json", "--quick").stdout)
    assert found["passed"] is True
    assert [test["name"] for test in found["tests"]] == CRITICAL


def test_a_failure_is_exit_code_1_and_in_every_form(command: Callable[..., Result], tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/"
    answer = command(
        "--endpoint", nowhere, "--quick", "--timeout", "1", "--junit", str(tmp_path / "smoke.xml")
    )
    assert answer.exit_code == 1
    assert "0 of 2 smoke tests passed; failed: health, submit_and_find" in answer.output
    failure = xml.parse(tmp_path / "smoke.xml").getroot().find("testcase/failure")
    assert failure is not None
    assert "does not answer" in (failure.text or "")


def test_a_dry_run_asks_nothing_and_leaves_nothing(command: Callable[..., Result], tmp_path: Path) -> None:
    answer = command("--dry-run", "--endpoint", f"http://127.0.0.1:{free_port()}")
    assert answer.exit_code == 0
    assert answer.output.count("DRY-RUN: would check") == len(CHECKS)
    assert [path.name for path in tmp_path.iterdir()] == ["rollout.toml"]


@pytest.mark.parametrize(
    "words", [["--endpoint", "localhost:3000"], ["--timeout", "0"], ["--endpoint", "http://[::1"]]
)
def test_a_wrong_option_is_a_clear_error(command: Callable[..., Result], words: list[str]) -> None:
    answer = command(*words)
    assert answer.exit_code != 0
    assert words[0] in answer.stderr or "timeout" in answer.stderr


def test_the_script_of_the_guide_is_a_front_of_the_command() -> None:
    shown = subprocess.run([ROOT / "scripts" / "smoke_tests.sh", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    options = "--env --quick --endpoint --timeout --dry-run --verbose -v --help -h"
    assert [option for option in options.split() if option not in shown.stdout] == []


def test_junit_survives_what_xml_cannot_hold() -> None:
    text = report.junit([SmokeOutcome("x", True, False, 0.1, "a \x00\x1b[31m <b> & ]]>")], "production")
    assert xml.fromstring(text.partition("\n")[2]).find("testcase/failure") is not None
