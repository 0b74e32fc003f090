"""`rollout notify` and `rollout ack` as operators and scripts call them."""

import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from guarded_rollout.cli.app import app
from guarded_rollout.notify.settings import SETTINGS
from tests.guarded_rollout.notify.receivers import Answer, webhook

ROOT = Path(__file__).parents[3]
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a project of its own; keyword arguments are environment variables."""
    (tmp_path / "rollout.toml").write_text("[environments.production]\n[environments.staging]\nport = 3001\n")
    (tmp_path / "quality-gates-config.json").write_text((ROOT / "quality-gates-config.json").read_text())
    monkeypatch.setenv("ROLLOUT_TOML", str(tmp_path / "rollout.toml"))
    for setting in SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)

    def call(*words: str, **environ: str) -> Result:
        return CliRunner().invoke(app, words, env={"NOTIFICATION_TIMEOUT": "1", **environ})

    return call


def fallback(folder: Path) -> list[dict[str, Any]]:
    path = folder / "monitor_logs" / "notification_fallback.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_message_that_one_channel_takes_is_delivered(run: Run, tmp_path: Path) -> None:
    with webhook() as slack, webhook(Answer(404, "gone")) as teams:
        answer = run(
            "notify", "--level", "warning", "--message", "Test", "--data", '{"ticket": 7}', "--json",
            SLACK_WEBHOOK_URL=slack.url(), TEAMS_WEBHOOK_URL=teams.url(),
        )  # fmt: skip
    assert answer.exit_code == 0
    found = json.loads(answer.stdout)
    assert found["delivered"] is True
    assert found["notification_results"] == {"slack": "delivered", "teams": "refused: answered 404: gone"}
    assert "refused: answered 404" in answer.stderr  # one failed channel of several is visible
    assert "ticket: 7" in json.dumps(slack.accepted[0].body)
    assert fallback(tmp_path) == []


def test_a_message_that_nobody_takes_is_in_the_fallback_file_and_can_be_replayed(
    run: Run, tmp_path: Path
) -> None:
    with webhook(Answer(400)) as slack:
        answer = run("notify", "--message", "Test", "--environment", "staging", SLACK_WEBHOOK_URL=slack.url())
        assert answer.exit_code == 1
        assert "monitor_logs/notification_fallback.jsonl" in answer.output
        [line] = fallback(tmp_path)
        assert (line["environment"], line["level"], line["message"]) == ("staging", "info", "Test")
        slack.answer = Answer()
        replayed = run("notify", "--replay", "--env", "staging", SLACK_WEBHOOK_URL=slack.url())
        assert replayed.exit_code == 0
        assert "1 of 1 events delivered" in replayed.output
        again = run("notify", "--replay", "--env", "staging", SLACK_WEBHOOK_URL=slack.url())
        assert "Nothing waits" in again.output
    assert len(slack.accepted) == 1


def test_without_a_channel_the_fallback_file_has_it(run: Run, tmp_path: Path) -> None:
    assert run("notify", "--message", "Test").exit_code == 1
    assert fallback(tmp_path)[0]["fallback_reason"] == "no channel is configured"


@pytest.mark.parametrize(
    ("words", "problem", "kept"),
    [
        (["--level", "fatal", "--message", "m"], "There is no level 'fatal'", 1),
        (["--message", "m", "--data", "{oops"], "--data is not JSON", 1),
        (["--message", "m", "--data", "[1]"], "not a JSON object", 1),
        (["--message", "m", "--data", "[" * 100_000], "--data is not JSON", 1),
        (["--message", "  "], "There is no message", 0),
        (["--message", "m", "--env", "nowhere"], "There is no environment 'nowhere'", 0),
    ],
)
def test_bad_input_is_said_clearly_and_loses_no_message(
    run: Run, tmp_path: Path, words: list[str], problem: str, kept: int
) -> None:
    answer = run("notify", *words)
    assert answer.exit_code == 1
    assert problem in answer.stderr
    assert [line["message"] for line in fallback(tmp_path)] == ["m"] * kept


def test_a_settings_file_that_cannot_be_read_is_said_and_the_message_kept(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".env.notifications").mkdir()
    answer = run("notify", "--message", "Test")
    assert answer.exit_code == 1
    assert ".env.notifications: it cannot be read" in answer.stderr
    assert "it cannot be read" in fallback(tmp_path)[0]["fallback_reason"]
    assert run("notify", "--test").exit_code == 1


def test_a_dry_run_shows_the_message_and_sends_and_keeps_nothing(run: Run, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with webhook() as slack:
        answer = run("notify", "--message", "Test", "--dry-run", SLACK_WEBHOOK_URL=slack.url())
        tried = run("notify", "--test", "--dry-run", SLACK_WEBHOOK_URL=slack.url())
    assert answer.exit_code == tried.exit_code == 0
    assert "DRY-RUN: would notify slack" in answer.output
    assert slack.attempts == []
    assert sorted(tmp_path.rglob("*")) == before


def test_a_test_tabulates_each_channel(run: Run, tmp_path: Path) -> None:
    with webhook() as slack, webhook(Answer(403, "no")) as discord:
        answer = run("notify", "--test", SLACK_WEBHOOK_URL=slack.url(), DISCORD_WEBHOOK_URL=discord.url())
    assert answer.exit_code == 1
    rows = {line.split()[0]: line for line in answer.output.splitlines() if line.strip()}
    assert "delivered" in rows["slack"]
    assert "answered 403: no" in rows["discord"]
    assert "off: SMTP_HOST is not set" in rows["email"]
    assert fallback(tmp_path) == []


def test_a_name_that_means_nothing_is_pointed_out(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".env.notifications").write_text("SLACK_WEBOOK_URL=https://example.org/x\n")
    assert "SLACK_WEBOOK_URL, which is no setting" in run("notify", "--test").output


def test_the_script_of_the_guide_is_a_front_of_the_command() -> None:
    shown = subprocess.run([ROOT / "scripts" / "notify", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    for option in (
        "--level",
        "--message",
        "--env",
        "--environment",
        "--data",
        "--dry-run",
        "--verbose",
        "-v",
    ):
        assert option in shown.stdout


def test_acknowledging_says_what_was_open(run: Run, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from guarded_rollout.config.environments import load
    from guarded_rollout.notify.events import Kind, event
    from guarded_rollout.notify.notifier import publisher_for

    assert "Nothing is open" in run("ack").output
    with webhook() as slack:
        environ = {"SLACK_WEBHOOK_URL": slack.url()}
        (tmp_path / ".env.notifications").write_text(f"SLACK_WEBHOOK_URL={slack.url()}\n")
        with publisher_for(load(tmp_path / "rollout.toml").environment("production")) as publisher:
            publisher.publish(event(Kind.GATE_ALERT, "production", datetime.now(UTC), gate="health"))
        rehearsed = run("ack", "--dry-run", **environ)
        taken = run("ack", "--note", "on it", **environ)
        again = run("ack", **environ)
    assert "would acknowledge gate:health" in rehearsed.output
    assert "Acknowledged: gate:health." in taken.output
    assert "Nothing is open" in again.output
    assert "on it" in json.dumps(slack.accepted[1].body)


def test_a_channel_is_set_up_in_a_file_that_only_this_user_can_read(run: Run, tmp_path: Path) -> None:
    done = run(
        "notify", "--setup", "slack=https://hooks.slack.com/services/T/B/x", "--setup", "SLACK_CHANNEL=#ops"
    )
    assert done.exit_code == 0
    written = tmp_path / ".env.notifications"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert "SLACK_CHANNEL='#ops'" in written.read_text()
    assert "On: slack" in done.stdout
    for wrong in ("slack", "slack=", "NO_SETTING=1", "slack=not an address"):
        before = written.read_text()
        assert run("notify", "--setup", wrong).exit_code == 1
        assert written.read_text() == before


def test_the_console_delivers_nothing_beside_a_channel_that_is_dead(run: Run, tmp_path: Path) -> None:
    gates = json.loads((tmp_path / "quality-gates-config.json").read_text())
    gates["environments"]["production"]["notifications"]["channels"] = ["slack", "console"]
    (tmp_path / "quality-gates-config.json").write_text(json.dumps(gates))
    with webhook(Answer(404)) as slack:
        answer = run("notify", "--message", "Test", SLACK_WEBHOOK_URL=slack.url())
        assert answer.exit_code == 1, answer.output
        [line] = fallback(tmp_path)
        assert line["notification_results"]["console"] == "delivered"
        slack.answer = Answer()
        assert run("notify", "--replay", SLACK_WEBHOOK_URL=slack.url()).exit_code == 0
    assert len(slack.accepted) == 1
    assert run("notify", "--message", "alone").exit_code == 0, "it is all there is"
    assert len(fallback(tmp_path)) == 1
