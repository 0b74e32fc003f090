"""What is in flight when a release is accepted may end, and locks nobody out; what could not is counted."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from subprocess import CompletedProcess

import pytest

from guarded_rollout.errors import SlotDrainsError
from guarded_rollout.host.processes import WATCHER
from guarded_rollout.host.proxy import InFlight
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.lock import owner
from guarded_rollout.rollout.draining import ASKED
from guarded_rollout.rollout.runner import DeployResult
from guarded_rollout.status.headline import headline
from guarded_rollout.status.snapshot import Phase, read
from tests.guarded_rollout.rolloutkit import journal_of, last
from tests.guarded_rollout.sandbox import wait_until
from tests.guarded_rollout.streaming import GOING_AWAY, Request, Talks, WebSocket, events

pytestmark = pytest.mark.system


@pytest.fixture
def talks() -> Iterator[Talks]:
    made = Talks()
    try:
        yield made
    finally:
        made.close()


def replaced(talks: Talks, *paths: str) -> list[Request]:
    """Roll out a second release while the first one answers these; its window is open then."""
    talks.deploy()
    asked = [events(talks, path) if path in ("/events", "/deaf") else Request(talks, path) for path in paths]
    wait_until(lambda: talks.site.traffic.in_flight("blue").total == len(paths))
    talks.deploy("2")
    return asked


def promote(talks: Talks) -> DeployResult:
    with talks.engine() as engine:
        return engine.promote()


def resume(talks: Talks, **how: bool) -> DeployResult:
    with talks.engine() as engine:
        return engine.resume(patience=0, **how)


def finished(talks: Talks) -> bool:
    """Go on with an accepted rollout as its watchdog does."""
    return not last(talks).open or resume(talks).draining is None


def evidence(talks: Talks) -> object:
    with journal_of(talks) as journal:
        deployed = next(one for one in journal.history() if one.command in ("deploy", "up"))
    step = deployed.last("finish")
    assert step is not None
    return step.evidence


def succeeded(done: CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_streams_are_counted_apart_from_requests(talks):
    talks.deploy()
    socket = WebSocket(talks)
    asked = [Request(talks, talks.held), events(talks), events(talks)]
    wait_until(lambda: talks.site.traffic.in_flight("blue") == InFlight(requests=1, streams=3))
    assert str(InFlight(1, 3)) == "1 request and 3 streams"
    for one in asked:
        one.connection.close()
    socket.connection.close()


def test_a_request_that_outlasts_the_drain_ends_and_accepting_does_not_wait_for_it(talks):
    (slow,) = replaced(talks, talks.held)
    told = succeeded(talks.rollout("promote"))
    assert slow.is_alive()
    assert "still answers 1 request; it is stopped then, or in" in told
    assert owner(talks.environment.lock) is None
    seen = read(talks.environment)
    assert seen.phase is Phase.CLOSING
    assert headline(seen, None).title.endswith("was accepted")
    assert "deployment_succeeded" in events_published(talks)
    talks.let_go()
    slow.join(60)
    assert slow.whole
    wait_until(lambda: not last(talks).open, 60)
    assert last(talks).outcome is RolloutOutcome.COMPLETED
    assert evidence(talks)["cut_requests"] == 0
    assert "blue" not in talks.pids()


def events_published(talks: Talks) -> str:
    return " ".join(one.event.kind for one in read(talks.environment).deliveries.events)


def test_streams_are_closed_properly_and_come_again_to_the_new_release(talks):
    talks.deploy()
    first = talks.served_by()
    socket = WebSocket(talks)
    (stream,) = [events(talks)]
    wait_until(lambda: talks.site.traffic.in_flight("blue").streams == 2)
    talks.deploy("2")
    promote(talks)
    wait_until(lambda: finished(talks), 60)
    stream.join(10)
    socket.join(10)
    assert stream.whole
    assert first.encode() in stream.body
    assert socket.frames.endswith(GOING_AWAY)
    assert evidence(talks)["cut_requests"] == 0
    assert evidence(talks)["waited_seconds"] < talks.finish_seconds / 2
    again = events(talks)
    wait_until(lambda: talks.served_by().encode() in again.body)
    assert first.encode() not in again.body
    again.connection.close()


def test_what_had_to_be_cut_is_counted_and_reported(talks):
    talks.finish_seconds = 0
    talks.configure()
    asked = replaced(talks, talks.held, "/deaf")
    promote(talks)
    wait_until(lambda: finished(talks), 60)
    for one in asked:
        one.join(10)
        assert not one.whole
    assert evidence(talks)["cut_requests"] == 2


def test_a_rollback_is_not_held_up_and_leaves_the_request_alone(talks):
    (slow,) = replaced(talks, talks.held)
    first = last(talks).source
    assert promote(talks).draining
    succeeded(talks.rollout("rollback", "--to", "previous", "--force"))
    assert slow.is_alive()
    assert talks.served_by() == first
    talks.let_go()
    slow.join(60)
    assert slow.whole
    with journal_of(talks) as journal:
        back, deployed = journal.history(limit=2)
    assert (back.command, back.outcome) == ("rollback", RolloutOutcome.COMPLETED)
    assert (deployed.command, deployed.outcome) == ("deploy", RolloutOutcome.COMPLETED)


def test_a_rollback_after_the_streams_were_asked_starts_the_old_release_again(talks):
    replaced(talks, "/deaf")
    first = last(talks).source
    assert promote(talks).draining.asked
    succeeded(talks.rollout("rollback", "--to", "previous", "--force"))
    assert talks.served_by() == first


def test_a_deployment_waits_for_the_slot_without_the_lock(talks):
    (slow,) = replaced(talks, talks.held)
    succeeded(talks.rollout("promote"))
    talks.version("3")
    with ThreadPoolExecutor(1) as aside:
        deploying = aside.submit(talks.rollout, "deploy")
        for _ in range(100):  # it starts, and looks again and again
            assert owner(talks.environment.lock) is None
            time.sleep(0.05)
        assert slow.is_alive()
        talks.let_go()
        told = succeeded(deploying.result())
    assert "still answers 1 request: waiting up to" in told
    assert slow.whole


def test_a_deployment_that_meets_a_draining_slot_says_so_or_gives_it_the_drain_time(talks):
    (slow,) = replaced(talks, talks.held)
    assert promote(talks).draining
    with pytest.raises(SlotDrainsError, match="still answers 1 request"):
        talks.deploy("3")
    talks.deploy("3", supersede=True)
    slow.join(10)
    assert not slow.whole
    with journal_of(talks) as journal:
        before = journal.history(limit=2)[1]
    assert before.outcome is RolloutOutcome.COMPLETED
    assert before.last("finish").evidence["cut_requests"] == 1


def test_what_is_killed_while_it_waits_is_finished_by_the_next(talks):
    (slow,) = replaced(talks, talks.held)
    succeeded(talks.rollout("promote"))
    wait_until(lambda: WATCHER in talks.pids())
    os.kill(talks.pids()[WATCHER], signal.SIGKILL)
    talks.let_go()
    slow.join(60)
    assert slow.whole
    wait_until(lambda: not last(talks).open, 60)
    assert last(talks).outcome is RolloutOutcome.COMPLETED


def test_a_release_that_was_asked_to_stop_is_not_started_again(talks):
    """Whoever resumes comes after a crash: the release was asked, and drains still."""
    replaced(talks, "/deaf")
    assert promote(talks).draining.asked
    pid = talks.pids()["blue"]
    with talks.engine() as engine:
        engine.site.ensure()
    assert talks.pids().get("blue", pid) == pid
    wait_until(lambda: finished(talks), 60)
    assert "blue" not in talks.pids()
    assert last(talks).note(ASKED) is not None


def test_abort_says_that_it_was_accepted_and_leaves_it_to_finish(talks):
    (slow,) = replaced(talks, talks.held)
    succeeded(talks.rollout("promote"))
    second = last(talks).target
    told = succeeded(talks.rollout("abort"))
    assert "was accepted, and is left by `rollout rollback --to previous`" in told
    assert talks.served_by() == second
    talks.let_go()
    slow.join(60)
    assert slow.whole
    wait_until(lambda: not last(talks).open, 60)
