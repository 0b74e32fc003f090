"""Phases of a command, from events written by hand."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from bench.phases import BETWEEN, FIRST, LAST, Phase, means, phases

from guarded_rollout.journal.model import EntryKind, JournalEntry, StepOutcome


def event(kind: EntryKind, name: str, at: float, outcome: StepOutcome | None = None) -> JournalEntry:
    data = {"outcome": outcome} if outcome else {}
    return JournalEntry(0, UUID(int=1), kind, name, datetime.fromtimestamp(at, UTC), data)


def intent(name: str, at: float) -> JournalEntry:
    return event(EntryKind.INTENT, name, at)


def done(name: str, at: float) -> JournalEntry:
    return event(EntryKind.OUTCOME, name, at, StepOutcome.DONE)


def undone(name: str, at: float) -> JournalEntry:
    return event(EntryKind.OUTCOME, name, at, StepOutcome.UNDONE)


def test_steps_and_what_is_around_them_add_up_to_the_command() -> None:
    deploy = [
        event(EntryKind.NOTE, "plan", 101.5),
        intent("stage", 102),
        event(EntryKind.NOTE, "share", 103),
        done("stage", 105),
        intent("verify", 105.25),
        done("verify", 108),
        intent("watch", 108.5),
    ]
    assert phases(deploy, 100, 110) == [
        Phase(FIRST, 2),
        Phase("stage", 3),
        Phase("verify", 2.75),
        Phase(BETWEEN, 0.75),
        Phase(LAST, 1.5),
    ]


def test_an_undone_step_began_where_the_one_after_it_ended() -> None:
    abort = [
        event(EntryKind.NOTE, "undoing", 201),
        undone("watch", 201.5),
        undone("shift", 203.5),
        event(EntryKind.END, "rolled_back", 204),
    ]
    assert phases(abort, 200, 205) == [
        Phase(FIRST, 1),
        Phase("undo watch", 0.5),
        Phase("undo shift", 2),
        Phase(LAST, 1.5),
    ]


def test_other_commands_events_are_left_out() -> None:
    journal = [
        intent("stage", 50),
        done("stage", 99),
        intent("shift", 101),
        done("shift", 102),
        intent("x", 111),
    ]
    assert phases(journal, 100, 110) == [Phase(FIRST, 1), Phase("shift", 1), Phase(LAST, 8)]


def test_a_command_without_steps_is_one_phase() -> None:
    assert phases([], 100, 101) == [Phase(LAST, 1)]


def test_a_step_that_never_ended_is_after_the_last() -> None:
    assert phases([intent("stage", 101)], 100, 110) == [Phase(FIRST, 1), Phase(LAST, 9)]


def test_means_of_phases_add_up_to_the_mean_of_the_whole() -> None:
    one = [Phase(FIRST, 1), Phase("stage", 2), Phase(LAST, 1)]
    other = [Phase(FIRST, 3), Phase("stage", 4), Phase("backup", 2), Phase(LAST, 1)]
    found = means([one, other])
    assert found == [Phase(FIRST, 2), Phase("stage", 3), Phase("backup", 1), Phase(LAST, 1)]
    assert sum(phase.seconds for phase in found) == pytest.approx((4 + 10) / 2)
