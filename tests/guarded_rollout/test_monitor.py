"""The monitor in virtual time: whole windows, each within a moment."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from guarded_rollout.config.gates import EnvironmentGates, OnUndecided, parse
from guarded_rollout.config.terms import Source
from guarded_rollout.errors import BackupDamagedError, LockHeldError, NotHealthyError, RolloutError
from guarded_rollout.gates.samples import Histogram, Sample
from guarded_rollout.monitor.ports import Ended
from guarded_rollout.notify.events import Kind
from guarded_rollout.notify.message import render
from guarded_rollout.notify.message import shipped as shipped_template
from tests.guarded_rollout.gatekit import EDGES, SHIPPED, probe, proxy, service, shipped, times
from tests.guarded_rollout.monitorkit import Rehearsal, good


def changed(environment: str, **rollback: object) -> EnvironmentGates:
    config = shipped(environment)
    return config.model_copy(update={"auto_rollback": config.auto_rollback.model_copy(update=rollback)})


def bad(at_age: float, **worse: float):  # type: ignore[no-untyped-def]
    """A service that is good up to this age and from then on has these counters or gauges rising or set."""

    def script(age: float) -> Sample:
        sample = good(age)
        if age < at_age:
            return sample
        counters = dict(sample.counters)
        for name, share in worse.items():
            if name.endswith("_total"):
                counters[name] += share * 20 * (age - at_age)
                if name == "images_failed_total":
                    counters["images_ok_total"] -= share * 20 * (age - at_age)
        gauges = {
            **sample.gauges,
            **{name: value for name, value in worse.items() if not name.endswith("_total")},
        }
        return Sample(
            sample.source, 0, counters=counters, gauges=gauges, histograms=sample.histograms, started_at=1
        )

    return script


# ---- whole windows


@pytest.mark.parametrize(
    ("environment", "minutes"), [("production", 60), ("staging", 30), ("development", 15)]
)
def test_a_good_window_ends_well(tmp_path: Path, environment: str, minutes: int) -> None:
    rehearsal = Rehearsal(tmp_path, shipped(environment), environment)
    assert rehearsal.run() == 0
    assert rehearsal.engine.asked == ["finish"]
    assert rehearsal.age() == pytest.approx(minutes * 60, abs=5)
    assert rehearsal.told.kinds() == []
    assert rehearsal.said("Monitoring session completed")


def test_the_log_has_the_contracts_name_and_lines(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("staging"), "staging")
    rehearsal.run()
    assert re.fullmatch(r"dhash_staging_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z\.log", rehearsal.path.name)
    assert all(
        set(line) == {"timestamp", "level", "message", "environment", "data"} for line in rehearsal.lines()
    )
    assert len(rehearsal.said("Quality gate passed")) > 100


def test_polls_are_every_half_minute_at_first_and_every_two_later_and_probes_keep_their_own(
    tmp_path: Path,
) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"))
    rehearsal.run()
    judged = rehearsal.ages("Quality gate passed: error_rate")
    assert [round(age) for age in judged[:11]] == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 420]
    probed = [at for at, name in rehearsal.executor.started if name.startswith("probe")]
    assert probed[:120] == [pytest.approx(number * 30) for number in range(120)]
    assert Counter(name for _, name in rehearsal.executor.started)["service-candidate"] == pytest.approx(
        720, abs=1
    )


def test_one_slow_endpoint_delays_nobody_else_and_does_not_drift(tmp_path: Path) -> None:
    def slow(age: float) -> Sample:
        return Sample(good(0).source, 0, problem="timed out", seconds=29.0)

    rehearsal = Rehearsal(tmp_path, shipped("production"), service=slow)
    for _ in range(400):
        rehearsal.monitor.turn()
    probed = [at for at, name in rehearsal.executor.started if name.startswith("probe")]
    assert probed == [pytest.approx(number * 30) for number in range(len(probed))]
    proxied = [at for at, name in rehearsal.executor.started if name.startswith("proxy")]
    assert proxied == [pytest.approx(number * 5) for number in range(len(proxied))]


def test_an_endpoint_that_never_answers_is_silence_and_is_not_asked_twice_at_once(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), rollout=False, takes={"service-candidate": 1e9})
    assert rehearsal.run() == 1
    assert [name for _, name in rehearsal.executor.started].count("service-candidate") == 1
    silent = rehearsal.said("Quality gate silent")
    assert len(silent) == 5
    assert rehearsal.told.kinds() == [Kind.GATE_ALERT, Kind.GATE_ALERT]  # when it fell silent, and at the end
    assert rehearsal.ages("Quality gate silent")[0] == pytest.approx(124, abs=32)


# ---- breaches


BREACHES = [
    ("extraction failures at 6 %", bad(900, images_failed_total=0.05), "extraction_failure_rate", 1600),
    ("extraction failures at 30 %", bad(900, images_failed_total=0.29), "extraction_failure_rate", 910),
    ("a queue flood", bad(900, low_confidence_queue_length=1001), "low_confidence_queue", 965),
]


@pytest.mark.parametrize(("_what", "script", "gate", "by"), BREACHES)
def test_a_faulty_release_is_rolled_back_once(
    tmp_path: Path, _what: str, script, gate: str, by: float
) -> None:  # type: ignore[no-untyped-def]
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=script)
    assert rehearsal.run() == 2
    assert [what.partition(":")[0] for what in rehearsal.engine.asked] == ["roll back"]
    assert len(rehearsal.said(f"Quality gate failed: {gate}")) == 1
    assert len(rehearsal.said("TRIGGERING AUTO-ROLLBACK: ")) == 1
    assert 900 <= rehearsal.ages("TRIGGERING AUTO-ROLLBACK")[0] <= by
    assert rehearsal.said("Using backup file: ") == [f"Using backup file: {rehearsal.engine.backup}"]
    assert rehearsal.said("Auto-rollback completed successfully")
    assert rehearsal.told.kinds() == [Kind.GATE_ALERT, Kind.AUTO_ROLLBACK, Kind.ROLLBACK_SUCCEEDED]


def test_the_message_after_an_automatic_rollback_names_the_release_returned_to(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=bad(900, images_failed_total=0.5))
    rehearsal.engine.failures = [NotHealthyError(endpoint="old", seconds=60, last="503")]
    assert rehearsal.run() == 2
    by_kind = {event.kind: event for event in rehearsal.told.events}
    named = {kind: by_kind[kind].facts["release"] for kind in (Kind.ROLLBACK_FAILED, Kind.ROLLBACK_SUCCEEDED)}
    assert named == {Kind.ROLLBACK_FAILED: "old", Kind.ROLLBACK_SUCCEEDED: "old"}
    assert by_kind[Kind.AUTO_ROLLBACK].facts["release"] == "new"
    succeeded = by_kind[Kind.ROLLBACK_SUCCEEDED]
    message = render(succeeded, shipped_template(succeeded.kind)).plain()
    assert "old" in message
    assert "new" not in message.split()


def test_nobody_is_paged_for_a_release_that_this_monitor_stops(tmp_path: Path) -> None:
    """Its probes are refused and its metrics fall silent while the rollback runs."""

    def stopped(age: float) -> Sample:
        return bad(900, images_failed_total=0.5)(age) if age < 960 else missing

    missing = Sample(Source.SERVICE, 0, problem="refused")
    rehearsal = Rehearsal(
        tmp_path,
        shipped("production"),
        service=stopped,
        probe=lambda age: probe(0, ok=age < 960),
        takes={"rollback": 500},
    )
    assert rehearsal.run() == 2
    assert rehearsal.said("Health check failed")
    assert rehearsal.told.kinds() == [Kind.GATE_ALERT, Kind.AUTO_ROLLBACK, Kind.ROLLBACK_SUCCEEDED]


def test_slow_hashing_is_rolled_back(tmp_path: Path) -> None:
    def script(age: float) -> Sample:
        slow = max(0.0, age - 900) * 20
        fast = min(age, 900) * 20
        counts = tuple(fast if edge <= 2 else fast + slow for edge in EDGES)
        return service(
            0,
            images_ok=age * 20,
            requests=age * 20,
            histogram=Histogram(EDGES, counts),
            low_confidence_queue_length=1,
            memory_usage_percentage=1,
        )

    rehearsal = Rehearsal(tmp_path, shipped("production"), service=script)
    assert rehearsal.run() == 2
    assert rehearsal.ages("TRIGGERING AUTO-ROLLBACK: p95_hash_time")[0] <= 910


def test_a_release_whose_own_metrics_lie_while_clients_see_errors_is_rolled_back(tmp_path: Path) -> None:
    rehearsal = Rehearsal(
        tmp_path, shipped("production"), proxy=lambda age: proxy(0, max(0, age - 900) * 6, age * 20)
    )
    assert rehearsal.run() == 2
    assert rehearsal.ages("TRIGGERING AUTO-ROLLBACK: client_error_rate")[0] <= 910


def test_memory_that_climbs_and_errors_at_four_percent_are_told_and_no_more(tmp_path: Path) -> None:
    script = bad(900, server_errors_total=0.036, memory_usage_percentage=90)
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=script)
    assert rehearsal.run() == 1
    assert rehearsal.engine.asked == ["finish"]
    assert rehearsal.told.kinds() == [Kind.GATE_ALERT, Kind.GATE_ALERT]  # once each, not at every poll
    assert {event.facts["gate"] for event in rehearsal.told.events} == {"memory_usage", "error_rate"}
    assert len(rehearsal.said("Quality gate failed")) == 2
    assert rehearsal.said("Quality gate still failing: memory_usage")


def test_an_alert_that_clears_is_told_once(tmp_path: Path) -> None:
    def script(age: float) -> Sample:
        return bad(0, memory_usage_percentage=90 if 900 <= age < 1500 else 40)(age)

    rehearsal = Rehearsal(tmp_path, shipped("production"), service=script)
    assert rehearsal.run() == 1
    assert rehearsal.told.kinds() == [Kind.GATE_ALERT, Kind.GATE_CLEARED]
    assert len(rehearsal.said("Quality gate recovered: memory_usage")) == 1


def test_health_that_flaps_between_breach_and_pass_is_told_once(tmp_path: Path) -> None:
    flapping = Rehearsal(
        tmp_path, shipped("staging"), "staging", probe=lambda age: probe(0, ok=round(age / 30) % 5 == 4)
    )
    assert flapping.run() == 1
    assert flapping.told.kinds() == [Kind.GATE_ALERT]
    assert len(flapping.said("Health check recovered")) > 5


def test_three_failed_checks_roll_back_and_two_do_not(tmp_path: Path) -> None:
    two = Rehearsal(tmp_path, shipped("production"), probe=lambda age: probe(0, ok=not 900 <= age < 955))
    assert two.run() == 0
    three = Rehearsal(tmp_path, shipped("production"), probe=lambda age: probe(0, ok=age < 900))
    assert three.run() == 2
    assert [words.partition(":")[0] for words in three.said("Health check failed")] == [
        f"Health check failed ({number} consecutive)" for number in (1, 2, 3)
    ]
    assert three.ages("TRIGGERING AUTO-ROLLBACK: health")[0] == pytest.approx(960, abs=1)


def test_two_breaches_at_once_are_two_alerts_and_one_rollback(tmp_path: Path) -> None:
    script = bad(900, images_failed_total=0.5, low_confidence_queue_length=5000, server_errors_total=0.5)
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=script, takes={"rollback": 300})
    assert rehearsal.run() == 2
    assert len(rehearsal.engine.asked) == 1
    assert len(rehearsal.said("TRIGGERING AUTO-ROLLBACK")) == 1
    assert {"extraction_failure_rate", "low_confidence_queue", "error_rate"} == {
        event.facts["gate"] for event in rehearsal.told.events if event.kind is Kind.GATE_ALERT
    }


def test_the_breach_that_comes_while_a_rollback_runs_starts_no_second_one(tmp_path: Path) -> None:
    rehearsal = Rehearsal(
        tmp_path,
        shipped("production"),
        takes={"rollback": 120},
        service=bad(900, images_failed_total=0.5),
        probe=lambda age: probe(0, ok=age < 900),
    )
    assert rehearsal.run() == 2
    assert len(rehearsal.engine.asked) == 1
    assert rehearsal.said("Quality gate failed: health")


# ---- rollbacks that are not straightforward


def test_where_auto_rollback_is_off_a_breach_is_told_and_the_window_goes_on(tmp_path: Path) -> None:
    rehearsal = Rehearsal(
        tmp_path, changed("production", enabled=False), service=bad(900, images_failed_total=0.5)
    )
    assert rehearsal.run() == 1
    assert rehearsal.engine.asked == ["finish"]
    assert rehearsal.said("Auto-rollback is disabled here")


def test_a_rollback_that_fails_is_told_with_the_manual_command_and_tried_again(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=bad(900, images_failed_total=0.5))
    rehearsal.engine.failures = [RolloutError(detail="the disk is full.")]
    assert rehearsal.run() == 2
    assert len(rehearsal.engine.asked) == 2
    assert rehearsal.said("Auto-rollback FAILED: the disk is full.")
    failed = next(event for event in rehearsal.told.events if event.kind is Kind.ROLLBACK_FAILED)
    assert failed.facts["manual_command"] == rehearsal.engine.manual_command
    assert failed.level == "critical"


def test_a_rollback_that_keeps_failing_ends_the_session_as_failed(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=bad(900, images_failed_total=0.5))
    rehearsal.engine.failures = [RolloutError(detail="no.")] * 99
    assert rehearsal.run() == 3
    assert len(rehearsal.said("Auto-rollback FAILED")) == 5


def test_a_rollback_that_takes_too_long_is_told_and_not_started_again(tmp_path: Path) -> None:
    rehearsal = Rehearsal(
        tmp_path, shipped("production"), service=bad(900, images_failed_total=0.5), takes={"rollback": 900}
    )
    assert rehearsal.run() == 2
    assert len(rehearsal.engine.asked) == 1
    late = rehearsal.ages("Auto-rollback FAILED: it is not done after 10 min")
    assert late == [pytest.approx(rehearsal.ages("TRIGGERING")[0] + 600, abs=2)]


def test_while_another_command_holds_the_lock_the_rollback_waits_for_it(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=bad(900, images_failed_total=0.5))
    rehearsal.engine.failures = [LockHeldError(environment="production", owner="somebody")] * 20
    assert rehearsal.run() == 2
    assert not rehearsal.said("FAILED")
    assert len(rehearsal.engine.asked) == 21


def test_a_damaged_backup_is_not_claimed_to_be_used(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=bad(900, images_failed_total=0.5))
    rehearsal.engine.backup = BackupDamagedError(path="b.zip", problem="its SHA-256 is another")
    assert rehearsal.run() == 2
    assert not rehearsal.said("Using backup file")
    assert rehearsal.said("The backup file cannot be used")


def test_confirmation_holds_the_window_until_somebody_says_yes(tmp_path: Path) -> None:
    asked: list[str] = []

    def yes(reason: str) -> bool:
        asked.append(reason)
        return True

    rehearsal = Rehearsal(
        tmp_path,
        changed("production", confirmation_required=True),
        ask=yes,
        takes={"answer": 600},
        service=bad(900, images_failed_total=0.5),
    )
    assert rehearsal.run() == 2
    assert len(asked) == 1
    assert rehearsal.engine.asked[0] == "pause"
    assert rehearsal.ages("TRIGGERING")[0] - rehearsal.ages("waits for confirmation")[0] == pytest.approx(
        600, abs=1
    )


def test_a_declined_rollback_is_not_asked_for_again_and_the_window_stays_held(tmp_path: Path) -> None:
    rehearsal = Rehearsal(
        tmp_path,
        changed("production", confirmation_required=True),
        ask=lambda reason: False,
        service=bad(900, images_failed_total=0.5),
    )
    for _ in range(4000):
        rehearsal.monitor.turn()
    assert rehearsal.engine.asked == ["pause"]
    assert len(rehearsal.said("Auto-rollback declined")) == 1
    rehearsal.engine.end = Ended(completed=True, rolled_back=False)  # somebody promotes it all the same
    assert rehearsal.run() == 1


# ---- the window


def test_a_pause_holds_the_window(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("development"), "development")
    rehearsal.engine.paused_at = 600.0
    for _ in range(3000):
        rehearsal.monitor.turn()
    assert rehearsal.age() > 5000
    assert rehearsal.engine.asked == []


def test_a_promote_ends_the_session_at_once(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"))
    for _ in range(100):
        rehearsal.monitor.turn()
    rehearsal.engine.end = Ended(completed=True, rolled_back=False)
    assert rehearsal.run() == 0
    assert rehearsal.age() < 600


def test_finishing_waits_for_the_lock_and_is_tried_again_when_it_fails(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("development"), "development")
    rehearsal.engine.finish_failures = [
        LockHeldError(environment="development", owner="somebody"),
        RolloutError(detail="the disk is full."),
    ]
    assert rehearsal.run() == 0
    assert rehearsal.engine.asked == ["finish"] * 3
    assert rehearsal.said("Finishing failed: the disk is full.")


def test_what_the_old_release_still_answers_is_waited_for_and_nothing_is_rolled_back_meanwhile(
    tmp_path: Path,
) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=bad(3700, images_failed_total=0.29))
    rehearsal.engine.drains_seconds = 300
    assert rehearsal.run() == 1  # it is told of
    assert rehearsal.engine.asked == ["finish"] * 2
    assert 3900 <= rehearsal.age() < 3910
    assert len(rehearsal.said("accepting")) == 1


def test_finishing_that_keeps_failing_ends_the_session_as_failed(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("development"), "development")
    rehearsal.engine.finish_failures = [RolloutError(detail="no.")] * 9
    assert rehearsal.run() == 3
    assert len(rehearsal.engine.asked) == 5


def test_what_fails_while_the_release_is_being_accepted_is_told_and_rolled_back_if_that_fails(
    tmp_path: Path,
) -> None:
    failing = bad(3605, images_failed_total=0.29)
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=failing, takes={"finish": 120})
    rehearsal.engine.finish_failures = [RolloutError(detail="the disk is full.")]
    assert rehearsal.run() == 2
    assert [what.partition(":")[0] for what in rehearsal.engine.asked] == ["finish", "roll back"]
    assert rehearsal.ages("Quality gate failed")[0] < 3700
    assert rehearsal.ages("TRIGGERING AUTO-ROLLBACK")[0] >= 3720


def test_an_abort_by_somebody_else_ends_the_session_as_rolled_back(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"))
    rehearsal.monitor.turn()
    rehearsal.engine.end = Ended(completed=False, rolled_back=True, reason="aborted by the operator")
    assert rehearsal.run() == 2
    assert rehearsal.said("aborted by the operator")


def test_a_release_that_an_abort_stops_wakes_nobody(tmp_path: Path) -> None:
    """Its health check fails for the third time just as it is taken away."""

    def stopped(age: float) -> Sample:
        if age >= 120:
            rehearsal.engine.end = Ended(completed=False, rolled_back=True, reason="aborted by the operator")
        return probe(0, ok=age < 60)

    rehearsal = Rehearsal(tmp_path, shipped("production"), probe=stopped)
    assert rehearsal.run() == 2
    assert Kind.GATE_ALERT not in rehearsal.told.kinds()
    assert not rehearsal.said("Quality gate failed")


def test_a_rollback_that_was_interrupted_is_gone_on_with(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("production"))
    rehearsal.engine.undoing = True
    assert rehearsal.run() == 2
    assert len(rehearsal.engine.asked) == 1
    assert not rehearsal.said("TRIGGERING")


def test_without_a_rollout_the_session_has_a_window_of_its_own(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, shipped("staging"), "staging", rollout=False)
    assert rehearsal.run() == 0
    assert rehearsal.age() == pytest.approx(1800, abs=5)
    assert rehearsal.engine.asked == []


def test_a_gate_may_put_what_the_release_wrote_in_doubt(tmp_path: Path) -> None:
    text = SHIPPED.read_text().replace('"source": "proxy",', '"source": "proxy", "quarantine": true,')
    found, problems = parse(text)
    assert found is not None, problems
    config = found.environment("production")
    seen = Rehearsal(tmp_path / "a", config, proxy=lambda age: proxy(0, age * 10, age * 20))
    assert seen.run() == 2
    assert seen.engine.quarantined
    other = Rehearsal(tmp_path / "b", config, service=bad(300, images_failed_total=0.5))
    assert other.run() == 2
    assert not other.engine.quarantined


def test_a_dry_run_judges_the_same_and_touches_nothing(tmp_path: Path) -> None:
    rehearsal = Rehearsal(
        tmp_path, shipped("production"), service=bad(900, images_failed_total=0.5), dry_run=True
    )
    assert rehearsal.run() == 1
    assert rehearsal.engine.asked == []
    assert rehearsal.said("DRY-RUN: TRIGGERING AUTO-ROLLBACK: extraction_failure_rate")
    good_one = Rehearsal(tmp_path, shipped("production"), dry_run=True)
    assert good_one.run() == 0
    assert good_one.engine.asked == []


# ---- silence


def test_a_silent_metrics_endpoint_is_told_after_two_minutes_and_the_release_is_not_accepted(
    tmp_path: Path,
) -> None:
    def gone(age: float) -> Sample:
        return good(age) if age < 900 else Sample(good(0).source, 0, problem="connection refused")

    rehearsal = Rehearsal(tmp_path, shipped("production"), service=gone)
    while rehearsal.age() < 7200:
        rehearsal.monitor.turn()
    assert rehearsal.engine.asked == []
    assert rehearsal.told.kinds() == [Kind.GATE_ALERT, Kind.GATE_ALERT]
    assert rehearsal.ages("Quality gate silent")[0] == pytest.approx(900 + 115, abs=6)
    assert rehearsal.ages("Quality gate without data at the end")[0] == pytest.approx(3600, abs=5)
    assert "low_confidence_queue" in rehearsal.told.events[0].facts["gate"]
    rehearsal.engine.end = Ended(completed=True, rolled_back=False)  # somebody promotes it
    assert rehearsal.run() == 1


def test_a_release_is_accepted_as_soon_as_the_data_is_back(tmp_path: Path) -> None:
    def late(age: float) -> Sample:
        return good(age) if not 3500 < age < 3900 else Sample(good(0).source, 0, problem="refused")

    rehearsal = Rehearsal(tmp_path, shipped("production"), service=late)
    assert rehearsal.run() == 1
    assert rehearsal.engine.asked == ["finish"]
    assert rehearsal.age() == pytest.approx(3960, abs=65)


def test_silence_of_all_sources_for_an_hour_is_never_all_good(tmp_path: Path) -> None:
    silent = {
        "service": lambda age: Sample(good(0).source, 0, problem="refused"),
        "proxy": lambda age: Sample(proxy(0, 0, 0).source, 0, problem="refused"),
    }
    config = changed("production", enabled=False)
    rehearsal = Rehearsal(tmp_path, config, probe=lambda age: probe(0, ok=False), rollout=False, **silent)
    assert rehearsal.run() == 1
    # health, the service's gates, the proxy's gate, and all that could have rolled back at the end
    assert rehearsal.told.kinds() == [Kind.GATE_ALERT] * 4


def test_silence_may_roll_back_by_its_own_policy(tmp_path: Path) -> None:
    text = SHIPPED.read_text().replace(
        '"on_no_data": {"after_seconds": 120, "actions": ["alert"]}',
        '"on_no_data": [{"after_seconds": 60, "actions": ["alert"]},'
        ' {"after_seconds": 300, "actions": ["auto_rollback"]}]',
    )
    found, problems = parse(text)
    assert found is not None, problems
    rehearsal = Rehearsal(
        tmp_path,
        found.environment("production"),
        proxy=lambda age: Sample(proxy(0, 0, 0).source, 0, problem="refused"),
    )
    assert rehearsal.run() == 2
    assert rehearsal.ages("TRIGGERING")[0] == pytest.approx(300, abs=6)


def test_news_after_silence_is_told(tmp_path: Path) -> None:
    def gap(age: float) -> Sample:
        return good(age) if not 900 <= age < 1200 else Sample(good(0).source, 0, problem="refused")

    rehearsal = Rehearsal(tmp_path, shipped("production"), service=gap)
    assert rehearsal.run() == 1
    assert rehearsal.said("Quality gate heard again: memory_usage")


def test_a_restart_in_the_middle_is_no_breach(tmp_path: Path) -> None:
    def restarted(age: float) -> Sample:
        if age < 900:
            return good(age)
        fresh = good(age - 900)
        return Sample(
            fresh.source,
            0,
            counters=fresh.counters,
            gauges=fresh.gauges,
            histograms={"hash_seconds": times([0.05])},
            started_at=2,
        )

    assert Rehearsal(tmp_path, shipped("production"), service=restarted).run() == 0


def test_a_window_does_not_close_over_probes_that_fail(tmp_path: Path) -> None:
    """Its last minute is too short for three checks: nobody accepts what stopped answering in it."""
    rehearsal = Rehearsal(tmp_path, shipped("production"), probe=lambda age: probe(0, ok=age < 3565))
    assert rehearsal.run() == 2
    assert rehearsal.said("The window is over, and stays open until this is decided: health")
    assert rehearsal.ages("TRIGGERING")[0] == pytest.approx(3630, abs=5)


def test_a_window_closes_when_its_last_probes_have_recovered(tmp_path: Path) -> None:
    def flaps(age: float) -> Sample:
        return probe(0, ok=not 3565 < age < 3605)

    rehearsal = Rehearsal(tmp_path, shipped("production"), probe=flaps)
    assert rehearsal.run() == 0
    assert rehearsal.engine.asked == ["finish"]
    assert rehearsal.ages("The window closed")[0] == pytest.approx(3630, abs=5)


def test_a_window_waits_for_the_probe_that_is_out(tmp_path: Path) -> None:
    def hangs(age: float) -> Sample:
        return replace(probe(0, ok=age < 3565), seconds=0.0 if age < 3565 else 300.0)

    rehearsal = Rehearsal(tmp_path, shipped("production"), probe=hangs)
    assert rehearsal.run() == 2


def quiet(age: float) -> Sample:
    """A service that three requests came to."""
    gauges = {"low_confidence_queue_length": 10, "memory_usage_percentage": 40}
    return service(0, images_ok=3, requests=3, histogram=times([0.05] * 3), **gauges)


def ending(policy: OnUndecided) -> EnvironmentGates:
    config = shipped("production")
    monitoring = config.monitoring.model_copy(update={"on_undecided": policy})
    return config.model_copy(update={"monitoring": monitoring})


@pytest.mark.parametrize(("policy", "code", "alerts"), [("accept", 0, 0), ("alert", 1, 1)])
def test_what_never_had_enough_to_tell_is_said_at_the_end(tmp_path, policy, code, alerts) -> None:
    rehearsal = Rehearsal(
        tmp_path, ending(OnUndecided(policy)), service=quiet, proxy=lambda age: proxy(0, 0, 3)
    )
    assert rehearsal.run() == code
    (said,) = rehearsal.said("these gates never decided: ")
    assert said.endswith("extraction_failure_rate, p95_hash_time, error_rate, client_error_rate")
    assert rehearsal.told.kinds().count(Kind.GATE_ALERT) == alerts
    assert rehearsal.engine.asked == ["finish"]


def test_a_window_may_stay_open_until_its_gates_have_decided(tmp_path: Path) -> None:
    def service_later(age: float) -> Sample:
        return quiet(age) if age < 4000 else good(age)

    config = ending(OnUndecided.HOLD)
    clients = lambda age: proxy(0, 0, 3 if age < 4000 else age)  # noqa: E731
    rehearsal = Rehearsal(tmp_path, config, service=service_later, proxy=clients)
    assert rehearsal.run() == 1
    assert rehearsal.said("Held open on 0 requests; these gates never decided: ")
    assert rehearsal.ages("The window closed")[0] >= 4000


def test_metrics_that_come_late_are_none(tmp_path: Path) -> None:
    late = replace(good(0), seconds=29.0)
    rehearsal = Rehearsal(tmp_path, shipped("production"), service=lambda age: late)
    while not rehearsal.said("no data for"):
        rehearsal.monitor.turn()
    assert "answered after 29.0 s; later than 2 s is no answer" in rehearsal.said("no data for")[0]
