"""The window as the notes tell it, without a machine."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from guarded_rollout.clock import Instant
from guarded_rollout.journal.model import (
    PLAN,
    UNDOING,
    EntryKind,
    JournalEntry,
    Rollout,
    StepOutcome,
    StepRun,
)
from guarded_rollout.rollout.window import (
    PAUSED,
    PROMOTED,
    RESUMED,
    WATCH,
    Window,
    accepted,
    instant_of,
    mark,
    window,
    window_seconds,
)
from tests.guarded_rollout.gatekit import SHIPPED
from tests.guarded_rollout.manual_clock import ManualClock

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOBODY = UUID(int=0)


def at(second: float, boot: str = "b") -> Instant:
    """A moment by the steady clock, on a machine whose wall clock stands still."""
    return Instant(BEGAN, boot, 1000 + second)


def note(name: str, second: float = 0.0, **data: object) -> JournalEntry:
    data = {"boot": "b", "steady": 1000 + second, **data}
    read = "".join([*name])  # as from a file: equal to the constant, and another string
    return JournalEntry(1, NOBODY, EntryKind.NOTE, read, BEGAN, data)


def watched(*notes: JournalEntry, **step: Any) -> Rollout:
    """A rollout whose window of 60 s opened at second 0."""
    plan = {"seconds": 60, "boot": "b", "steady": 1000.0}
    run = replace(StepRun(WATCH, BEGAN, plan), **step)
    return Rollout(NOBODY, "production", "up", "me", "a", "b", "", BEGAN, (run,), notes)


def opened(*notes: JournalEntry) -> Window:
    found = window(watched(*notes))
    assert found is not None
    return found


def test_there_is_none_before_it_was_opened() -> None:
    assert window(replace(watched(), steps=())) is None


def test_it_runs_from_the_steps_intent_and_never_below_zero() -> None:
    found = opened()
    assert (found.paused, found.promoted, found.watched_before) == (False, False, 0)
    assert [found.left(at(second)) for second in (0, 20, 60, 61)] == [60, 40, 0, 0]
    assert found.opened_at(at(20)) == BEGAN - timedelta(seconds=20)


def test_it_stands_still_while_it_is_paused() -> None:
    paused = opened(note(PAUSED, 10))
    assert paused.paused
    assert paused.left(at(500)) == 50
    resumed = opened(note(PAUSED, 10), note(RESUMED, 500))
    assert not resumed.paused
    assert (resumed.left(at(500)), resumed.left(at(520))) == (50, 30)
    again = opened(note(PAUSED, 10), note(RESUMED, 500), note(PAUSED, 515), note(RESUMED, 600))
    assert again.left(at(605)) == 60 - 10 - 15 - 5


def test_what_is_said_twice_counts_once() -> None:
    assert opened(note(PAUSED, 10), note(PAUSED, 30)).left(at(40)) == 50
    assert opened(note(RESUMED, 30)).left(at(40)) == 20
    assert opened(note(PAUSED, 10), note(RESUMED, 20), note(RESUMED, 40)).left(at(50)) == 20


def test_other_notes_leave_it_as_it_is() -> None:
    assert opened(note("aborting", 5), note("shifted", 10)).left(at(20)) == 40
    assert opened(note(PAUSED, 10), note("aborting", 20), note("shifted", 30)).left(at(40)) == 50


def test_a_promoted_one_is_over_at_once() -> None:
    found = opened(note("shifted", 1), note(PROMOTED, 5))
    assert found.promoted
    assert found.left(at(6)) == 0
    assert not opened(note("shifted", 1)).promoted


def test_a_note_without_a_steady_time_is_counted_by_the_wall_clock() -> None:
    bare = JournalEntry(1, NOBODY, EntryKind.NOTE, PAUSED, BEGAN + timedelta(seconds=7), {})
    assert instant_of(bare) == Instant(BEGAN + timedelta(seconds=7), "", 0.0)
    assert opened(bare).left(at(500)) == 53


def test_a_note_says_its_moment_as_it_was_marked() -> None:
    clock = ManualClock()
    clock.advance(12.5)
    now = clock.instant()
    entry = JournalEntry(1, NOBODY, EntryKind.NOTE, PAUSED, now.at, mark(clock))
    assert instant_of(entry) == now


@pytest.mark.parametrize("outcome", [StepOutcome.DONE, StepOutcome.SKIPPED])
def test_it_was_closed_for_good_once_its_step_is_done_and_nothing_is_taken_back(outcome: StepOutcome) -> None:
    assert accepted(watched(outcome=outcome))
    assert accepted(watched(note(PLAN, back=False), outcome=outcome))
    assert not accepted(watched(outcome=None))
    assert not accepted(watched(outcome=StepOutcome.UNDONE))
    assert not accepted(watched(note(PLAN, back=True), outcome=outcome))
    assert not accepted(watched(note(UNDOING), outcome=outcome))


def test_the_gates_file_says_for_how_long_in_minutes() -> None:
    environment: Any = SimpleNamespace(gates=SHIPPED, name="production")
    assert window_seconds(environment) == 3600
