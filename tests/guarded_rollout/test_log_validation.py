"""`validate_logging` passes logging that is well, and finds what is wrong with it on this machine."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from guarded_rollout import rotation
from guarded_rollout.cli.app import app
from guarded_rollout.config.environments import load
from guarded_rollout.logs import LogFile, LogLine
from guarded_rollout.notify.settings import SETTINGS
from guarded_rollout.operations.log_validation import validate

ROOT = Path(__file__).parents[2]
Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    (tmp_path / "rollout.toml").write_text("[environments.production]\n")
    (tmp_path / "quality-gates-config.json").write_text((ROOT / "quality-gates-config.json").read_text())
    monkeypatch.setenv("ROLLOUT_TOML", str(tmp_path / "rollout.toml"))
    for setting in SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)
    return lambda *words: CliRunner().invoke(app, ["validate-logging", *words])


def real_log(folder: Path, *lines: str) -> Path:
    log = LogFile.open(folder / "monitor_logs", "deploy", "production")
    for line in lines:
        log.write("info", line)
    log.close()
    return log.path


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_a_healthy_system_passes(command: Command, tmp_path: Path) -> None:
    real_log(tmp_path, "one", "two")
    answer = command()
    assert answer.exit_code == 0, answer.output
    assert "0 warnings, 0 failed" in answer.output
    assert "2 lines read, all well-formed" in answer.output


@pytest.mark.parametrize("wrong", ["[environments", None, "[environments.production]\nport = 0\n"])
def test_where_it_cannot_begin_it_says_nothing_about_the_logging(
    command: Command, tmp_path: Path, wrong: str | None
) -> None:
    if wrong is None:
        (tmp_path / "rollout.toml").unlink()
    else:
        (tmp_path / "rollout.toml").write_text(wrong)
    answer = command()
    assert answer.exit_code == 3, answer.output
    assert "rollout.toml" in answer.output


def test_its_own_traffic_stays_out_of_the_real_logs(command: Command, tmp_path: Path) -> None:
    real = real_log(tmp_path, "one")
    before = real.read_text()
    command()
    names = sorted(path.name.partition("_production")[0] for path in (tmp_path / "monitor_logs").iterdir())
    assert names == ["deploy", "test_logging"]
    assert real.read_text() == before
    assert not (tmp_path / "environments").exists()


def test_each_finding_is_in_its_log_and_in_the_json(command: Command, tmp_path: Path) -> None:
    found = json.loads(command("--json", "--log-dir", str(tmp_path / "elsewhere")).stdout)
    names = {check["name"] for check in found["checks"]}
    assert names >= {"channels", "format", "rotation", "retention", "permissions", "fallback file", "secrets"}
    [log] = (tmp_path / "elsewhere").glob("test_logging_production_*.log")
    assert "PASS format" in log.read_text()


@pytest.mark.parametrize(
    ("prepare", "said", "code"),
    [
        (
            lambda folder: folder.joinpath("quality-gates-config.json").write_text("{"),
            "FAIL configuration",
            1,
        ),
        (
            lambda folder: folder.joinpath(".env.notifications").write_text("nonsense\n"),
            "FAIL configuration",
            1,
        ),
        (lambda folder: real_log(folder, "x").chmod(0o666), "FAIL permissions", 1),
        (lambda folder: os.utime(real_log(folder, "x"), (0, 0)), "WARN rotation .*rotation is overdue", 2),
        (lambda folder: append(real_log(folder, "x"), "torn {\n"), "1 of 2 lines are none of ours", 2),
        (lambda folder: folder.joinpath(".env.notifications").write_text("SMTP_HOSST=x\n"), "SMTP_HOSST", 2),
    ],
)
def test_what_is_wrong_is_found(
    command: Command, tmp_path: Path, prepare: Callable[[Path], object], said: str, code: int
) -> None:
    prepare(tmp_path)
    if (tmp_path / ".env.notifications").exists():
        (tmp_path / ".env.notifications").chmod(0o600)
    answer = command()
    assert answer.exit_code == code, answer.output
    assert re.search(said, answer.output), answer.output


def test_settings_that_others_may_read_are_a_warning(command: Command, tmp_path: Path) -> None:
    (tmp_path / ".env.notifications").write_text("SMTP_PORT=25\n")
    (tmp_path / ".env.notifications").chmod(0o644)
    answer = command()
    assert answer.exit_code == 2
    assert "chmod 600" in answer.output


def test_a_secret_in_a_real_log_is_a_failure_and_is_not_repeated(command: Command, tmp_path: Path) -> None:
    (tmp_path / ".env.notifications").write_text("SMTP_PASS=correct-horse-battery\n")
    (tmp_path / ".env.notifications").chmod(0o600)
    leaky = real_log(tmp_path, "connecting with correct-horse-battery")
    answer = command()
    assert answer.exit_code == 1
    assert leaky.name in answer.output
    assert "correct-horse-battery" not in answer.output


def test_events_that_wait_in_the_fallback_file_are_a_warning(command: Command, tmp_path: Path) -> None:
    (tmp_path / "monitor_logs").mkdir()
    line = {"timestamp": "2026-01-01T00:00:00Z", "environment": "production", "level": "info", "message": "m"}
    path = tmp_path / "monitor_logs" / "notification_fallback.jsonl"
    path.write_text(json.dumps(line) + "\nbroken\n")
    answer = command()
    assert answer.exit_code == 2
    assert "1 event waits" in answer.output
    assert "1 lines of the fallback file cannot be read" in answer.output


def test_a_folder_that_nobody_could_write_to_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quality-gates-config.json").write_text((ROOT / "quality-gates-config.json").read_text())
    (tmp_path / "rollout.toml").write_text("[environments.production]\n")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    environment = load(tmp_path / "rollout.toml").environment("production")
    assert f"failed: permissions: {tmp_path} cannot be written to." in map(str, validate(environment))


def test_a_line_of_an_unknown_level_is_a_warning(command: Command, tmp_path: Path) -> None:
    append(real_log(tmp_path, "x"), LogLine(0, "loud", "x", "production", {}).as_json() + "\n")
    answer = command()
    assert answer.exit_code == 2
    assert "unknown levels: loud" in answer.output


def test_a_compressed_log_beyond_its_time_is_a_warning(command: Command, tmp_path: Path) -> None:
    path = real_log(tmp_path, "x")
    rotation.compress(path)
    os.utime(path.with_name(path.name + ".gz"), (0, 0))
    answer = command()
    assert answer.exit_code == 2
    assert re.search("WARN retention .*overdue for 1 logs", answer.output)


def test_configured_channels_are_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/x")
    assert re.search("PASS channels +configured: slack", command().output)


def test_the_script_of_the_guide_is_a_front_of_the_command() -> None:
    shown = subprocess.run([ROOT / "scripts" / "validate_logging", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    options = "--env --environment --config --log-dir --verbose -v --help -h"
    assert [option for option in options.split() if option not in shown.stdout] == []
