"""Lines in the contract's form, written by commands and libraries, and shown to people."""

import gzip
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from guarded_rollout import logs
from guarded_rollout.cli.app import app
from guarded_rollout.errors import NotWritableError
from guarded_rollout.logs import LEVELS, LogFile, LogLine, ModuleLog, configure, parse
from guarded_rollout.monitor.log import MonitorLog
from guarded_rollout.secret import Secret
from tests.guarded_rollout.manual_clock import ManualClock

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@given(
    st.floats(0, 4e9),
    st.sampled_from(LEVELS),
    st.text(),
    st.dictionaries(st.text(), st.none() | st.integers() | st.text()),
)
def test_a_line_reads_back_as_it_was_written(
    at: float, level: str, words: str, data: dict[str, object]
) -> None:
    line = LogLine(at, level, words, "production", data)
    text = line.as_json()
    assert "\n" not in text
    found = parse(text)
    assert found is not None
    assert (found.level, found.message, found.data) == (level, words, data)
    assert abs(found.at - at) < 0.002


@pytest.mark.parametrize("text", ["", "{}", "[1]", "null", "text", '{"timestamp": 3}', "[" * 100_000])
def test_what_is_no_line_is_none(text: str) -> None:
    assert parse(text) is None


def test_a_command_s_log_has_the_contract_s_name_and_lines(tmp_path: Path) -> None:
    log = LogFile.open(tmp_path / "monitor_logs", "deploy", "production", ManualClock(AT))
    log.write("info", "built", release="1.4.0")
    log.write("error", "failed", reason=Secret("hunter2"))
    log.close()
    assert log.path.name == "deploy_production_2026-01-02T03-04-05-678Z.log"
    lines = [json.loads(text) for text in log.path.read_text().splitlines()]
    assert lines[0] == {
        "timestamp": "2026-01-02T03:04:05.678Z",
        "level": "info",
        "message": "built",
        "environment": "production",
        "data": {"release": "1.4.0"},
    }
    assert lines[1]["data"] == {"reason": "***"}
    assert log.path.stat().st_mode & 0o007 == 0


def test_two_logs_of_one_moment_are_two_files(tmp_path: Path) -> None:
    clock = ManualClock(AT)
    paths = {LogFile.open(tmp_path, "deploy", "production", clock).path for _ in range(3)}
    assert len(paths) == 3


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritableError):
        LogFile.open(tmp_path / "file", "deploy", "production")


def test_what_modules_log_has_the_contract_s_form(tmp_path: Path) -> None:
    stream = io.StringIO()
    configure("info", "production", stream)
    structlog.contextvars.bind_contextvars(rollout="0192")
    log = structlog.get_logger()
    log.debug("not this")
    log.warning("Notification postponed", channel="slack", secret=Secret("hunter2"))
    try:
        raise ValueError("oops")
    except ValueError:
        log.exception("it broke")
    first, second = (json.loads(text) for text in stream.getvalue().splitlines())
    assert list(first) == ["timestamp", "level", "message", "environment", "data"]
    assert (first["level"], first["environment"]) == ("warning", "production")
    assert first["data"]["rollout"] == "0192"
    assert "hunter2" not in stream.getvalue()
    assert "ValueError: oops" in second["data"]["exception"]
    assert parse(json.dumps(first)) is not None


def test_every_writer_writes_the_contract_s_lines_at_every_level(tmp_path: Path) -> None:
    command = LogFile.open(tmp_path, "test_logging", "production", ManualClock(AT))
    monitor = MonitorLog.open(tmp_path / "dhash.log", "production")
    stream = io.StringIO()
    configure("debug", "production", stream)
    words = "“quotes”, a tab\t, a line\nbreak"
    for level in LEVELS:
        command.write(level, words, number=1)
        monitor.write(AT.timestamp(), level, words, number=1)
        getattr(structlog.get_logger(), level)(words, number=1)
    command.close()
    monitor.close()
    for text in (command.path.read_text(), monitor.path.read_text(), stream.getvalue()):
        lines = [json.loads(line) for line in text.splitlines()]
        assert {tuple(line) for line in lines} == {("timestamp", "level", "message", "environment", "data")}
        assert [line["level"] for line in lines] == list(LEVELS)
        assert all(line["message"] == words and line["environment"] == "production" for line in lines)


# ---- shown


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    (tmp_path / "rollout.toml").write_text("[environments.production]\n")
    monkeypatch.setenv("ROLLOUT_TOML", str(tmp_path / "rollout.toml"))
    now = datetime.now(UTC)
    for name, age in (("deploy", 3), ("dhash", 2), ("dhash", 1)):
        log = LogFile.open(
            tmp_path / "monitor_logs", name, "production", ManualClock(now - timedelta(hours=age))
        )
        log.write("debug", f"detail {age}")
        log.write("info", f"fine {age}", gate="health")
        log.write("error", f"Quality gate failed: health {age}", value=3)
        log.close()
    other = LogFile.open(tmp_path / "monitor_logs", "dhash", "staging", ManualClock(now))
    other.write("error", "elsewhere")
    other.close()
    (tmp_path / "monitor_logs" / "theirs.log").write_text("whatever\n")
    return lambda *words: CliRunner().invoke(app, ["logs", "show", *words])


def messages(answer: Result) -> list[str]:
    assert answer.exit_code == 0, answer.output
    return [json.loads(text)["message"] for text in answer.stdout.splitlines()]


def test_lines_of_all_logs_are_shown_in_the_order_of_time(show: Callable[..., Result]) -> None:
    found = messages(show("--json"))
    assert found == [
        text for age in (3, 2, 1) for text in (f"fine {age}", f"Quality gate failed: health {age}")
    ]


def test_compressed_logs_are_shown_too(show: Callable[..., Result], tmp_path: Path) -> None:
    before = messages(show("--json"))
    for path in (tmp_path / "monitor_logs").glob("d*.log"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert messages(show("--json")) == before


def test_level_age_name_text_and_number_narrow_it(show: Callable[..., Result]) -> None:
    assert len(messages(show("--json", "--level", "debug"))) == 9
    assert messages(show("--json", "--level", "error", "--since", "90m")) == ["Quality gate failed: health 1"]
    assert messages(show("--json", "--kind", "deploy", "--grep", "quality GATE")) == [
        "Quality gate failed: health 3"
    ]
    assert messages(show("--json", "--limit", "1")) == ["Quality gate failed: health 1"]


def test_people_see_time_level_message_and_data(show: Callable[..., Result]) -> None:
    last = show("--limit", "1").output.strip()
    assert last.endswith("ERROR    Quality gate failed: health 1  value=3")


@pytest.mark.parametrize("words", [["--level", "loud"], ["--since", "yesterday"], ["--grep", "("]])
def test_a_wrong_filter_is_a_clear_error(show: Callable[..., Result], words: list[str]) -> None:
    answer = show(*words)
    assert answer.exit_code == 1
    assert words[0].strip("-") in answer.stderr or "level" in answer.stderr


def test_rotating_says_what_it_does_and_a_dry_run_does_nothing(
    show: Callable[..., Result], tmp_path: Path
) -> None:
    for path in (tmp_path / "monitor_logs").glob("deploy*"):
        os.utime(path, (0, 0))
    rehearsed = CliRunner().invoke(app, ["logs", "rotate", "--dry-run"])
    assert "DRY-RUN: compress deploy_production" in rehearsed.output
    assert list((tmp_path / "monitor_logs").glob("*.gz")) == []
    done = CliRunner().invoke(app, ["logs", "rotate"])
    assert "compress deploy_production" in done.output
    assert len(list((tmp_path / "monitor_logs").glob("deploy*.gz"))) == 1
    assert "remove deploy_production" in CliRunner().invoke(app, ["logs", "rotate"]).output
    assert "Nothing is due" in CliRunner().invoke(app, ["logs", "rotate"]).output


def test_a_closed_stream_ends_nobody() -> None:
    stream = io.StringIO()
    configure("info", "production", stream)
    stream.close()
    structlog.get_logger().error("nobody hears this")


def test_a_full_disk_costs_the_line_and_ends_nothing(tmp_path: Path) -> None:
    log = LogFile.open(tmp_path, "deploy", "production")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._file.fileno())
    os.close(full)
    log.write("info", "giving 50 % of the traffic")
    log.close()


def test_no_thread_s_line_gets_among_a_command_s_output_while_the_log_is_configured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, real = threading.Event(), logs._configure

    def slow(level: str, environment: str, stream: None) -> None:
        begun.set()
        time.sleep(0.2)
        real(level, environment, stream)

    structlog.reset_defaults()
    monkeypatch.setattr(logs, "_configure", slow)
    monkeypatch.setattr(logs, "_WAITING", [partial(slow, "warning", "", None)])
    first = threading.Thread(target=lambda: ModuleLog().warning("first"))
    first.start()
    begun.wait(10)
    ModuleLog().debug("second")
    first.join()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "first" in shown.err
    assert "second" not in shown.err
