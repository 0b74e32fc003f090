"""A monitor that is killed goes on with the samples it had, tells nothing twice and misses nothing."""

from pathlib import Path

import pytest

from guarded_rollout.config.environments import load
from guarded_rollout.gates.samples import Sample
from guarded_rollout.monitor import log as logs
from guarded_rollout.monitor.heartbeat import Beater, session_log
from guarded_rollout.monitor.monitor import Monitor
from guarded_rollout.monitor.schedule import Timeline
from guarded_rollout.notify.events import Kind
from tests.guarded_rollout.gatekit import probe, shipped
from tests.guarded_rollout.monitorkit import Rehearsal, Told, good
from tests.guarded_rollout.test_monitor import bad


class Killed(BaseException):
    """Nothing handles it, as nothing handles SIGKILL."""


def killed_and_resumed(rehearsal: Rehearsal, at: list[float], gap: float = 7.0) -> int:
    """Run a session whose process dies at these ages, and comes back after so many seconds."""
    if rehearsal.age() == 0:
        rehearsal.monitor.start()
        assert rehearsal.told.kinds() == [Kind.MONITORING_STARTED]
        rehearsal.told.events.clear()
    for age in at:
        while rehearsal.age() < age:
            rehearsal.monitor.turn()
        rehearsal.executor.forget()
        rehearsal.clock.advance(gap)
        rehearsal.monitor.session.log.close()
        rehearsal.monitor = rehearsal.make()
        rehearsal.monitor.start()
    return rehearsal.run()


def test_a_window_that_is_full_stays_full_over_three_deaths(tmp_path: Path) -> None:
    """6 % failures decide by the full window of ten minutes, which no process saw as a whole."""
    script = bad(0, images_failed_total=0.052)
    whole = Rehearsal(tmp_path / "whole", shipped("production"), service=script)
    broken = Rehearsal(tmp_path / "broken", shipped("production"), service=script)
    assert whole.run() == 2
    assert killed_and_resumed(broken, [200, 400, 550]) == 2
    assert broken.ages("TRIGGERING")[0] == pytest.approx(whole.ages("TRIGGERING")[0], abs=125)
    assert len(broken.engine.asked) == 1


def test_a_monitor_that_dies_within_its_first_moments_has_its_log_gone_on_with(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"))
    environment = load(tmp_path / "rollout.toml").environment("production")
    environment.root.mkdir(parents=True)
    beater = Beater(environment, rehearsal.timeline)

    def die(monitor: Monitor, now: float) -> None:
        beater.beat(now)
        raise Killed

    with pytest.raises(Killed):
        Monitor(rehearsal.timeline, rehearsal.engine, observers=[die]).run()
    assert rehearsal.lines() == [], "whatever it says later is in a log that is found"
    assert session_log(environment, "r1", rehearsal.clock) == rehearsal.path.absolute()


def test_an_alert_before_the_death_is_not_told_again(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=bad(300, memory_usage_percentage=90))
    assert killed_and_resumed(rehearsal, [900, 1500, 2500]) == 1
    assert rehearsal.told.kinds() == [Kind.GATE_ALERT]
    assert len(rehearsal.said("Quality gate failed: memory_usage")) == 1


def test_probes_that_failed_before_the_death_count(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), probe=lambda age: probe(0, ok=age < 890))
    assert killed_and_resumed(rehearsal, [935]) == 2
    assert [line.partition(":")[0] for line in rehearsal.said("Health check failed")][-1] == (
        "Health check failed (3 consecutive)"
    )


def test_a_breach_whose_rollback_had_not_begun_is_rolled_back_at_once(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=bad(300, images_failed_total=0.5))
    while not rehearsal.said("Quality gate failed"):
        rehearsal.monitor.turn()
    rehearsal.engine.asked.clear()
    rehearsal.engine.end = None  # the process died between the log's line and the engine's first word
    at = rehearsal.age()
    assert killed_and_resumed(rehearsal, [at]) == 2
    assert len(rehearsal.engine.asked) == 1
    assert rehearsal.ages("TRIGGERING")[-1] == pytest.approx(at + 7, abs=1)


def test_silence_goes_on_over_a_death_and_is_told_once(tmp_path: Path) -> None:
    def gone(age: float) -> Sample:
        return good(age) if not 300 < age < 900 else Sample(good(0).source, 0, problem="refused")

    rehearsal = Rehearsal(tmp_path, shipped("production"), service=gone)
    assert killed_and_resumed(rehearsal, [350, 500, 700]) == 1
    assert set(rehearsal.told.kinds()) == {Kind.GATE_ALERT, Kind.GATE_CLEARED}
    assert rehearsal.told.kinds().count(Kind.GATE_ALERT) == 1


def test_the_cadence_goes_on_in_the_rhythm_of_the_window(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"))
    assert killed_and_resumed(rehearsal, [617.0]) == 0
    probed = [at for at, name in rehearsal.executor.started if name.startswith("probe") and at > 617]
    assert probed[:3] == [pytest.approx(630), pytest.approx(660), pytest.approx(690)]
    judged = [age for age in rehearsal.ages("Quality gate passed: error_rate") if age > 617]
    assert judged[:2] == [pytest.approx(660), pytest.approx(780)]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"))
    while rehearsal.age() < 60:
        rehearsal.monitor.turn()
    rehearsal.monitor.session.log.close()
    whole = rehearsal.path.read_text()
    rehearsal.path.write_text(whole + whole.splitlines()[-1][:40])
    samples = sum(logs.sample_of(line) is not None for line in logs.read(rehearsal.path))
    log = logs.MonitorLog.open(rehearsal.path, "production")
    log.write(0, "info", "on a line of its own")
    lines = list(logs.read(rehearsal.path))
    assert lines[-1].message == "on a line of its own"
    assert sum(logs.sample_of(line) is not None for line in lines) == samples


def test_a_wall_clock_that_is_set_back_moves_no_window(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"))
    first = rehearsal.timeline.now()
    rehearsal.clock.advance(100)
    rehearsal.clock._now = rehearsal.clock._now.replace(year=2020)
    assert rehearsal.timeline.now() == pytest.approx(first + 100)
    assert Timeline(rehearsal.clock, not_before=first + 100).now() == pytest.approx(first + 100)
    assert isinstance(rehearsal.told, Told)


def test_a_full_disk_costs_lines_of_the_log_and_not_the_watching(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=bad(300, images_failed_total=0.5))
    rehearsal.monitor.turn()
    rehearsal.monitor.session.log._file.close()
    rehearsal.monitor.session.log._file = open("/dev/full", "w")  # noqa: SIM115 (the log closes it)
    assert rehearsal.run() == 2
    rehearsal.monitor.session.log.close()
    assert len(rehearsal.engine.asked) == 1
