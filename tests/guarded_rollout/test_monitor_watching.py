"""Around the monitor: the heartbeat, following another one, standing by, the terminal's view."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from guarded_rollout.cli.monitor import follow
from guarded_rollout.cli.monitor_view import drawing, worth_showing
from guarded_rollout.clock import Instant
from guarded_rollout.config.environments import Environment, load
from guarded_rollout.errors import LockHeldError
from guarded_rollout.lock import acquire, process_started
from guarded_rollout.logs import LogLine
from guarded_rollout.monitor import heartbeat
from guarded_rollout.monitor import log as logs
from guarded_rollout.monitor.heartbeat import Heartbeat, unwatched_seconds
from guarded_rollout.monitor.ports import OpenRollout, OpenWindow
from guarded_rollout.monitor.schedule import Schedule
from guarded_rollout.monitor.watchdog import Watchdog
from guarded_rollout.notify.events import Kind, Level
from guarded_rollout.status.gate_lines import sparkline
from guarded_rollout.status.terminal import Terminal
from tests.guarded_rollout.gatekit import shipped
from tests.guarded_rollout.manual_clock import ManualClock
from tests.guarded_rollout.monitorkit import Engine, Rehearsal, Told
from tests.guarded_rollout.test_monitor import bad

WINDOW = OpenWindow("r1", "new", "old", opened_at=1000, seconds=3600, left=3000)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    found = load(tmp_path / "rollout.toml").environment("production")
    found.root.mkdir(parents=True)
    return found


def after(seconds: float) -> Instant:
    """This many seconds after 1970 by a wall clock, which is all that there is."""
    return Instant(datetime.fromtimestamp(seconds, UTC))


def mine(at: float, rollout: str = "r1", pid: int | None = None) -> Heartbeat:
    pid = pid or os.getpid()
    return Heartbeat(pid, process_started(pid), at, rollout, 1000, "log")


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_that_beats_watches(environment: Environment) -> None:
    heartbeat.beat(environment, after(2000), "r1", 1000, Path("x.log"))
    found = heartbeat.last(environment)
    assert found is not None
    assert found.watches(after(2005))
    assert unwatched_seconds(found, WINDOW, after(2005)) == 0


def test_one_that_hangs_or_died_or_watches_something_else_does_not(dead: int) -> None:
    assert unwatched_seconds(mine(2000), WINDOW, after(2100)) == 100
    assert unwatched_seconds(replace(mine(2000), pid=dead, started="then"), WINDOW, after(2010)) == 10
    assert unwatched_seconds(mine(2000, rollout="r0"), WINDOW, after(2010)) == 1010
    assert unwatched_seconds(None, WINDOW, after(1500)) == 500
    assert unwatched_seconds(None, None, after(1500)) == 0


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_makes_nobody_silent(environment: Environment, hours: int) -> None:
    clock = ManualClock()
    opened = replace(WINDOW, opened_at=clock.now().timestamp())
    heartbeat.beat(environment, clock.instant(), "r1", 1000, Path("x.log"))
    clock.advance(5)
    clock.step(hours * 3600)
    assert unwatched_seconds(heartbeat.last(environment), opened, clock.instant()) == 0
    clock.advance(95)
    moved = replace(opened, opened_at=opened.opened_at + hours * 3600)
    assert unwatched_seconds(heartbeat.last(environment), moved, clock.instant()) == 100, "and it is dead"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '"x"'])
def test_a_heartbeat_that_cannot_be_read_is_none(environment: Environment, content: str) -> None:
    heartbeat.path_of(environment).write_text(content)
    assert heartbeat.last(environment) is None


def test_standing_by_tells_when_nobody_watches_and_again_after_five_minutes(environment: Environment) -> None:
    clock, told = ManualClock(), Told()
    engine = Engine(clock, seconds=3600)

    class Watched(Engine):
        def open_window(self) -> OpenWindow | None:
            if clock.monotonic() < 300:  # somebody watches the first five minutes
                heartbeat.beat(environment, clock.instant(), "r1", 0, Path("x"))
            return engine.open_window() if clock.monotonic() < 1000 else None

    Watchdog(environment, Watched(clock, 3600), told, clock).stand_by()
    assert told.kinds() == [Kind.UNWATCHED, Kind.UNWATCHED, Kind.UNWATCHED]
    assert told.events[0].level is Level.CRITICAL
    assert "rollout monitor" in told.events[0].facts["next_command"]
    ages = [(event.at.timestamp() - (clock.now().timestamp() - clock.monotonic())) for event in told.events]
    assert ages == [pytest.approx(350, abs=11), pytest.approx(650, abs=21), pytest.approx(950, abs=31)]


def test_standing_by_finishes_an_accepted_rollout_once_nothing_is_in_flight(environment: Environment) -> None:
    clock, told = ManualClock(), Told()
    engine = Engine(clock, 3600, drains_seconds=120, accepted_at=0.0)
    engine.finish_failures = [LockHeldError(environment="production", owner="somebody")]
    Watchdog(environment, engine, told, clock).stand_by()
    assert engine.asked == ["finish"] * 2
    assert 120 <= clock.monotonic() < 135
    assert told.events == []


def test_a_rollout_that_nobody_works_on_any_more_is_told_of_within_a_minute_and_once(
    environment: Environment,
) -> None:
    clock, told = ManualClock(), Told()

    class Killed(Engine):
        """Its command is killed after 100 s, taken up again after 200 s, and killed once more after 300 s."""

        def open_rollout(self) -> OpenRollout | None:
            at = clock.monotonic()
            owner = at < 100 or 200 <= at < 300
            return OpenRollout("r1", "new", "shift", owner, watched=False) if at < 500 else None

    began = clock.now().timestamp()
    Watchdog(environment, Killed(clock, 3600), told, clock).stand_by()
    assert told.kinds() == [Kind.INTERRUPTED, Kind.INTERRUPTED]
    ages = [event.at.timestamp() - began for event in told.events]
    assert 100 < ages[0] < 160
    assert 300 < ages[1] < 360
    assert "stopped at shift" in told.events[0].facts["reason"]
    for command in ("rollout resume", "rollout abort"):
        assert command in told.events[0].facts["next_command"]


def session_log(environment: Environment, name: str, *lines: LogLine) -> Path:
    path = environment.root / name
    path.write_text("".join(line.as_json() + "\n" for line in lines))
    return path


def beat_of(environment: Environment, pid: int, rollout: str, log: Path) -> None:
    found = Heartbeat(pid, process_started(pid), 0, rollout, 0, str(log))
    heartbeat.path_of(environment).write_text(
        json.dumps({name: getattr(found, name) for name in found.__slots__})
    )


BEGUN = LogLine(0, "info", "Monitoring new", "production", {})
COMPLETED = LogLine(9, "info", "Monitoring session completed", "production", {"exit_code": 2})


@pytest.fixture
def lock(environment: Environment) -> Iterator[Path]:
    """The lock of a monitor that runs."""
    path = environment.root / "monitor.lock"
    with acquire(path, environment="production", command="rollout monitor"):
        yield path


def test_following_ends_with_the_others_exit_code(environment: Environment, lock: Path) -> None:
    beat_of(environment, os.getpid(), "r1", session_log(environment, "other.log", BEGUN, COMPLETED))
    shown: list[LogLine] = []
    assert follow(environment, lock, ManualClock(), shown.append) == 2
    assert shown == [BEGUN, COMPLETED]


def test_following_one_that_dies_is_a_failure(environment: Environment) -> None:
    lock = environment.root / "monitor.lock"
    beat_of(environment, os.getpid(), "r1", session_log(environment, "other.log", BEGUN))
    with ExitStack() as alive:
        alive.enter_context(acquire(lock, environment="production", command="rollout monitor"))
        assert follow(environment, lock, ManualClock(), lambda line: alive.close()) == 3


def test_a_monitor_that_has_not_begun_is_waited_for_and_the_previous_log_is_left_alone(
    environment: Environment, lock: Path, dead: int
) -> None:
    """Within a second after `resume` the heartbeat is still that of the rollout before."""
    accepted = replace(COMPLETED, data={"exit_code": 0})
    beat_of(environment, dead, "r1", session_log(environment, "previous.log", BEGUN, accepted))
    ours = session_log(environment, "ours.log", replace(BEGUN, message="Monitoring newer"), COMPLETED)
    shown: list[str] = []

    class Beating(ManualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            beat_of(environment, os.getpid(), "r2", ours)

    assert follow(environment, lock, Beating(), lambda line: shown.append(line.message)) == 2
    assert shown == ["Monitoring newer", "Monitoring session completed"]


def test_a_monitor_that_goes_before_it_has_begun_is_not_followed(environment: Environment, dead: int) -> None:
    beat_of(environment, dead, "r1", session_log(environment, "previous.log", BEGUN, COMPLETED))
    assert follow(environment, environment.root / "monitor.lock", ManualClock(), print) is None


def test_a_session_that_failed_and_was_resumed_is_followed_to_its_second_end(
    environment: Environment, lock: Path
) -> None:
    failed = replace(COMPLETED, data={"exit_code": 3})
    log = session_log(environment, "other.log", BEGUN, failed, BEGUN, COMPLETED)
    beat_of(environment, os.getpid(), "r1", log)
    assert follow(environment, lock, ManualClock(), lambda line: None) == 2


# ---- what a terminal shows


def test_the_view_shows_each_gate_against_its_limit_the_traffic_and_the_time_left(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=bad(0, memory_usage_percentage=90))
    console = Console(width=160, record=True, file=(tmp_path / "screen").open("w"))
    with Terminal(console) as terminal:
        draw = drawing(terminal, lambda width: ([Text("green 100 %")], [Text("schema: 0001")]))
        for _ in range(300):
            rehearsal.monitor.turn()
            draw(rehearsal.monitor, rehearsal.timeline.now())
    screen = console.export_text()
    assert "green 100 %" in screen
    assert "schema: 0001" in screen
    assert re.search(r"\d+ min( \d+ s)? left", screen)
    for name, _ in shipped("production").quality_gates.enabled():
        assert (name in screen) == (name in rehearsal.monitor.session.gates), name
    assert "90 % (limit 85 %)" in screen
    assert "fail" in screen


def test_a_sparkline_runs_from_the_lowest_to_the_highest() -> None:
    assert sparkline([0, 1, 2, 4, 7]) == "▁▂▃▅█"
    assert sparkline([3, 3]) == "▁▁"
    assert sparkline([]) == ""


def test_people_see_news_and_with_verbose_every_verdict_but_never_samples(tmp_path: Path) -> None:
    rehearsal = Rehearsal(
        tmp_path, shipped("staging"), "staging", service=bad(0, low_confidence_queue_length=501)
    )
    rehearsal.run()
    lines = list(logs.read(rehearsal.path))
    few = [line for line in lines if worth_showing(line, verbose=False)]
    many = [line for line in lines if worth_showing(line, verbose=True)]
    assert any("Quality gate failed" in line.message for line in few)
    warnings = [line for line in lines if line.level == "warning"]
    assert warnings
    assert all(line.words.endswith(".") and not line.words.endswith("..") for line in warnings)
    assert len(few) < len(many) < len(lines)
    assert not any(line.message == logs.SAMPLE for line in many)
    loud = [line for line in lines if worth_showing(line, verbose=True, least="error")]
    assert {line.level for line in loud} == {"error"}


def test_a_cadence_keeps_its_rhythm_whatever_is_late() -> None:
    cadence = Schedule(0)
    for now, due in ((0, 30), (31, 60), (61, 90), (200, 210), (210, 240)):
        cadence.advance(now, 30)
        assert cadence.due == due
