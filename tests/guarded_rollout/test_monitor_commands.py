"""`rollout monitor` and `rollout gates` as processes: exit codes, log, interruption, replay."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from guarded_rollout.cli import gates, monitor
from guarded_rollout.cli.app import app
from tests.forked import Forked
from tests.guarded_rollout.gatekit import SHIPPED
from tests.guarded_rollout.terminal import Terminal
from tests.guarded_rollout.webkit import Answer, Web, web
from tests.waiting import wait_until

REGISTERED = (gates, monitor)
ROOT = Path(__file__).parents[2]


def quick(**gates: Any) -> str:
    """A gates file that asks every tenth of a second."""
    polls = {"initial_minutes": 1, "initial_interval_seconds": 0.2, "normal_interval_seconds": 0.2}
    environment = {
        "monitoring": {"window_minutes": 60, "poll_intervals": polls, "counter_interval_seconds": 0.1},
        "quality_gates": gates,
        "auto_rollback": {"enabled": True},
    }
    settings = {"timeout_seconds": 2}
    return json.dumps({"environments": {"production": environment}, "global_settings": settings})


HEALTH = {
    "threshold": {"consecutive_failures": 2, "check_interval_seconds": 0.1},
    "actions": ["alert", "auto_rollback"],
}
ERRORS = {"threshold": {"max_error_percentage": 3, "evaluation_window_minutes": 0.02, "min_sample_size": 10}}


class Service:
    """A service of which one in a hundred requests fails, or as many as it is told."""

    def __init__(self) -> None:
        self.requests = 0
        self.share = 0.01

    def __call__(self) -> Answer:
        self.requests += 100
        counters = {"requests_total": self.requests, "server_errors_total": round(self.requests * self.share)}
        return Answer(body=json.dumps({"counters": counters, "started_at": 1}).encode())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "quality-gates-config.json").write_text(quick(health=HEALTH, error_rate=ERRORS))
    (tmp_path / "rollout.toml").touch()
    return tmp_path


@pytest.fixture
def server() -> Iterator[Web]:
    with web({"/health": Answer(), "/metrics": Service()}) as found:
        yield found


def start(folder: Path, *arguments: str) -> Forked:
    env = os.environ | {"ROLLOUT_TOML": str(folder / "rollout.toml")}
    return Forked("rollout", arguments, env, folder / "output", folder=folder)


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """The same in this process, which saves an interpreter's start."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, arguments, env={"ROLLOUT_TOML": str(folder / "rollout.toml")})
    return done.exit_code, done.output


def run_aside(folder: Path, *arguments: str) -> tuple[int, str]:
    process = start(folder, *arguments)
    return process.wait(60), process.written.read_text()


def log_of(folder: Path) -> list[dict[str, Any]]:
    (path,) = (folder / "monitor_logs").glob("dhash_production_*.log")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_good_is_0(project: Path, server: Web) -> None:
    code, output = run(project, "monitor", "--endpoint", server.url, "--for", "0.012", "--verbose")
    assert code == 0, output
    assert "Monitoring session completed" in output
    assert any(line["message"].startswith("Quality gate passed: error_rate") for line in log_of(project))


def test_alerts_are_1_and_are_told_once(project: Path, server: Web) -> None:
    server.answers["/health"] = Answer(503, b"down")
    code, output = run(project, "monitor", "--endpoint", server.url, "--for", "0.012")
    assert code == 1, output
    assert output.count("Quality gate failed: health") == 1
    assert "Health check failed (3 consecutive)" in output
    assert "Auto-rollback is not possible here" in output


def test_a_service_that_is_not_there_is_1(project: Path) -> None:
    code, output = run(project, "monitor", "--endpoint", "http://127.0.0.1:9", "--for", "0.012")
    assert code == 1, output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--endpoint", "http://127.0.0.1:9", "--env", "nowhere"],
        ["--config", "none.json"],
    ],
)
def test_a_monitor_that_cannot_begin_is_3(project: Path, arguments: list[str]) -> None:
    code, output = run(project, "monitor", *arguments)
    assert code == 3, output
    assert "Traceback" not in output


def test_a_monitor_that_breaks_is_3(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "green_share")

    monkeypatch.setattr("guarded_rollout.cli.monitor.gates.load", broken)
    code, output = run(project, "monitor")
    assert code == 3, output


def test_a_wrong_usage_is_3(project: Path) -> None:
    code, output = run_aside(project, "monitor", "--bogus")
    assert code == 3, output


def test_a_gates_file_that_is_wrong_is_3_and_says_where(project: Path) -> None:
    (project / "custom.json").write_text(
        SHIPPED.read_text().replace("consecutive_failures", "consecutive_failure")
    )
    code, output = run(project, "monitor", "--config", "custom.json")
    assert code == 3
    assert "did you mean consecutive_failures?" in output


def test_an_interrupted_monitor_is_3_and_says_that_nobody_watches(project: Path, server: Web) -> None:
    process = start(project, "monitor", "--endpoint", server.url)
    logs = project / "monitor_logs"
    wait_until(lambda: any(log.stat().st_size for log in logs.glob("*.log")), 60, "a first line in the log")
    process.send_signal(signal.SIGTERM)
    code, output = process.wait(60), process.written.read_text()
    assert code == 3, output
    assert "watches no more" in output
    assert log_of(project)[-1]["message"] == "Monitoring session interrupted: it watches no more"


def test_a_dry_run_judges_the_real_endpoint_and_tells_nobody(project: Path, server: Web) -> None:
    server.answers["/health"] = Answer(503, b"down")
    code, output = run(project, "monitor", "--endpoint", server.url, "--for", "0.012", "--dry-run")
    assert code == 1, output
    assert "DRY-RUN: would notify production" in output
    assert not (project / "environments").exists()


def test_five_gauges_are_enough_for_any_service(project: Path, server: Web) -> None:
    gauges = {
        "extraction_failure_rate": 1,
        "p95_hash_time_ms": 10,
        "low_confidence_queue_length": 1,
        "memory_usage_percentage": 30,
        "error_rate": 50,
    }
    server.answers["/metrics"] = Answer(body=json.dumps(gauges).encode())
    code, output = run(project, "monitor", "--endpoint", server.url, "--for", "0.05")
    assert code == 1, output
    assert "Quality gate failed: error_rate: the service's own figure" in output


def test_the_script_of_the_guide_is_the_same_command() -> None:
    script = ROOT / "scripts" / "monitor_dhash"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    for option in ("--env", "--environment", "--config", "--log-dir", "--dry-run", "--verbose", "-v", "-h"):
        assert option in done.stdout


# ---- rollout gates


def test_check_says_in_words_what_a_file_does() -> None:
    code, output = run(ROOT, "gates", "check", "--env", "production")
    assert code == 0, output
    assert "health alerts and rolls back when the health endpoint, asked every 30 s, is not OK" in output
    assert "after 15 min @ops, @media-eng, @on-call by slack, email, pager" in output


def test_check_names_every_mistake(project: Path) -> None:
    text = SHIPPED.read_text().replace("max_usage_percentage", "max_usage").replace('"slack"', '"slak"')
    (project / "custom.json").write_text(text)
    code, output = run(project, "gates", "check", "custom.json")
    assert code == 1
    assert "did you mean max_usage_percentage?" in output
    assert "did you mean slack?" in output


def test_simulate_prints_both_rules() -> None:
    code, output = run(
        ROOT, "gates", "simulate", "--rate", "2%", "--limit", "5%", "--rps", "1", "--windows", "100", "--json"
    )
    assert code == 0, output
    rules = {rule["rule"]: rule["false_rollback_share"] for rule in json.loads(output)["rules"]}
    assert rules["literal"] > rules["guarded"]


def test_simulate_asks_all_gates_that_see_a_release_from_outside_about_a_fault(project: Path) -> None:
    shutil.copy(SHIPPED, project / "shipped.json")
    words = ["gates", "simulate", "--fault", "cutting=30%", "--rps", "10", "--windows", "2", "--window", "1"]
    code, output = run(project, *words, "--config", "shipped.json", "--env", "production", "--json")
    assert code == 0, output
    found = json.loads(output)
    assert found["gates"]["cut_answers"]["auto_rollback"]["windows"] == 2
    assert found["gates"]["different_answers"]["auto_rollback"]["windows"] == 0
    assert "lost_writes" in found["left_out"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fault", "slow=2"], "is no fault: give `none`, or NAME=NUMBER of begins"),
        (["--fault", "none", "--rate", "2%"], "--fault stands instead of --rate"),
        (["--rate", "2%"], "Give --rate and --limit, or --fault"),
    ],
)
def test_simulate_refuses_what_it_cannot_draw(project: Path, words: list[str], says: str) -> None:
    code, output = run(project, "gates", "simulate", "--rps", "1", *words)
    assert code == 1
    assert says in output


@pytest.mark.parametrize(("rate", "limit"), [("2", "5%"), ("two", "5%"), ("-1%", "5%"), ("2%", "500%")])
def test_simulate_refuses_what_is_no_share(rate: str, limit: str) -> None:
    code, output = run(ROOT, "gates", "simulate", "--rate", rate, "--limit", limit, "--rps", "1")
    assert code != 0
    assert "Traceback" not in output


def test_replay_says_what_other_gates_would_have_decided(project: Path, server: Web) -> None:
    assert run(project, "monitor", "--endpoint", server.url, "--for", "0.04")[0] == 0
    (path,) = (project / "monitor_logs").glob("dhash_production_*.log")
    stricter = {**ERRORS, "threshold": {**ERRORS["threshold"], "max_error_percentage": 0.5}}
    stricter |= {"actions": ["alert", "auto_rollback"], "decision": "literal"}
    (project / "strict.json").write_text(quick(error_rate=stricter, health=HEALTH))
    code, output = run(project, "gates", "replay", str(path))
    assert code == 0, output
    assert "would not have rolled back; the session did not" in output
    code, output = run(project, "gates", "replay", str(path), "--config", "strict.json")
    assert code == 0, output
    assert "Quality gate failed: error_rate" in output
    assert "would have rolled back" in output


def test_replay_refuses_what_is_no_log(project: Path) -> None:
    (project / "other.log").write_text("hello\n")
    code, output = run(project, "gates", "replay", "other.log")
    assert code == 1
    assert "cannot be replayed" in output


def test_on_a_terminal_there_is_a_live_view(project: Path, server: Web) -> None:
    command = ["rollout", "monitor", "--endpoint", server.url, "--for", "0.03"]
    with Terminal(command, project) as terminal, terminal.kept_reading():
        assert terminal.process.wait(30) == 0
    assert b"error_rate" in terminal.written
    assert b"left" in terminal.written


def test_what_was_not_rolled_out_from_here_is_watched_on_its_port(project: Path, server: Web) -> None:
    port = server.url.rpartition(":")[2]
    (project / "rollout.toml").write_text(f"[environments.production]\nport = {port}\n")
    code, output = run(project, "monitor", "--for", "0.012", "--verbose")
    assert code == 0, output
    assert "Quality gate passed: error_rate" in output
