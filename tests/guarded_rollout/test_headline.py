"""What is happening and what to do, in one sentence each, for every state an environment can be in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from guarded_rollout.clock import duration
from guarded_rollout.host.release import short
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.lock import acquire
from guarded_rollout.status.headline import Headline, headline
from guarded_rollout.status.snapshot import read
from guarded_rollout.status.terminal import above
from tests.guarded_rollout.manual_clock import ManualClock
from tests.guarded_rollout.ui.uikit import NEW, OLD, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, ManualClock())
    yield made
    made.close()


def said(place: Place) -> Headline:
    return headline(read(place.environment, place.clock), place.gates)


def test_nothing_serves_yet(place: Place) -> None:
    assert said(place) == Headline("", "Nothing serves in production yet", "", "Roll out a release.")


def test_a_first_deployment_that_failed_says_why(place: Place) -> None:
    rollout = place.journal.begin("production", "up", operator="me", target=NEW)
    place.journal.end(rollout, RolloutOutcome.FAILED, "it never got healthy.")
    found = said(place)
    assert (found.tone, found.title) == ("bad", f"{NEW} could not be rolled out")
    assert found.detail == "it never got healthy. Nothing serves."
    assert found.more == str(rollout)


def test_a_rollout_under_way_names_its_step(place: Place) -> None:
    place.release(OLD, "blue")
    place.running()
    with acquire(place.environment.lock, environment="production", command="rollout up"):
        rollout = place.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
        place.journal.intend(rollout, "verify")
        assert said(place).title == f"Rolling out {NEW}: verify"
        place.journal.note(rollout, "gate", gate="health", news="failed", reason="3 in a row")
        assert (said(place).tone, said(place).detail) == ("bad", "Quality gate failed: health: 3 in a row")


def test_a_share_that_is_held_tells_which_comes_next_and_when(place: Place) -> None:
    place.release(OLD, "blue")
    place.running()
    first = place.environment.traffic[0]
    with acquire(place.environment.lock, environment="production", command="rollout up"):
        rollout = place.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
        place.journal.intend(rollout, "shift")
        place.journal.note(rollout, "share", percent=first.percent)
        place.clock.sleep(first.hold_seconds - 2)
        seen = read(place.environment, place.clock)
        found = headline(seen, place.gates)
        assert found.title == f"Shifting traffic to {NEW}: {first.percent} %"
        assert found.sentence(seen.read_at) == f"{found.title}, next step in 2 s"
        assert found.sentence(seen.read_at + 3) == found.title
        drawn = "\n".join(line.plain for line in above(seen, place.gates, 80))
    assert f"Shifting traffic to {short(NEW)}: {first.percent} %, next step in 2 s" in drawn
    assert f"● shift {duration(first.hold_seconds - 2)}" in drawn
    assert short(OLD) in drawn
    assert OLD not in drawn


def test_a_release_that_is_taken_back_says_why(place: Place) -> None:
    rollout = place.watched()
    with acquire(place.environment.lock, environment="production", command="rollout abort"):
        place.journal.note(rollout, "undoing", cause="users see wrong matches")
        found = said(place)
    assert (found.tone, found.title) == ("warn", f"{NEW} is being taken back")
    assert found.detail == f"users see wrong matches. {OLD} gets its traffic."
    assert said(place).title == "Interrupted at watch, and nobody is at work on it"


def test_a_window_that_is_over_is_about_to_be_accepted(place: Place) -> None:
    rollout = place.watched()
    place.clock.advance(3700)
    place.log(rollout)
    assert said(place).title == f"The window of {NEW} is over"


def test_a_window_that_nobody_watches_is_an_alarm_that_names_the_command(place: Place) -> None:
    place.watched()
    place.clock.advance(100)
    found = said(place)
    assert (found.tone, found.title) == ("bad", f"Nobody watches {NEW}")
    assert "`rollout monitor --env production`" in found.todo


def test_a_rollback_that_failed_says_the_manual_command(place: Place) -> None:
    bad = place.watched()
    back = place.journal.begin("production", "rollback", operator="me", source=NEW, target=OLD, closes=bad)
    place.journal.note(back, "plan", back=True, slot="blue", steps=[])
    place.journal.end(back, RolloutOutcome.FAILED, "shift: no disk")
    found = said(place)
    assert (found.tone, found.title) == ("bad", f"The rollback to {OLD} FAILED")
    assert found.todo == f"`rollout rollback --to {OLD} --env production --force`"
    assert found.more == str(bad)


def test_a_rollback_leads_to_the_rollout_that_it_ended(place: Place) -> None:
    bad = place.watched()
    back = place.journal.begin(
        "production", "rollback", operator="the monitor", source=NEW, target=OLD, why="health", closes=bad
    )
    place.journal.note(back, "plan", back=True, slot="blue", steps=[])
    place.journal.end(back, RolloutOutcome.COMPLETED)
    found = said(place)
    assert (found.tone, found.title, found.more) == ("warn", f"{NEW} was rolled back", str(bad))


def test_what_has_traffic_and_does_not_run_comes_before_all_else(place: Place) -> None:
    place.log(place.watched())
    (place.environment.root / "supervisor" / "green.lock").unlink()
    found = said(place)
    assert (found.tone, found.title) == ("bad", f"{NEW} does not run")
    assert "rollout start" in found.todo


def test_cautions_stand_beside_the_answer(place: Place) -> None:
    place.log(place.watched())
    assert said(place).cautions == ()
    for name in ("blue.lock", "supervisord.pid"):
        (place.environment.root / "supervisor" / name).unlink()
    assert said(place).cautions == (
        "The supervisor does not run: nothing restarts what dies.",
        f"{OLD} is not warm: going back starts it first.",
    )
