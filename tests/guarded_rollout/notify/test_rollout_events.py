"""The journal's events, each published once."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from guarded_rollout.journal.model import OVERRIDDEN, RolloutOutcome, StepOutcome
from guarded_rollout.logs import LogFile
from guarded_rollout.notify.events import Event, Kind, Level
from guarded_rollout.rollout.announce import MONITOR, PublishingJournal, events_of, publish
from tests.guarded_rollout.manual_clock import ManualClock


class Ears:
    """A publisher that listens. The real outbox keeps one event an id; so do these."""

    def __init__(self) -> None:
        self.heard: dict[str, Event] = {}

    def publish(self, event: Event) -> None:
        self.heard.setdefault(event.id, event)

    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.heard.values()]


@pytest.fixture(autouse=True)
def _unbound() -> Iterator[None]:
    yield
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime.now(UTC))


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def journal(tmp_path: Path, clock: ManualClock, ears: Ears) -> Iterator[PublishingJournal]:
    with PublishingJournal.open(tmp_path / "journal.db", clock=clock) as journal:
        journal.publisher = ears
        yield journal


def begin(journal: PublishingJournal, command: str = "deploy", **about: Any) -> Any:
    known = {"operator": "robin@host", "source": "1.3.0", "target": "1.4.0", "why": "new colours"}
    return journal.begin("production", command, **{**known, **about})


def test_a_deployment_is_notified_from_start_to_acceptance(
    journal: PublishingJournal, clock: ManualClock, ears: Ears
) -> None:
    rollout = begin(journal)
    with journal.step(rollout, "backup") as evidence:
        evidence["backup"] = "backups/dhash_production_20260101_000000.zip"
    with journal.step(rollout, "verify") as evidence:
        evidence.update(health={"healthy_checks": 3}, checks={"passed": ["golden", "submit_and_find"]})
    clock.advance(90)
    journal.intend(rollout, "watch", seconds=3600)
    clock.advance(10)
    journal.settle(rollout, "watch", StepOutcome.DONE)
    assert ears.kinds() == [Kind.DEPLOYMENT_STARTED, Kind.SERVING, Kind.DEPLOYMENT_SUCCEEDED]
    clock.advance(300)  # the old release ends what it was answering
    journal.end(rollout, RolloutOutcome.COMPLETED)
    assert ears.kinds() == [Kind.DEPLOYMENT_STARTED, Kind.SERVING, Kind.DEPLOYMENT_SUCCEEDED]
    begun, shifted, accepted = ears.heard.values()
    assert begun.facts["operator"] == "robin@host"
    assert begun.facts["reason"] == "new colours"
    assert begun.facts["done"] == "1.3.0 serves until it is verified"
    until = clock.now() - timedelta(seconds=310) + timedelta(hours=1)
    assert shifted.message == f"It serves all of the traffic, and is watched until {until:%H:%M} UTC."
    assert shifted.facts["next_command"] == "rollout monitor --env production"
    assert shifted.facts["backup_file"] == "backups/dhash_production_20260101_000000.zip"
    assert shifted.facts["health"] == "3 healthy checks in a row"
    assert shifted.facts["smoke"] == "passed: golden, submit_and_find"
    assert round(shifted.facts["duration_seconds"]) == 90
    assert accepted.message == "It was accepted: its window is over."
    assert {event.facts["deployment"] for event in ears.heard.values()} == {str(rollout)}


def test_what_preflight_failed_and_an_operator_overrode_is_told_with_who_and_why(
    journal: PublishingJournal, ears: Ears
) -> None:
    rollout = begin(journal)
    problems = ["pre-merge artifacts: they are about ddd", "reviews: nobody of ops has approved"]
    journal.note(rollout, OVERRIDDEN, operator="robin@host", reason="the site is down", problems=problems)
    told = list(ears.heard.values())[-1]
    assert (told.kind, told.level) == (Kind.OVERRIDDEN, Level.WARNING)
    assert told.facts["operator"] == "robin@host"
    for part in ("the site is down", *problems):
        assert part in told.facts["reason"]


@pytest.mark.parametrize(
    ("command", "outcome", "kind", "level"),
    [
        ("up", RolloutOutcome.COMPLETED, Kind.DEPLOYMENT_SUCCEEDED, Level.INFO),
        ("deploy", RolloutOutcome.ROLLED_BACK, Kind.DEPLOYMENT_FAILED, Level.ERROR),
        ("deploy", RolloutOutcome.FAILED, Kind.DEPLOYMENT_FAILED, Level.CRITICAL),
        ("rollback", RolloutOutcome.COMPLETED, Kind.ROLLBACK_SUCCEEDED, Level.WARNING),
        ("rollback", RolloutOutcome.FAILED, Kind.ROLLBACK_FAILED, Level.CRITICAL),
    ],
)
def test_every_end_is_published(
    journal: PublishingJournal, ears: Ears, command: str, outcome: RolloutOutcome, kind: Kind, level: Level
) -> None:
    rollout = begin(journal, command)
    journal.end(rollout, outcome, "golden pictures were rejected")
    told = list(ears.heard.values())[-1]
    assert (told.kind, told.level) == (kind, level)
    if outcome is not RolloutOutcome.COMPLETED:
        assert "golden pictures were rejected" in (told.facts.get("reason", "") + told.facts.get("error", ""))
    if kind is Kind.ROLLBACK_FAILED:
        assert told.facts["manual_command"].startswith("rollout rollback --to 1.4.0 --env production")


def test_a_deployment_that_a_rollback_closes_is_notified_of_and_a_rollback_that_one_takes_over_is_not(
    journal: PublishingJournal, ears: Ears
) -> None:
    deployment = begin(journal)
    first = begin(journal, "rollback", source="1.4.0", target="1.3.0", closes=deployment)
    begin(journal, "rollback", source="1.4.0", target="1.3.0", closes=first)
    assert ears.kinds() == [
        Kind.DEPLOYMENT_STARTED,
        Kind.DEPLOYMENT_FAILED,
        Kind.ROLLBACK_STARTED,
        Kind.ROLLBACK_STARTED,
    ]
    closed = list(ears.heard.values())[1]
    assert closed.facts["deployment"] == str(deployment)
    assert closed.facts["done"] == "a rollback to 1.3.0 was begun"


def test_a_backup_by_itself_is_no_news(journal: PublishingJournal, ears: Ears) -> None:
    journal.end(journal.begin("production", "backup", operator="robin"), RolloutOutcome.COMPLETED)
    assert ears.heard == {}


def test_a_rollout_published_again_after_a_crash_has_the_same_ids(
    journal: PublishingJournal, ears: Ears
) -> None:
    rollout = begin(journal)
    journal.end(rollout, RolloutOutcome.ROLLED_BACK, "it crashed")
    before = list(ears.heard)
    publish(journal.rollout(rollout), ears, datetime.now(UTC))
    assert list(ears.heard) == before
    assert len({event.id for event in events_of(journal.rollout(rollout))}) == 2


def test_old_history_is_not_published(journal: PublishingJournal, ears: Ears) -> None:
    rollout = begin(journal)
    ears.heard.clear()
    publish(journal.rollout(rollout), ears, datetime.now(UTC) + timedelta(days=1))
    assert ears.heard == {}


def test_a_command_s_log_lines_carry_the_rollout_s_id(journal: PublishingJournal, tmp_path: Path) -> None:
    with structlog.contextvars.bound_contextvars():
        rollout = begin(journal)
        log = LogFile.open(tmp_path / "monitor_logs", "deploy", "production")
        log.write("info", "rolling out")
        log.close()
    assert json.loads(log.path.read_text())["data"] == {"rollout": str(rollout)}


def test_what_a_killed_process_had_no_time_to_publish_is_notified_by_the_next(
    tmp_path: Path, clock: ManualClock, ears: Ears
) -> None:
    path = tmp_path / "journal.db"
    with PublishingJournal.open(path, clock=clock) as killed:  # it has no publisher yet
        rollout = begin(killed)
        killed.end(rollout, RolloutOutcome.ROLLED_BACK, "it does not start")
    with PublishingJournal.open(path, clock=clock) as journal:
        journal.publisher = ears
        journal.catch_up("production")
        journal.catch_up("production")
        journal.catch_up("staging")
    assert ears.kinds() == [Kind.DEPLOYMENT_STARTED, Kind.DEPLOYMENT_FAILED]


def test_a_rollback_of_the_monitor_is_notified_in_its_own_words(
    journal: PublishingJournal, ears: Ears
) -> None:
    journal.publisher = Ears()
    begin(journal, "rollback", operator=MONITOR)
    journal.publisher = ears
    journal.catch_up("production")
    assert not ears.heard
