"""`rollout smoke`: the checks that a service declares, asked of the real dhash."""

import json
import socket
import subprocess
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dhash_service.checks.checks import CHECKS
from guarded_rollout.checks import report
from guarded_rollout.checks.service_checks import CheckResult
from guarded_rollout.cli.app import app
from tests.dhash_service.serving import Server, free_port, serving
from tests.guarded_rollout.webkit import Answer, web

ROOT = Path(__file__).parents[2]
CRITICAL = [check.name for check in CHECKS if check.critical]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("service")) as server:
        yield server


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
    assert f"{len(CHECKS)} of {len(CHECKS)} smoke tests passed" in answer.output
    [log] = (tmp_path / "monitor_logs").glob("smoke_tests_production_*.log")
    messages = [json.loads(text)["message"] for text in log.read_text().splitlines()]
    assert any(text.startswith("PASS health (critical)") for text in messages)
    suite = xml.parse(tmp_path / "out" / "smoke.xml").getroot()
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuite", str(len(CHECKS)), "0")


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
    assert "nothing answers" in (failure.text or "")


def test_a_dry_run_asks_nothing_and_leaves_nothing(command: Callable[..., Result], tmp_path: Path) -> None:
    answer = command("--dry-run", "--endpoint", f"http://127.0.0.1:{free_port()}")
    assert answer.exit_code == 0
    assert answer.output.count("DRY-RUN: would check") == 1, "the one command that asks all of it"
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
    text = report.junit([CheckResult("x", True, False, 0.1, "a \x00\x1b[31m <b> & ]]>")], "production")
    assert xml.fromstring(text.partition("\n")[2]).find("testcase/failure") is not None


def test_a_slow_service_fails_within_the_timeout(command: Callable[..., Result]) -> None:
    """A port that accepts and stays silent: each check gives up after --timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        answer = command("--endpoint", address, "--quick", "--timeout", "0.5")
    assert answer.exit_code == 1
    assert "gave no answer within 0.5 s" in answer.output


def test_the_checks_of_a_service_of_ones_own_stand_in_for_dhash_s(
    command: Callable[..., Result], tmp_path: Path
) -> None:
    settings = tmp_path / "rollout.toml"
    settings.write_text(
        settings.read_text()
        + """
[service.checks.live]
path = "/health/live"
describes = "it lives"
[service.checks.no_such_page]
path = "/nowhere"
valid_status_codes = [404]
critical = false
"""
    )
    found = json.loads(command("--json").stdout)
    assert [(test["name"], test["critical"], test["passed"]) for test in found["tests"]] == [
        ("live", True, True),
        ("no_such_page", False, True),
    ]
    assert "DRY-RUN: would check at" in command("--dry-run").output


def test_a_service_that_declares_no_checks_is_asked_whether_it_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = (ROOT / "examples" / "quotes" / "rollout.toml").read_text()
    settings = tmp_path / "rollout.toml"
    settings.write_text(example.replace("port = 3000", f"port = {free_port()}"))
    monkeypatch.setenv("ROLLOUT_TOML", str(settings))
    for words in ([], ["--quick"]):
        nobody = CliRunner().invoke(app, ["smoke", *words])
        assert nobody.exit_code == 1, nobody.output
        assert "0 of 1 smoke tests passed; failed: health" in nobody.output
    with web({"/health": Answer()}) as server:
        well = CliRunner().invoke(app, ["smoke", "--endpoint", server.url])
    assert well.exit_code == 0, well.output
    assert "1 of 1 smoke tests passed" in well.output
