"""The engine's rules, on the modelled machine; `test_rollout` has them on real processes."""

from collections.abc import Callable, Iterator

import pytest

from guarded_rollout.errors import (
    NothingOpenError,
    NotWatchedError,
    RollbackFailedError,
    RolledBackError,
    RolloutError,
    WindowOpenError,
)
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.rollout.engine import Engine, Request
from guarded_rollout.rollout.steps.base import Work
from tests.guarded_rollout.world import Build, Killed, Machine

REQUEST = Request(command="deploy", operator="test")


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.close()


def serving(machine: Machine) -> str:
    return machine.world.standing[machine.world.serving()].id


def test_deploying_what_serves_already_does_nothing_unless_it_is_to_be_restarted(machine):
    release = machine.build()
    machine.deploy(release)
    assert machine.deploy(release).serving_already
    assert len(machine.history()) == 1
    assert machine.world.running == {"blue"}
    assert machine.deploy(release, restart=True).window is not None
    assert machine.world.standing == {"blue": release, "green": release}
    assert machine.world.serving() == "green"


def test_while_a_release_is_watched_another_is_refused_with_the_ways_out(machine):
    machine.deploy(machine.build())
    watched, newest = machine.build(), machine.build()
    machine.deploy(watched)
    with pytest.raises(WindowOpenError) as error:
        machine.deploy(newest)
    for said in (watched.id, "promote", "abort", "--supersede", " s"):
        assert said in str(error.value)
    assert machine.deploy(newest, supersede=True).release is newest
    outcomes = [past.outcome for past in machine.history()]
    assert outcomes == [None, RolloutOutcome.ROLLED_BACK, RolloutOutcome.COMPLETED]


def test_an_aborted_rollout_gives_the_old_release_everything_back(machine):
    old = machine.build()
    machine.deploy(old)
    machine.deploy(machine.build())
    machine.run(lambda engine: engine.abort("users see wrong matches"))
    with pytest.raises(NothingOpenError):
        machine.run(lambda engine: engine.abort("again"))
    assert machine.world.standing == {"blue": old}
    assert machine.world.running == {"blue"}
    assert machine.world.green == 0
    assert machine.history()[0].reason == "users see wrong matches"


def test_a_rollback_that_failed_with_the_traffic_moved_stops_what_it_left_when_it_is_run_again(machine):
    good = machine.build()
    machine.deploy(good)
    bad = machine.build()
    machine.deploy(bad)

    def back(engine: Engine) -> None:
        engine.roll_back(good, Request("rollback", "test"))

    with pytest.raises(RollbackFailedError):
        machine.run(back, failing="safety")
    assert serving(machine) == good.id
    assert bad in machine.world.standing.values()
    machine.run(back)
    assert machine.world.standing == {machine.world.serving(): good}
    assert machine.history()[0].source == bad.id


def test_what_is_being_taken_back_can_be_neither_accepted_nor_paused(machine):
    machine.deploy(machine.build())
    machine.deploy(machine.build())
    with pytest.raises(Killed):
        machine.run(lambda engine: engine.abort("a gate failed"), 3)
    assert machine.history()[0].undoing
    for act in (Engine.promote, Engine.pause):
        with pytest.raises(NotWatchedError):
            machine.run(act)
    machine.run(lambda engine: engine.resume())
    assert machine.history()[0].outcome is RolloutOutcome.ROLLED_BACK


def test_a_paused_window_keeps_its_time_and_a_closed_one_is_finished_by_the_next_command(machine):
    machine.deploy(machine.build())
    new = machine.build()
    machine.deploy(new)
    clock = machine.world.clock

    def left(asked):
        return asked.left(clock.instant())

    clock.advance(20)
    assert left(machine.run(lambda engine: engine.pause())) == pytest.approx(40)
    clock.advance(3600)
    assert left(machine.run(lambda engine: engine.pause())) == pytest.approx(40)
    assert left(machine.run(lambda engine: engine.resume()).window) == pytest.approx(40)
    clock.advance(39)
    with pytest.raises(WindowOpenError, match="another 1 s"):
        machine.run(lambda engine: engine.clear_previous(REQUEST))
    clock.advance(2)
    machine.run(lambda engine: engine.clear_previous(REQUEST))
    assert machine.history()[0].outcome is RolloutOutcome.COMPLETED
    assert serving(machine) == new.id


@pytest.mark.parametrize("hours", [1, -1])
def test_a_wall_clock_that_is_set_neither_closes_a_window_nor_keeps_it_open(machine, hours):
    machine.deploy(machine.build())
    opened = machine.deploy(machine.build()).window
    clock = machine.world.clock
    clock.advance(10)
    clock.step(hours * 3600)
    assert opened.left(clock.instant()) == pytest.approx(50)
    assert (clock.now() - opened.opened_at(clock.instant())).total_seconds() == pytest.approx(10)
    paused = machine.run(lambda engine: engine.pause())
    resumed = machine.run(lambda engine: engine.resume()).window
    assert resumed.left(clock.instant()) == pytest.approx(paused.left(clock.instant()))
    with pytest.raises(WindowOpenError, match="is being watched"):
        machine.run(lambda engine: engine.clear_previous(REQUEST))
    machine.run(lambda engine: engine.promote())
    assert machine.history()[0].outcome is RolloutOutcome.COMPLETED


def test_a_guard_that_objects_while_the_share_is_held_takes_the_rollout_back(machine):
    class TooManyFailuresError(RolloutError):
        message = "{rate} % of the requests fail."

    def object_at_half(work: Work) -> None:
        asked.append(work.site.traffic.share()[work.slot])
        if asked[-1] == 50:
            raise TooManyFailuresError(rate=30)

    asked: list[int] = []
    old, new = machine.build(), machine.build()
    machine.deploy(old)
    with pytest.raises(RolledBackError) as error:
        machine.run(lambda engine: engine.deploy(new, REQUEST), guard=object_at_half)
    assert "30 % of the requests fail. The rollout was taken back" in str(error.value)
    assert set(asked) == {20, 50}
    assert machine.world.standing == {"blue": old}


def deploy_and_promote(release: Build) -> Callable[[Engine], None]:
    def act(engine: Engine) -> None:
        engine.deploy(release, Request("up", "test", migrate=True))  # type: ignore[arg-type]
        engine.promote()

    return act


def test_killed_at_any_write_a_rollout_is_gone_on_with_or_taken_back():
    """Each write is the last one once; every step is interrupted by one of them."""
    interrupted: set[str] = set()
    for lives in range(1000):
        machine = Machine()
        try:
            old, new = machine.build(), machine.build()
            machine.deploy(old)
            try:
                machine.run(deploy_and_promote(new), lives)
                break
            except Killed:
                machine.world.check()
            newest = machine.history()[0]
            if not newest.open:  # it had not begun, or it had just ended
                continue
            interrupted |= {step.name for step in newest.steps if step.outcome is None}
            assert serving(machine) in (old.id, new.id)
            result = machine.run(lambda engine: engine.resume())
            if result.window is not None:
                machine.run(lambda engine: engine.promote())
            closed = machine.history()[0]
            assert closed.outcome is RolloutOutcome.COMPLETED
            assert machine.world.standing == {machine.world.serving(): new}, "no duplicates"
            assert machine.world.running == {machine.world.serving()}
        finally:
            machine.close()
    else:
        pytest.fail("it never came to its end")
    assert interrupted == {"preflight", "migrate", "stage", "verify", "shift", "watch", "finish"}
