"""What an environment's files tell, when all is well and when it is not."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from guarded_rollout.config.environments import Environment, load
from guarded_rollout.files import write_atomic
from guarded_rollout.gates.panel import Change
from guarded_rollout.gates.verdict import GateOutcome, News, Verdict
from guarded_rollout.journal.model import StepOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import acquire
from guarded_rollout.logs import path_for
from guarded_rollout.monitor import heartbeat
from guarded_rollout.monitor.log import MonitorLog
from guarded_rollout.notify.events import Kind, event
from guarded_rollout.notify.outbox import Outbox
from guarded_rollout.rollout.window import PAUSED
from guarded_rollout.status.snapshot import Phase, Reader, Snapshot, read
from tests.guarded_rollout.manual_clock import ManualClock

STARTED = "1.0.0-wheel-aaaaaaaa"
NEXT = "1.1.0-wheel-bbbbbbbb"


@dataclass
class Files:
    """An environment's files, written by the real writers."""

    environment: Environment
    clock: ManualClock
    journal: Journal
    reader: Reader

    def read(self) -> Snapshot:
        return self.reader.read()

    def begin(self):
        rollout = self.journal.begin(
            "production", "up", operator="me@here", source=STARTED, target=NEXT, why="a new one"
        )
        self.journal.note(rollout, "plan", slot="green", steps=["stage", "shift", "watch"], back=False)
        return rollout

    def open_window(self, rollout, seconds: float = 600.0) -> None:
        self.journal.intend(rollout, "watch", seconds=seconds)

    def log(self, rollout) -> MonitorLog:
        log = MonitorLog.open(
            path_for(self.environment.logs, "dhash", "production", self.clock.now()), "production"
        )
        at = self.clock.now().timestamp()
        log.write(at, "info", "Monitoring", rollout=str(rollout), release=NEXT, began_at=at)
        return log


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    (tmp_path / "rollout.toml").write_text('[environments.production]\nport = 3999\nroot = "p"\n')
    environment = load(tmp_path / "rollout.toml").environment("production")
    environment.root.mkdir()
    clock = ManualClock()
    with Journal.open(environment.journal, clock=clock) as journal:
        reader = Reader(environment, clock)
        yield Files(environment, clock, journal, reader)
        reader.close()


def judged(outcome: GateOutcome, value: float, news: News = News.JUDGED, at: float = 1.0) -> Change:
    return Change(news, at, Verdict("error_rate", outcome, "because", 5.0, "%", value, samples=40, needed=20))


def test_an_empty_folder_tells_that_nothing_serves_and_is_left_empty(tmp_path: Path) -> None:
    (tmp_path / "rollout.toml").write_text('[environments.production]\nport = 3999\nroot = "p"\n')
    seen = read(load(tmp_path / "rollout.toml").environment("production"))
    assert (seen.phase, seen.unreadable, seen.history, seen.serving) == (Phase.EMPTY, (), (), None)
    assert os.listdir(tmp_path) == ["rollout.toml"]


def test_a_rollout_is_followed_from_its_first_step_to_its_end(files: Files) -> None:
    assert files.read().phase is Phase.EMPTY
    with acquire(files.environment.lock, environment="production", command="rollout up"):
        rollout = files.begin()
        files.journal.intend(rollout, "stage")
        seen = files.read()
        assert (seen.phase, seen.step, seen.candidate, seen.stable) == (
            Phase.ROLLING_OUT,
            "stage",
            NEXT,
            STARTED,
        )
        assert seen.planned_steps == ("stage", "shift", "watch")
        files.journal.settle(rollout, "stage", StepOutcome.DONE)
        files.open_window(rollout)
    files.clock.advance(60)
    assert (files.read().phase, files.read().window_left) == (Phase.WATCHING, 540.0)
    files.journal.note(rollout, PAUSED)
    assert files.read().phase is Phase.PAUSED
    files.journal.note(rollout, "undoing", cause="it failed")
    assert files.read().phase is Phase.INTERRUPTED, "nobody is at work on it"


def test_a_half_done_rollout_without_its_owner_is_interrupted(files: Files) -> None:
    rollout = files.begin()
    files.journal.intend(rollout, "stage")
    assert files.read().phase is Phase.INTERRUPTED


def test_a_rollout_that_ends_while_it_is_read_is_not_interrupted(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner is there when the journal is read, and has gone when everything else was."""
    open_rollout = Journal.open_rollout
    with ExitStack() as held:
        held.enter_context(acquire(files.environment.lock, environment="production", command="rollout up"))
        files.begin()

        def then_leaves(journal: Journal, environment: str) -> object:
            found = open_rollout(journal, environment)
            held.close()
            return found

        monkeypatch.setattr(Journal, "open_rollout", then_leaves)
        assert files.read().phase is Phase.ROLLING_OUT
    assert files.read().phase is Phase.INTERRUPTED, "had it not ended, this would be seen a moment later"


def test_verdicts_come_from_the_log_as_it_grows(files: Files) -> None:
    rollout = files.begin()
    files.open_window(rollout)
    log = files.log(rollout)
    log.change(judged(GateOutcome.PASS, 1.0))
    (first,) = files.read().session.judged
    assert (first.verdict.outcome, first.verdict.value, first.failing) == (GateOutcome.PASS, 1.0, False)
    log.change(judged(GateOutcome.FAIL, 9.0, News.FAILED))
    log.change(judged(GateOutcome.PASS, 4.0))
    (second,) = files.read().session.judged
    assert (second.verdict.value, second.failing) == (4.0, True), "not over before it recovers"
    log.change(judged(GateOutcome.PASS, 4.0, News.RECOVERED))
    assert not files.read().session.judged[0].failing
    with log.path.open("a") as file:
        file.write('{"timestamp": "2026-01-01T00:0')  # torn
    assert files.read().unreadable == ()


def test_who_watches_is_told_and_for_how_long_nobody_has(files: Files) -> None:
    rollout = files.begin()
    files.open_window(rollout)
    log = files.log(rollout)
    heartbeat.beat(files.environment, files.clock.instant(), str(rollout), 0.0, log.path)
    assert files.read().unwatched_seconds == 0.0
    files.clock.advance(90)
    assert files.read().unwatched_seconds == 90.0, "it runs, and beats no more"


def test_a_journal_that_cannot_be_read_is_said_since_when_and_the_last_reading_stands(files: Files) -> None:
    files.open_window(files.begin())
    assert files.read().phase is Phase.WATCHING
    for suffix in ("", "-wal", "-shm"):
        os.rename(f"{files.environment.journal}{suffix}", files.environment.root / f"aside{suffix}")
    files.environment.journal.write_bytes(b"no database at all, and long enough to be looked at " * 40)
    since = files.clock.now().timestamp()
    files.read()
    files.clock.advance(40)
    seen = files.read()
    assert seen.phase is Phase.WATCHING
    (unreadable,) = seen.unreadable
    assert (unreadable.what, unreadable.since) == ("the journal", since)
    for suffix in ("", "-wal", "-shm"):
        os.replace(files.environment.root / f"aside{suffix}", f"{files.environment.journal}{suffix}")
    assert files.read().unreadable == (), "and it is read again when it can be"


def test_a_locked_journal_is_waited_for_no_longer_than_an_eye_blink(files: Files) -> None:
    files.begin()
    files.journal.close()
    other = sqlite3.connect(files.environment.journal, isolation_level=None)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    begun = time.monotonic()
    seen = files.read()
    assert time.monotonic() - begun < 3
    other.close()
    assert [(one.what, "locked" in one.reason) for one in seen.unreadable] == [("the journal", True)]
    assert files.read().unreadable == ()


def test_a_damaged_journal_hides_nothing_else(files: Files) -> None:
    files.journal.close()
    for path in files.environment.root.glob("journal.db*"):
        path.unlink()
    files.environment.journal.write_bytes(b"no database at all, and long enough to be looked at " * 40)
    write_atomic(_folder(files.environment.run) / "green_share", "8000")
    seen = files.read()
    assert [one.what for one in seen.unreadable] == ["the journal"]
    assert [one.percent for one in seen.slots] == [50, 50]


def test_a_damaged_share_is_said(files: Files) -> None:
    write_atomic(_folder(files.environment.run) / "green_share", "zz")
    assert [one.what for one in files.read().unreadable] == ["the traffic's share"]


def test_what_was_told_and_what_waits_is_seen_without_touching_the_outbox(files: Files) -> None:
    outbox = Outbox.open(files.environment.root / "notifications.db")
    outbox.put(
        event(Kind.GATE_ALERT, "production", files.clock.now(), gate="health"), ["slack"], files.clock.now()
    )
    log = files.read().deliveries
    assert (log.pending, [one.key for one in log.incidents]) == (1, ["gate:health"])
    assert log.events[0].results["slack"].state == "pending"
    outbox.close()


def test_looking_at_what_has_not_changed_costs_little(files: Files) -> None:
    rollout = files.begin()
    files.open_window(rollout)
    log = files.log(rollout)
    for _ in range(5_000):
        log.change(judged(GateOutcome.PASS, 1.0))
    begun = time.process_time()
    files.read()
    first = time.process_time() - begun
    begun = time.process_time()
    for _ in range(200):
        files.read()
    assert (time.process_time() - begun) / 200 < first / 5, "seconds of CPU for a further look"


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
