"""Checks that a service declares, asked of a real HTTP server and run as real commands."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_rollout.checks.service_checks import Checker, CheckResult
from guarded_rollout.config.service_checks import CheckProblem, CommandCheck, HttpCheck, When, parse_check
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.host.site import CommandResult
from tests.dhash_service.serving import free_port


class Notes(BaseHTTPRequestHandler):
    """Keeps notes: POST /notes makes one, GET /notes/ID reads it."""

    notes: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(0.3)
        if self.path.startswith("/notes/"):
            found = self.notes.get(self.path.rpartition("/")[2])
            return self.answer(200 if found else 404, {"text": found, "by": self.headers.get("X-By")})
        return self.answer(200, {"status": "ok", "parts": [{"name": "store", "ok": True}], "a/b": 1})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["content-length"])).decode()
        identity = str(len(self.notes) + 1)
        self.notes[identity] = text
        self.answer(201, {"id": identity})

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Notes)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(check: CommandCheck, words: tuple[str, ...]) -> CommandResult:
    done = subprocess.run(words, capture_output=True, text=True, timeout=check.timeout_seconds + 5)
    return CommandResult(done.returncode == 0, done.stdout, done.stderr)


def ask(
    address: str, *tables: dict[str, Any], quick: bool = False, folder: Path = Path()
) -> list[CheckResult]:
    checks = [parse_check(f"check{number}", table) for number, table in enumerate(tables)]
    return list(Checker(Endpoint(address, 5), run, folder).results(checks, quick=quick))


def test_what_one_request_captures_the_next_ones_use(address: str) -> None:
    made, read = ask(
        address,
        {"path": "/notes", "method": "POST", "body": '{"text": 7}', "capture": {"id": "/id"}},
        {"path": "/notes/{id}", "headers": {"X-By": "{id}"}, "json": {"/text": '{"text": 7}'}},
    )
    assert made.passed, made.detail
    assert read.passed, read.detail


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"path": "/notes/none"}, "GET /notes/none answered 404 instead of 200 to 299"),
        ({"path": "/", "valid_status_codes": [204, 503]}, "answered 200 instead of 204 or 503"),
        ({"path": "/", "fail_if_body_matches_regexp": ['"o.+": t']}, "which must not be there"),
        ({"path": "/", "fail_if_body_not_matches_regexp": ["healthy"]}, "answered without 'healthy'"),
        ({"path": "/", "json": {"/status": "fine"}}, "has 'ok' at /status instead of 'fine'"),
        ({"path": "/", "json": {"/parts/0/ok": 1}}, "has True at /parts/0/ok instead of 1"),
        ({"path": "/", "json": {"/parts/3": 1}}, "nothing at /parts/3"),
        ({"path": "/", "capture": {"x": "/nowhere"}}, "nothing at /nowhere"),
        ({"path": "/{never}"}, "{never} was captured by no check before it"),
        ({"path": "/slow", "max_seconds": 0.1}, "0.1 s are allowed"),
        ({"path": "/slow", "timeout_seconds": 0.1}, "timed out after 0.1 s"),
        ({"path": "/", "method": "POST", "body_file": "missing.bin"}, "missing.bin: No such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(address: str, table: dict[str, Any], sentence: str) -> None:
    [result] = ask(address, table)
    assert not result.passed
    assert sentence in result.detail


def test_a_pointer_reaches_lists_and_names_with_slashes(address: str) -> None:
    [result] = ask(address, {"path": "/", "json": {"/parts/0/name": "store", "/a~1b": 1}})
    assert result.passed, result.detail


def test_nothing_listening_fails_each_check_by_itself() -> None:
    results = ask(f"http://127.0.0.1:{free_port()}", {"path": "/"}, {"path": "/x"})
    assert [result.passed for result in results] == [False, False]
    assert "does not answer" in results[0].detail


def test_quick_asks_the_critical_ones_alone(address: str) -> None:
    found = ask(address, {"path": "/"}, {"path": "/slow", "critical": False}, quick=True)
    assert [result.name for result in found] == ["check0"]


PRINTS = "import sys; print({text!r}); sys.exit({code})"


def command(text: str, code: int = 0) -> dict[str, Any]:
    return {"command": [sys.executable, "-c", PRINTS.format(text=text, code=code)]}


def test_each_line_of_a_command_is_a_result() -> None:
    lines = [
        {"name": "a", "passed": True, "seconds": 0.5, "detail": "seen"},
        {"name": "b", "passed": False, "critical": False, "detail": "no"},
    ]
    text = "for people\n" + "\n".join(map(json.dumps, lines))
    assert ask("http://127.0.0.1:1", command(text, 1)) == [
        CheckResult("a", True, True, 0.5, "seen"),
        CheckResult("b", False, False, 0.0, "no"),
    ]


def test_a_command_that_fails_without_a_failed_result_is_a_failure() -> None:
    passed, failed = ask("http://127.0.0.1:1", command('{"name": "a", "passed": true}', 3))
    assert passed.passed
    assert not failed.passed
    assert "failed: " in failed.detail


def test_a_command_without_results_passes_by_its_exit_code() -> None:
    assert [result.passed for result in ask("http://127.0.0.1:1", command("fine"))] == [True]


# ---- what is declared


@pytest.mark.parametrize(
    ("table", "key", "sentence"),
    [
        ({}, "", "needs `path`"),
        ({"path": "x"}, "path", "does not begin with /"),
        ({"path": "/", "methd": "GET"}, "methd", "unknown key"),
        ({"path": "/", "method": "get"}, "method", "no method"),
        ({"path": "/", "when": ["always"]}, "when", "'always' is none of verify, smoke"),
        ({"path": "/", "valid_status_codes": ["200"]}, "valid_status_codes", "status codes"),
        ({"path": "/", "timeout_seconds": 0}, "timeout_seconds", "above 0"),
        ({"path": "/", "timeout_seconds": True}, "timeout_seconds", "number of seconds"),
        ({"path": "/", "json": {"status": 1}}, "json", "JSON pointer"),
        ({"path": "/", "capture": {"id": "~"}}, "capture.id", "JSON pointer"),
        ({"path": "/", "fail_if_body_matches_regexp": ["("]}, "fail_if_body_matches_regexp", "regular"),
        ({"path": "/\0"}, "path", "control character"),
        ({"path": "/", "body": "a", "body_file": "b"}, "body_file", "one of them"),
        ({"command": []}, "command", "an empty list is no command"),
        ({"command": "dhash check"}, "command", "a list of strings"),
        ({"command": ["x"], "path": "/"}, "path", "unknown key"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_key(table: dict[str, Any], key: str, sentence: str) -> None:
    with pytest.raises(CheckProblem) as raised:
        parse_check("one", table)
    assert raised.value.key == key
    assert sentence in raised.value.sentence


def test_both_kinds_have_their_defaults() -> None:
    http, run_it = parse_check("a", {"path": "/"}), parse_check("b", {"command": ["true"]})
    assert isinstance(http, HttpCheck)
    assert isinstance(run_it, CommandCheck)
    assert When.VERIFY in http.when
    assert When.WINDOW not in http.when


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = sorted({*HttpCheck.__dataclass_fields__, *CommandCheck.__dataclass_fields__})


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=6))
def test_no_table_at_all_ends_in_anything_but_a_check_or_a_problem(table: dict[str, Any]) -> None:
    with suppress(CheckProblem):
        assert parse_check("any", table).name == "any"
