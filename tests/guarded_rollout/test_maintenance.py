"""The weekly and monthly tasks on a real project folder, and the reviews that they contain."""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from guarded_rollout.cli.app import app
from guarded_rollout.errors import BaselineError
from guarded_rollout.logs import LogFile, LogLine
from guarded_rollout.monitor.threshold_review import review
from guarded_rollout.notify.events import Kind, event
from guarded_rollout.notify.outbox import DeliveryState, Outbox
from guarded_rollout.notify.settings import SETTINGS
from guarded_rollout.operations import baseline
from guarded_rollout.operations.baseline import Measured, compare
from tests.guarded_rollout.notify.receivers import webhook

ROOT = Path(__file__).parents[2]
Run = Callable[..., Result]
DAY = 86_400


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    (tmp_path / "rollout.toml").write_text("[environments.production]\n")
    (tmp_path / "quality-gates-config.json").write_text((ROOT / "quality-gates-config.json").read_text())
    monkeypatch.setenv("ROLLOUT_TOML", str(tmp_path / "rollout.toml"))
    for setting in SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)
    return lambda *words, **environ: CliRunner().invoke(app, words, env=environ)


def notes(answer: Result) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for note in json.loads(answer.stdout)["notes"]:
        found.setdefault(note["task"], []).append(note["words"])
    return found


def old_log(folder: Path, days: float) -> Path:
    log = LogFile.open(folder / "monitor_logs", "deploy", "production")
    log.write("info", "done")
    log.close()
    os.utime(log.path, (time.time() - days * DAY,) * 2)
    return log.path


def backups(folder: Path, number: int) -> list[str]:
    """Archives by name alone: what retention looks at."""
    (folder / "backups").mkdir()
    names = []
    for age in range(number):
        moment = datetime.now(UTC) - timedelta(days=10 + age)
        path = folder / "backups" / f"dhash_production_{moment:%Y%m%d_%H%M%S}.zip"
        path.write_bytes(b"zip")
        path.with_name(path.name + ".sha256").write_text("")
        names.append(path.name)
    return names


def test_the_weekly_tasks_do_what_the_guide_lists(run: Run, tmp_path: Path) -> None:
    log, names = old_log(tmp_path, 8), backups(tmp_path, 13)
    answer = run("maintenance", "weekly", "--json")
    assert answer.exit_code == 0, answer.output
    found = notes(answer)
    assert not log.exists()
    assert log.with_name(log.name + ".gz").exists()
    assert (
        found["logs"][0].startswith("1 logs with 0.0 MB, 1 of them older than a week")
        or "2 logs" in found["logs"][0]
    )
    assert found["backups"][-1] == "10 backups stay"
    left = sorted(path.name for path in (tmp_path / "backups").glob("*.zip"))
    assert left == sorted(names[:10])
    assert found["logging"][-1].endswith("checks passed")


def test_a_dry_run_says_it_all_and_does_nothing(run: Run, tmp_path: Path) -> None:
    old_log(tmp_path, 8)
    backups(tmp_path, 12)
    before = sorted(tmp_path.rglob("*"))
    answer = run("maintenance", "weekly", "--dry-run")
    assert answer.exit_code == 0
    assert "DRY-RUN: logs: would compress deploy_production" in answer.output
    assert answer.output.count("DRY-RUN: backups: would remove") == 2
    monthly = run("maintenance", "monthly", "--dry-run")
    assert "DRY-RUN: notification test: would send a test message" in monthly.output
    assert sorted(tmp_path.rglob("*")) == before


def test_delivered_notifications_are_forgotten_and_waiting_ones_reported(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "environments" / "production" / "notifications.db"
    outbox = Outbox.open(path)
    long_ago = datetime.now(UTC) - timedelta(days=40)
    for _ in range(2):
        outbox.put(event(Kind.MESSAGE, "production", long_ago, message="m"), ["slack"], long_ago)
    head = outbox.head("slack")
    assert head is not None
    outbox.finish(head, DeliveryState.DELIVERED)
    outbox.close()
    answer = run("maintenance", "weekly", "--json")
    assert answer.exit_code == 2  # someone should look at what waits
    assert run("maintenance", "weekly", "--dry-run").exit_code == 2
    assert notes(answer)["notifications"] == ["1 messages wait", "1 delivered events were forgotten"]


def test_the_monthly_tasks_review_test_and_measure(run: Run, tmp_path: Path) -> None:
    with webhook() as slack:
        answer = run("maintenance", "monthly", "--json", SLACK_WEBHOOK_URL=slack.url())
    assert answer.exit_code == 0, answer.output
    found = notes(answer)
    assert any("extraction_failure_rate" in words and "5 %" in words for words in found["thresholds"])
    assert found["notification test"] == ["slack: delivered"]
    assert found["performance"] == ["nothing serves, so nothing is measured"]
    assert "Monthly notification test" in json.dumps(slack.accepted[0].body)


def test_a_task_that_fails_stops_no_other_and_wants_attention(run: Run, tmp_path: Path) -> None:
    (tmp_path / "quality-gates-config.json").write_text("{")
    with webhook() as slack:
        answer = run("maintenance", "monthly", SLACK_WEBHOOK_URL=slack.url())
    assert answer.exit_code == 1
    assert "thresholds:" in answer.output
    assert "<- look at this" in answer.output
    assert len(slack.accepted) == 1


# ---- thresholds


def judged(
    value: float | None, news: str = "judged", verdict: str = "pass", gate: str = "memory_usage"
) -> LogLine:
    data: dict[str, Any] = {"gate": gate, "verdict": verdict, "threshold": 85.0, "unit": "%", "news": news}
    if value is not None:
        data["actual_value"] = value
    return LogLine(0.0, "info", f"Quality gate passed: {gate}", "production", data)


@pytest.mark.parametrize(
    ("lines", "median", "most", "advice"),
    [
        ([judged(40.0), judged(50.0), judged(45.0)], 45.0, 50.0, "fits"),
        ([judged(80.0)], 80.0, 80.0, "came within 6 % of the limit"),
        ([judged(1.0)], 1.0, 1.0, "never came near"),
        ([judged(90.0, "failed", "fail")], 90.0, 90.0, "replay"),
        ([judged(None, verdict="insufficient")], None, None, "never had enough samples"),
    ],
)
def test_a_limit_is_held_against_what_was_seen(
    lines: list[LogLine], median: float | None, most: float | None, advice: str
) -> None:
    [one] = review([lines])
    assert (one.median, one.most, one.limit) == (median, most, 85.0)
    assert advice in one.advice


def test_the_command_reads_the_newest_windows_of_its_environment(run: Run, tmp_path: Path) -> None:
    assert "No monitoring log" in run("gates", "review").output
    for name in ("production", "staging"):
        log = LogFile.open(tmp_path / "monitor_logs", "dhash", name)
        for value in (10.0, 20.0):
            line = judged(value, gate=f"{name}_gate")
            log.write(line.level, line.message, **line.data)
        log.close()
    found = json.loads(run("gates", "review", "--json").stdout)
    assert [gate["gate"] for gate in found["gates"]] == ["production_gate"]
    assert found["gates"][0]["most"] == 20.0
    assert "production_gate" in run("gates", "review").output


# ---- the baseline


def measured(median_ms: float) -> Measured:
    return Measured("2026-01-01T00:00:00+00:00", "1.4.0", median_ms, median_ms * 2)


@pytest.mark.parametrize(
    ("now", "before", "as_usual"),
    [(10, [], True), (14, [10, 10, 10], True), (16, [10, 10, 10], False), (16, [10, 20, 20], True)],
)
def test_slower_than_usual_is_noticed(now: float, before: list[float], as_usual: bool) -> None:
    assert compare(measured(now), [measured(one) for one in before])[0] is as_usual


def test_two_years_of_measurements_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "e" / "baseline.json"
    assert baseline.read(path) == []
    baseline.keep(path, [measured(number) for number in range(30)])
    assert [one.median_ms for one in baseline.read(path)] == list(range(6, 30))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"at": 1}]'])
def test_a_damaged_baseline_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "baseline.json").write_text(text)
    if text == "{}":
        assert baseline.read(tmp_path / "baseline.json") == []
        return
    with pytest.raises(BaselineError, match="Move it aside"):
        baseline.read(tmp_path / "baseline.json")
