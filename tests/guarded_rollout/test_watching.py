"""The monitor's way to the engine, while operators are at work on the same rollout."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from guarded_rollout.clock import SystemClock
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import acquire
from guarded_rollout.rollout.monitor_adapter import EngineRollouts
from tests.guarded_rollout.sandbox import Sandbox


@pytest.fixture
def watched(sandbox: Sandbox) -> Sandbox:
    """The second release is being watched; the first one is warm."""
    sandbox.deploy()
    sandbox.deploy("2.0.0")
    return sandbox


@pytest.fixture
def rollouts(watched: Sandbox) -> Iterator[EngineRollouts]:
    with closing(EngineRollouts(watched.environment, SystemClock(), lambda line: None)) as made:
        yield made


def commands(sandbox: Sandbox) -> list[str]:
    with Journal.open(sandbox.environment.journal) as journal:
        return [rollout.command for rollout in journal.history("production", limit=10)]


def test_what_an_operator_has_taken_back_meanwhile_is_not_rolled_back_again(
    watched: Sandbox, rollouts: EngineRollouts
) -> None:
    assert rollouts.open_window() is not None
    with watched.engine() as engine:
        engine.abort("an operator was quicker")
    before = commands(watched)
    rollouts.roll_back("a gate broke at the same moment", False)
    assert commands(watched) == before


def test_what_nobody_has_taken_back_is_rolled_back(watched: Sandbox, rollouts: EngineRollouts) -> None:
    old = watched.site.slots.release("blue")
    assert rollouts.open_window() is not None
    rollouts.roll_back("a gate broke", False)
    assert commands(watched)[0] == "rollback"
    assert old is not None
    assert watched.served_by() == old.id


def test_a_window_tells_whether_somebody_is_at_work(watched: Sandbox, rollouts: EngineRollouts) -> None:
    seen = rollouts.open_window()
    assert seen is not None
    assert not seen.at_work
    with acquire(watched.environment.lock, environment="production", command="rollout abort"):
        seen = rollouts.open_window()
        assert seen is not None
        assert seen.at_work
