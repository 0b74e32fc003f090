"""`rollout wait`: until the open rollout has ended, and how it ended."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from guarded_rollout.cli import wait
from guarded_rollout.clock import SystemClock
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.lock import acquire
from guarded_rollout.monitor.heartbeat import MISSED_SECONDS
from guarded_rollout.status.snapshot import read
from tests.guarded_rollout.advicekit import rollout
from tests.guarded_rollout.manual_clock import ManualClock
from tests.guarded_rollout.ui.uikit import NEW, OLD, Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path, SystemClock())
    monkeypatch.setenv("ROLLOUT_TOML", str(tmp_path / "rollout.toml"))
    made.release(OLD, "blue")
    made.running()
    yield made
    made.close()


def test_where_none_is_open_nothing_is_waited_for(place: Place) -> None:
    code, said = rollout("wait", "--json")
    assert (code, json.loads(said.splitlines()[-1])["release"]) == (0, OLD)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [(RolloutOutcome.COMPLETED, 0), (RolloutOutcome.ROLLED_BACK, 2), (RolloutOutcome.FAILED, 2)],
)
def test_its_exit_code_says_how_the_rollout_ended(
    place: Place, outcome: RolloutOutcome, expected: int
) -> None:
    opened = place.journal.begin("production", "up", operator="me", source=OLD, target=NEW)

    def end() -> None:
        place.journal.end(opened, outcome, "said so")
        place.environment.lock.write_text("")  # as who is at work does when it ends

    with acquire(place.environment.lock, environment="production", command="rollout up"):
        threading.Timer(0.5, end).start()
        code, said = rollout("wait", "--json")
    assert (code, json.loads(said.splitlines()[-1])["outcome"]) == (expected, outcome)


def test_a_rollback_that_follows_is_waited_for_and_is_no_good_news(place: Place) -> None:
    opened = place.journal.begin("production", "up", operator="me", source=OLD, target=NEW)

    def roll_back() -> None:
        back = place.journal.begin(
            "production", "rollback", operator="monitor", source=NEW, target=OLD, why="slow", closes=opened
        )
        threading.Timer(1.2, end, [back]).start()

    def end(back: UUID) -> None:
        place.journal.end(back, RolloutOutcome.COMPLETED)
        place.environment.lock.write_text("")

    with acquire(place.environment.lock, environment="production", command="rollout monitor"):
        threading.Timer(0.7, roll_back).start()
        code, said = rollout("wait", "--json")
    told = json.loads(said.splitlines()[-1])
    assert (code, told["outcome"], told["reason"]) == (2, RolloutOutcome.ROLLED_BACK, "slow")


def test_what_was_taken_back_before_anybody_waited_is_told_of_the_release_that_is_meant(place: Place) -> None:
    opened = place.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
    place.journal.end(opened, RolloutOutcome.ROLLED_BACK, "health: 3 in a row")
    assert rollout("wait")[0] == 0
    assert rollout("wait", "--release", OLD)[0] == 0
    code, said = rollout("wait", "--release", NEW)
    assert code == 2
    assert "was taken back: health: 3 in a row." in said


def test_one_that_nobody_works_on_is_not_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "PATIENCE_SECONDS", 0.0)
    place.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
    code, said = rollout("wait")
    assert code == 1
    assert "it was interrupted" in said
    assert "`rollout resume` continues it" in said


def test_the_time_that_is_waited_has_an_end(place: Place) -> None:
    place.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
    with acquire(place.environment.lock, environment="production", command="rollout up"):
        code, said = rollout("wait", "--timeout", "0.1")
    assert code == 1
    assert "has not ended within" in said


def test_a_window_without_a_watcher_stands_still_only_after_a_minute(tmp_path: Path) -> None:
    place = Place(tmp_path, ManualClock())
    try:
        place.running()
        place.watched()
        assert wait.standstill(read(place.environment, place.clock)) == ""
        place.clock.sleep(MISSED_SECONDS + 1)
        assert "nobody has watched it" in wait.standstill(read(place.environment, place.clock))
    finally:
        place.close()
