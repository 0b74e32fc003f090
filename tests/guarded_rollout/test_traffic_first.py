"""Whatever the candidate does, a rollback moves traffic before it starts or waits for anything."""

import os
import signal
import time

import pytest

from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.notify.notifier import publisher_for
from guarded_rollout.rollout.announce import PublishingJournal
from guarded_rollout.rollout.engine import Engine, Request
from guarded_rollout.rollout.monitor_adapter import EngineRollouts
from tests.guarded_rollout.rolloutkit import last
from tests.guarded_rollout.sandbox import Sandbox

pytestmark = pytest.mark.system
AT_ONCE = 0.1
TRIES = 2  # a busy machine may hold one of them up; a wait holds up all


def moved_after(sandbox: Sandbox, decided: float) -> float:
    """The seconds from a decision to the share file; both by the wall clock."""
    return sandbox.site.traffic.share_file.stat().st_mtime - decided


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def die(pid: int) -> None:
    """The supervisor is about to start it again, and again."""
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("does", [stop, die])
def test_a_rollback_by_the_monitor_moves_traffic_at_once_whatever_the_candidate_does(sandbox, does):
    old = sandbox.deploy().release
    took = []
    for attempt in range(TRIES):
        sandbox.deploy(f"2.{attempt}.0")
        does(sandbox.pids()[sandbox.site.traffic.serving()])
        rollouts = EngineRollouts(sandbox.environment, sandbox.site.clock, lambda line: None)
        assert rollouts.open_window() is not None
        decided = time.time()
        rollouts.roll_back("it does not answer", quarantine=False)
        rollouts.close()
        assert sandbox.served_by() == old.id
        took.append(moved_after(sandbox, decided))
    assert min(took) < AT_ONCE, took


def test_an_operators_rollback_and_abort_move_traffic_at_once_and_tell_of_it(sandbox):
    old = sandbox.deploy().release
    took = []
    for attempt in range(TRIES):
        sandbox.deploy(f"2.{attempt}.0")
        stop(sandbox.pids()[sandbox.site.traffic.serving()])
        with (
            publisher_for(sandbox.environment, clock=sandbox.site.clock) as publisher,
            PublishingJournal.open(sandbox.environment.journal) as journal,
        ):
            journal.publisher = publisher
            engine = Engine(sandbox.site, journal, lambda line: None)
            decided = time.time()
            if attempt:
                engine.roll_back(old, Request("rollback", "test"))
            else:
                engine.abort("users see wrong matches")
        took.append(moved_after(sandbox, decided))
        assert sandbox.served_by() == old.id
    assert min(took) < AT_ONCE, took


def test_traffic_moves_first_although_supervisor_and_proxy_are_dead(sandbox):
    old = sandbox.deploy().release
    sandbox.deploy("2.0.0")
    stop(sandbox.pids()[sandbox.site.traffic.serving()])
    os.kill(sandbox.supervisor_pid(), signal.SIGKILL)
    os.kill(sandbox.pids()["proxy"], signal.SIGKILL)
    decided = time.time()
    with sandbox.engine() as engine:
        engine.roll_back(old, Request("rollback", "test"))
    assert moved_after(sandbox, decided) < 5 * AT_ONCE
    assert sandbox.served_by() == old.id
    assert last(sandbox).outcome is RolloutOutcome.COMPLETED


def test_a_cold_release_that_served_well_is_back_with_its_first_healthy_answer(sandbox):
    """It is verified once, on the public port; the copy of what it replaces is taken when it serves."""
    old = sandbox.deploy().release
    new = sandbox.deploy("2.0.0").release
    with sandbox.engine() as engine:
        engine.promote()
    decided = time.time()
    with sandbox.engine() as engine:
        engine.roll_back(old, Request("rollback", "test"))
    assert moved_after(sandbox, decided) < 5
    rollout = last(sandbox)
    shift, safety = rollout.last("shift"), rollout.last("safety")
    assert shift.ended_at <= safety.started_at
    assert rollout.last("verify").evidence["health"]["healthy_checks"] == 1
    assert rollout.last("validate").evidence["checks"] == {"passed": ["submit", "find"]}
    assert sandbox.slot_of(new.id) is None
