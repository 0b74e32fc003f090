"""The guard that asks the gates while a share of the traffic is held, in virtual time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guarded_rollout.clock import ManualClock
from guarded_rollout.config.gates import GatesFile, parse
from guarded_rollout.config.kinds import Source
from guarded_rollout.errors import GateBreachedError
from guarded_rollout.gates.samples import Sample
from guarded_rollout.rollout import gate_guard as module
from guarded_rollout.rollout.gate_guard import GateGuard
from guarded_rollout.rollout.steps.base import Work
from tests.guarded_rollout.gatekit import SHIPPED, proxy
from tests.guarded_rollout.monitorkit import Scripted, VirtualExecutor


@dataclass
class Holding:
    """A share that is held, second by second, while clients see what `failing` says for each."""

    failing: Callable[[float], float]
    clock: ManualClock = field(default_factory=ManualClock)
    said: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    counted: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def look(self) -> Sample:
        done = self.clock.monotonic() * 20
        more, self.counted[1] = done - self.counted[1], done
        self.counted[0] += more * self.failing(self.clock.monotonic())
        return proxy(0, self.counted[0], self.counted[1])

    def work(self) -> Work:
        environment = SimpleNamespace(name="production")
        processes = SimpleNamespace(require_running=lambda slot: None)
        site = SimpleNamespace(environment=environment, processes=processes, clock=self.clock)
        release = SimpleNamespace(id="new")
        made = SimpleNamespace(
            site=site,
            incoming=release,
            outgoing=release,
            slot="green",
            rollout="r1",
            say=self.said.append,
            note=lambda name, **data: self.noted.append(f"{data['news']}: {data['gate']}"),
        )
        return cast(Work, made)

    def hold(self, guard: GateGuard, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            guard(self.work())


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Holding, GateGuard]]:
    def make(
        failing: Callable[[float], float], ask: Any = None, **rollback: Any
    ) -> tuple[Holding, GateGuard]:
        held = Holding(failing)
        sampler = Scripted(Source.PROXY, lambda age: held.look(), held.clock.monotonic)
        monkeypatch.setattr(module, "samplers_of", lambda *given: [sampler])
        return held, GateGuard(file(**rollback), executor=VirtualExecutor(held.clock, {}), ask=ask)

    return make


def file(**rollback: Any) -> GatesFile:
    found, problems = parse(SHIPPED.read_text())
    assert found is not None, problems
    production = found.environment("production")
    settings = production.auto_rollback.model_copy(update=rollback)
    environments = {"production": production.model_copy(update={"auto_rollback": settings})}
    return found.model_copy(update={"environments": environments})


def test_a_good_share_is_left_alone(holding: Any) -> None:
    held, guard = holding(lambda age: 0.01)
    held.hold(guard, 120)
    assert held.noted == []


def test_a_failing_share_is_taken_back_within_seconds(holding: Any) -> None:
    held, guard = holding(lambda age: 0.5 if age > 60 else 0.01)
    with pytest.raises(GateBreachedError, match="client_error_rate"):
        held.hold(guard, 120)
    assert held.clock.monotonic() <= 72
    assert held.noted == ["failed: client_error_rate"]


def test_where_auto_rollback_is_off_it_is_said_once(holding: Any) -> None:
    held, guard = holding(lambda age: 0.5, enabled=False)
    held.hold(guard, 60)
    assert len(held.said) == 1
    assert "auto-rollback is disabled" in held.said[0]


@pytest.mark.parametrize("answer", [True, False])
def test_somebody_is_asked_once_where_that_is_wanted(holding: Any, answer: bool) -> None:
    asked: list[str] = []

    def ask(reason: str) -> bool:
        asked.append(reason)
        return answer

    held, guard = holding(lambda age: 0.5, ask=ask, confirmation_required=True)
    if answer:
        with pytest.raises(GateBreachedError):
            held.hold(guard, 60)
    else:
        held.hold(guard, 60)
    assert len(asked) == 1


def test_without_anybody_to_ask_the_share_is_held_until_the_gates_recover(holding: Any) -> None:
    held, guard = holding(lambda age: 0.5 if age < 20 else 0.0, confirmation_required=True)
    held.hold(guard, 30)
    assert "the share is held" in held.said[0]
    assert held.said[-1] == "the gates have recovered; going on"
    assert held.clock.monotonic() > 60


def test_or_until_the_rollbacks_own_timeout(holding: Any) -> None:
    held, guard = holding(lambda age: 0.5, confirmation_required=True)
    with pytest.raises(GateBreachedError):
        held.hold(guard, 60)
    assert held.clock.monotonic() == pytest.approx(610, abs=15)
