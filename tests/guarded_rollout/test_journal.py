import os
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from uuid import uuid4

import pytest

from guarded_rollout.errors import (
    JournalDamagedError,
    NotWritableError,
    RolloutEndedError,
    RolloutOpenError,
    UnknownRolloutError,
)
from guarded_rollout.journal.model import EntryKind, RolloutOutcome, StepOutcome
from guarded_rollout.journal.store import Journal
from tests.guarded_rollout.manual_clock import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def journal(tmp_path, clock):
    with Journal.open(tmp_path / "state" / "journal.db", clock=clock) as journal:
        yield journal


def deploy(journal: Journal, target: str = "1.1.0", **more):
    return journal.begin("production", "deploy", operator="ops", source="1.0.0", target=target, **more)


def test_a_rollout_is_told_by_its_events(journal, clock):
    rollout = deploy(journal, why="new matching")
    with journal.step(rollout, "backup", folder="backups") as evidence:
        clock.advance(2)
        evidence["file"] = "backups/dhash_production_20260101_000000.zip"
    journal.note(rollout, "share", green=0.5)
    clock.advance(60)
    journal.end(rollout, RolloutOutcome.COMPLETED, "window closed")

    told = journal.rollout(rollout)
    assert (told.command, told.operator, told.source, told.target) == ("deploy", "ops", "1.0.0", "1.1.0")
    assert told.why == "new matching"
    assert told.outcome is RolloutOutcome.COMPLETED
    assert told.reason == "window closed"
    assert told.ended_at - told.started_at == timedelta(seconds=62)
    [backup] = told.steps
    assert backup.outcome is StepOutcome.DONE
    assert backup.ended_at - backup.started_at == timedelta(seconds=2)
    assert backup.plan == {"folder": "backups"}
    assert backup.evidence == {"file": "backups/dhash_production_20260101_000000.zip"}
    assert told.note("share").data == {"green": 0.5}


def test_ids_are_version_7_and_history_is_newest_first(journal):
    ids = []
    for number in range(5):
        ids.append(deploy(journal, f"1.{number}.0"))
        journal.end(ids[-1], RolloutOutcome.COMPLETED)
    assert {id_.version for id_ in ids} == {7}
    assert [rollout.id for rollout in journal.history("production", limit=3)] == ids[:1:-1]
    assert journal.history("staging") == []
    assert len(journal.history()) == 5


def test_a_step_that_raises_is_journalled_as_failed_with_its_error(journal):
    rollout = deploy(journal)

    def interrupted():
        with journal.step(rollout, "shift") as evidence:
            evidence["share"] = 0.1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    step = journal.rollout(rollout).last("shift")
    assert step.outcome is StepOutcome.FAILED
    assert step.evidence == {"share": 0.1, "error": "KeyboardInterrupt"}
    assert journal.rollout(rollout).unfinished is None


def test_a_step_run_again_after_a_crash_is_not_unfinished_any_more(journal):
    rollout = deploy(journal)
    journal.intend(rollout, "stage")
    journal.intend(rollout, "verify")
    assert journal.rollout(rollout).unfinished.name == "verify"
    with journal.step(rollout, "verify"):
        pass
    assert journal.rollout(rollout).unfinished.name == "stage"
    assert journal.rollout(rollout).done("verify")
    journal.settle(rollout, "verify", StepOutcome.UNDONE)
    assert not journal.rollout(rollout).done("verify")


def test_one_open_rollout_per_environment(journal):
    first = deploy(journal)
    with pytest.raises(RolloutOpenError, match=r"production has an open rollout: `deploy` to 1\.1\.0"):
        deploy(journal, "1.2.0")
    assert journal.begin("staging", "deploy", operator="ops", target="1.2.0")
    assert journal.begin("production", "backup", operator="ops")  # replaces nothing, so it may
    assert journal.open_rollout("production").id == first


def test_a_rollback_closes_the_open_rollout_in_the_same_transaction(journal):
    first = deploy(journal)
    back = journal.begin("production", "rollback", operator="ops", target="1.0.0", closes=first)
    assert journal.rollout(first).reason == "rollback by ops"
    assert journal.rollout(first).outcome is RolloutOutcome.ROLLED_BACK
    assert journal.open_rollout("production").id == back
    with pytest.raises(RolloutEndedError):
        journal.begin("production", "rollback", operator="ops", target="0.9.0", closes=first)
    assert len(journal.history()) == 2
    journal.end(back, RolloutOutcome.COMPLETED)
    journal.begin("production", "backup", operator="ops")
    assert [one.id for one in journal.deployments("production")] == [back, first]


def test_what_a_rollback_closes_tells_why(journal):
    first = journal.begin("production", "up", operator="ops", source="1.0.0", target="1.1.0")
    why = "failed_requests: 12 % (limit 5 %)"
    journal.begin("production", "rollback", operator="the monitor", target="1.0.0", why=why, closes=first)
    assert journal.rollout(first).reason == why


def test_nothing_is_added_to_a_rollout_that_ended_or_never_was(journal):
    rollout = deploy(journal)
    journal.end(rollout, RolloutOutcome.FAILED)
    with pytest.raises(RolloutEndedError):
        journal.note(rollout, "share", green=1)
    with pytest.raises(RolloutEndedError):
        journal.end(rollout, RolloutOutcome.COMPLETED)
    with pytest.raises(UnknownRolloutError):
        journal.intend(uuid4(), "stage")
    assert [event.kind for event in journal.events(rollout)] == [EntryKind.END]


@pytest.mark.parametrize("statement", ["DELETE FROM event", "UPDATE rollout SET why = 'x'"])
def test_the_database_itself_refuses_to_forget(journal, tmp_path, statement):
    journal.note(deploy(journal), "share", green=1)
    other = sqlite3.connect(tmp_path / "state" / "journal.db")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        other.execute(statement)
    other.close()


def test_a_missing_journal_reads_as_empty_and_stays_missing(tmp_path):
    with Journal.open(tmp_path / "journal.db", create=False) as journal:
        assert journal.history() == []
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_journal_is_named(tmp_path):
    path = tmp_path / "journal.db"
    with Journal.open(path) as journal:
        for _ in range(50):
            journal.end(deploy(journal), RolloutOutcome.FAILED, "x" * 500)
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with (
        Journal.open(path) as journal,
        pytest.raises(JournalDamagedError, match=r"journal\.db cannot be read"),
    ):
        journal.history()
    path.write_bytes(b"not a database at all, but long enough to have a header" * 20)
    with pytest.raises(JournalDamagedError, match=r"journal\.db cannot be read"):
        Journal.open(path)


def test_a_folder_in_the_way_is_a_clear_error(tmp_path):
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(NotWritableError):
        Journal.open(tmp_path / "journal.db")


WRITER = """
import sys, itertools
from pathlib import Path
from guarded_rollout.journal.store import Journal
journal = Journal.open(Path(sys.argv[1]))
rollout = journal.begin("production", "deploy", operator="ops", target="1.1.0")
for number in itertools.count():
    with journal.step(rollout, f"step-{number}"):
        journal.note(rollout, "n", number=number)
        print(number, flush=True)
"""


@pytest.mark.parametrize("after", [0, 3, 17])
def test_kill_9_loses_nothing_that_was_written(tmp_path, after):
    path = tmp_path / "journal.db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        while int(writer.stdout.readline()) < after:
            pass
    finally:
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().split()
        writer.wait()
    last = int(said[-1]) if said else after
    with Journal.open(path) as journal:
        rollout = journal.open_rollout("production")
        assert all(step.outcome is StepOutcome.DONE for step in rollout.steps[:last])
        assert rollout.note("n").data["number"] >= last
        with journal.step(rollout.id, "resumed"):
            pass
        journal.end(rollout.id, RolloutOutcome.FAILED, "killed")


def write_some(path: Path, environment: str) -> None:
    with Journal.open(path) as journal:
        for number in range(15):
            rollout = journal.begin(environment, "deploy", operator="ops", target=str(number))
            with journal.step(rollout, "stage"):
                assert journal.open_rollout(environment).unfinished.name == "stage"
            journal.end(rollout, RolloutOutcome.COMPLETED)


def test_several_processes_begin_write_and_read_it_at_once(tmp_path):
    path = tmp_path / "journal.db"
    writers = [
        get_context("spawn").Process(target=write_some, args=(path, name))
        for name in ("production", "staging", "development")
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        with Journal.open(path) as journal:
            for rollout in journal.history(limit=5):
                assert len(rollout.steps) <= 1
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    with Journal.open(path) as journal:
        assert len(journal.history(limit=100)) == 45
