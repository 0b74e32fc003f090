"""Orders of commands, failures and deaths that nobody thought of: engine and journal as a state machine.

The engine dies (as by kill -9) before or after any of its writes. Whatever was interrupted, clients are
served by a release that was verified, and the next commands bring the rollout to an end that the journal
tells.
"""

from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from guarded_rollout.errors import RolloutError
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.rollout.engine import Engine, Request
from guarded_rollout.rollout.rollback import previous
from tests.guarded_rollout.world import FOREVER, WINDOW, Killed, Machine

LIVES = st.one_of(st.just(FOREVER), st.integers(0, 60))
FAILING = st.sampled_from(["", "", "preflight", "backup", "migrate", "stage", "verify", "finish"])
FAILING_BACK = st.sampled_from(["", "", "safety", "stage", "verify", "validate"])


class Rollouts(RuleBasedStateMachine):
    """One environment, one engine at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.world = self.machine.world

    def teardown(self) -> None:
        self.machine.close()

    # ---- commands, each of which may die in the middle

    def command(self, lives: float, failing: str, act: Callable[[Engine], object]) -> None:
        """One process, which ends or dies; an error is a sentence for people, and what it left counts."""
        with suppress(Killed, RolloutError):
            self.machine.run(act, lives, failing)

    @initialize()
    def first_release(self) -> None:
        first = self.machine.build(True)
        self.command(FOREVER, "", lambda engine: engine.deploy(first, Request("deploy", "test")))
        self.world.served = True

    @rule(
        sound=st.booleans(),
        lives=LIVES,
        failing=FAILING,
        supersede=st.booleans(),
        backup=st.booleans(),
        migrate=st.booleans(),
    )
    def deploy(
        self, sound: bool, lives: float, failing: str, supersede: bool, backup: bool, migrate: bool
    ) -> None:
        made = self.machine.build(sound)
        request = Request("up", "test", backup=backup, migrate=migrate, supersede=supersede)
        self.command(lives, failing, lambda engine: engine.deploy(made, request))

    @rule(lives=LIVES, failing=FAILING)
    def restart(self, lives: float, failing: str) -> None:
        def act(engine: Engine) -> None:
            engine.deploy(engine.site.serving(), Request("deploy", "test", restart=True))  # type: ignore[arg-type]

        self.command(lives, failing, act)

    @rule(lives=LIVES, failing=FAILING)
    def resume(self, lives: float, failing: str) -> None:
        self.command(lives, failing, lambda engine: engine.resume())

    @rule(lives=LIVES)
    def abort(self, lives: float) -> None:
        self.command(lives, "", lambda engine: engine.abort("it was asked for"))

    @rule(lives=LIVES, failing=FAILING)
    def promote(self, lives: float, failing: str) -> None:
        self.command(lives, failing, lambda engine: engine.promote())

    @rule(lives=LIVES)
    def pause(self, lives: float) -> None:
        self.command(lives, "", lambda engine: engine.pause())

    @rule(lives=LIVES, failing=FAILING_BACK, validated=st.booleans())
    def roll_back(self, lives: float, failing: str, validated: bool) -> None:
        def act(engine: Engine) -> None:
            release = previous(engine.site, engine.journal)
            engine.roll_back(release, Request("rollback", "test"), validated=validated)

        self.command(lives, failing, act)

    @rule(seconds=st.sampled_from([1.0, 30.0, 61.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule()
    def the_machine_restarts(self) -> None:
        self.world.running.clear()
        self.world.running |= set(self.world.standing)  # as `rollout start` has it

    # ---- what holds at any time

    @invariant()
    def clients_are_served_by_a_verified_release(self) -> None:
        self.world.check()

    @invariant()
    def at_most_one_rollout_is_open_and_it_is_the_newest(self) -> None:
        opened = [index for index, one in enumerate(self.machine.history()) if one.open]
        assert opened in ([], [0])

    @invariant()
    def what_serves_is_what_the_journal_says(self) -> None:
        history = self.machine.history()
        if not history or history[0].open or history[0].outcome is RolloutOutcome.FAILED:
            return
        newest = history[0]
        expected = newest.target if newest.outcome is RolloutOutcome.COMPLETED else newest.source
        serving = self.world.standing.get(self.world.serving())
        assert serving is not None
        assert serving.id == expected
        since = list(takewhile(lambda one: one.outcome is not RolloutOutcome.COMPLETED, history))
        if all(
            one.outcome is not RolloutOutcome.FAILED for one in since
        ):  # it leaves what the next one clears away
            assert set(self.world.standing) == {self.world.serving()}, "the other slot is empty"

    @rule()
    def the_next_commands_bring_it_to_an_end(self) -> None:
        """`resume` closes what is interrupted; what is being watched ends with its window."""
        self.command(FOREVER, "", lambda engine: engine.resume())
        self.world.clock.advance(WINDOW + 1)
        self.command(FOREVER, "", lambda engine: engine.resume())
        assert not self.machine.history()[0].open


@pytest.mark.parametrize("orders", [10, pytest.param(50, marks=pytest.mark.system)])
def test_no_order_of_commands_and_deaths_leaves_clients_alone_or_a_rollout_stuck(orders: int) -> None:
    run_state_machine_as_test(
        Rollouts,
        settings=settings(
            max_examples=orders,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
