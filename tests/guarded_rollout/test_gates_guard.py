"""The gates while traffic is shifted: the real step and session on a modelled machine, in virtual time."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from guarded_rollout.config.environments import Environment, TrafficStep, load
from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.errors import GateBreachedError
from guarded_rollout.gates.replay import replay
from guarded_rollout.gates.samples import Sample
from guarded_rollout.journal.model import Rollout
from guarded_rollout.journal.store import Journal
from guarded_rollout.monitor import log as logs
from guarded_rollout.monitor.heartbeat import session_log
from guarded_rollout.monitor.monitor import Monitor
from guarded_rollout.notify.events import Kind
from guarded_rollout.rollout.gate_guard import GateGuard
from guarded_rollout.rollout.steps.base import Options, Work
from guarded_rollout.rollout.steps.shift import Shift
from tests.guarded_rollout.gatekit import proxy, shipped
from tests.guarded_rollout.monitorkit import Rehearsal
from tests.guarded_rollout.test_monitor import bad
from tests.guarded_rollout.world import Build, FakeSite, World

OLD, NEW = Build("old"), Build("new")


@dataclass
class Shifting:
    """A rollout that gives the new release half of the traffic for so many seconds, then all of it."""

    rehearsal: Rehearsal
    work: Work
    journal: Journal
    said: list[str]

    def run(self) -> None:
        Shift().do(self.work)

    @property
    def rollout(self) -> Rollout:
        return self.journal.rollout(self.work.rollout)

    @property
    def noted(self) -> list[str]:
        notes = (note.data for note in self.rollout.notes if note.name == "gate")
        return [f"{data['news']}: {data['gate']}" for data in notes]

    @property
    def share(self) -> int:
        return self.work.site.traffic.share()[self.work.slot]

    def age(self) -> float:
        return self.rehearsal.age()


Make = Callable[..., Shifting]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    found = load(tmp_path / "rollout.toml").environment("production")
    found.root.mkdir(parents=True)
    return found


@pytest.fixture
def shifting(tmp_path: Path, environment: Environment) -> Iterator[Make]:
    with Journal.open(tmp_path / "journal.db") as journal:

        def make(
            failing: Callable[[float], float],
            *,
            seconds: float = 120,
            ask: Callable[[str], bool] | None = None,
            service: Callable[[float], Sample] | None = None,
            **rollback: object,
        ) -> Shifting:
            config = settings(**rollback)
            rehearsal = Rehearsal(environment.logs, config, proxy=clients(failing))
            rehearsal.service = service or rehearsal.service
            world = World(rehearsal.clock, verified={"old", "new"}, standing={"blue": OLD, "green": NEW})
            world.running = {"blue", "green"}
            site = FakeSite(world)
            site.environment = environment  # type: ignore[assignment]
            said: list[str] = []
            work = Work(
                site=site,  # type: ignore[arg-type]
                journal=journal,
                rollout=journal.begin("production", "up", operator="me", source="old", target="new"),
                incoming=NEW,  # type: ignore[arg-type]
                outgoing=OLD,  # type: ignore[arg-type]
                slot="green",
                steps=(),
                traffic=(TrafficStep(50, seconds), TrafficStep(100, 0.0)),
                is_rollback=False,
                options=Options(),
                say=said.append,
                guard=GateGuard(config.auto_rollback, lambda work: rehearsal.session(math.inf), ask),
            )
            return Shifting(rehearsal, work, journal, said)

        yield make


def settings(**rollback: object) -> EnvironmentGates:
    production = shipped("production")
    return production.model_copy(
        update={"auto_rollback": production.auto_rollback.model_copy(update=rollback)}
    )


def clients(failing: Callable[[float], float]) -> Callable[[float], Sample]:
    """What twenty clients a second see, of whom this share meets an error at this age."""
    counted = [0.0, 0.0]

    def sample(age: float) -> Sample:
        more, counted[1] = age * 20 - counted[1], age * 20
        counted[0] += more * failing(age)
        return proxy(0, counted[0], counted[1])

    return sample


def test_a_good_share_is_left_alone(shifting: Make) -> None:
    shift = shifting(lambda age: 0.01)
    shift.run()
    assert shift.noted == []
    assert shift.share == 95, "stable keeps a twentieth to compare with"


def test_a_failing_share_is_taken_back_within_seconds(shifting: Make) -> None:
    shift = shifting(lambda age: 0.5 if age > 60 else 0.01)
    with pytest.raises(GateBreachedError, match="client_error_rate"):
        shift.run()
    assert shift.age() <= 72
    assert shift.noted == ["failed: client_error_rate"]
    assert shift.share == 50


def test_its_breach_publishes_an_alert_and_leaves_samples_that_replay_to_the_same_decision(
    shifting: Make,
) -> None:
    shift = shifting(lambda age: 0.5 if age > 60 else 0.01)
    with pytest.raises(GateBreachedError):
        shift.run()
    rehearsal = shift.rehearsal
    (alert,) = rehearsal.told.events
    assert (alert.kind, alert.facts["gate"], alert.facts["release"]) == (
        Kind.GATE_ALERT,
        "client_error_rate",
        "new",
    )
    assert rehearsal.said("TRIGGERING AUTO-ROLLBACK: client_error_rate")
    assert rehearsal.lines()[-1]["data"] == {"exit_code": 2, "alerts": 1}
    recording = logs.recording_of(logs.read(rehearsal.path))
    assert recording.began_at == pytest.approx(rehearsal.began_at, abs=1)
    assert recording.opened_at == math.inf
    again = replay(rehearsal.config, recording)
    assert again.rolled_back_at == pytest.approx(rehearsal.began_at + shift.age(), abs=0.1)


def test_its_log_is_the_one_that_the_windows_monitor_goes_on_with(
    shifting: Make, environment: Environment
) -> None:
    shift = shifting(lambda age: 0.01)
    shift.run()
    rehearsal = shift.rehearsal
    assert session_log(environment, "r1", rehearsal.clock) == rehearsal.path.absolute()
    assert session_log(environment, "another", rehearsal.clock) != rehearsal.path.absolute()


def test_the_evaluation_windows_go_on_when_the_window_opens(shifting: Make) -> None:
    """6 % failures decide by a full window of ten minutes, eight of which were those of the shift."""
    shift = shifting(lambda age: 0.01, seconds=480, service=bad(0, images_failed_total=0.052))
    shift.run()
    rehearsal = shift.rehearsal
    rehearsal.engine.opened_after = shift.age()
    monitor = Monitor(rehearsal.session(rehearsal.began_at + shift.age()), rehearsal.engine)
    assert monitor.run() == 2
    assert rehearsal.ages("TRIGGERING AUTO-ROLLBACK: extraction_failure_rate")[0] <= 600 + 60
    kinds = rehearsal.told.kinds()
    assert kinds.count(Kind.MONITORING_STARTED) == 1
    assert kinds.count(Kind.GATE_ALERT) == 1
    recording = logs.recording_of(logs.read(rehearsal.path))
    assert recording.opened_at == pytest.approx(rehearsal.began_at + 480, abs=2)
    again = replay(rehearsal.config, recording)
    assert again.rolled_back_at == pytest.approx(
        rehearsal.began_at + rehearsal.ages("TRIGGERING AUTO-ROLLBACK")[0], abs=0.1
    )


def test_a_shift_that_is_resumed_after_a_crash_counts_what_was_seen_before(shifting: Make) -> None:
    shift = shifting(lambda age: 0.01, seconds=60)
    shift.run()
    before = len([line for line in shift.rehearsal.lines() if line["message"] == "Sample"])
    assert before > 0
    assert shift.rehearsal.session(math.inf).recalled == before


def test_an_alert_of_the_shift_is_not_told_again_in_the_window(shifting: Make) -> None:
    shift = shifting(lambda age: 0.01, service=bad(0, memory_usage_percentage=90))
    shift.run()
    assert shift.rehearsal.told.kinds() == [Kind.GATE_ALERT]
    rehearsal = shift.rehearsal
    rehearsal.engine.opened_after = shift.age()
    assert Monitor(rehearsal.session(rehearsal.began_at + shift.age()), rehearsal.engine).run() == 1
    assert rehearsal.told.kinds() == [Kind.GATE_ALERT, Kind.MONITORING_STARTED]


def test_where_auto_rollback_is_off_it_is_said_once(shifting: Make) -> None:
    shift = shifting(lambda age: 0.5, enabled=False, seconds=60)
    shift.run()
    (words,) = [line for line in shift.said if "Quality gate failed" in line]
    assert "auto-rollback is disabled" in words


@pytest.mark.parametrize("answer", [True, False])
def test_somebody_is_asked_once_where_that_is_wanted(shifting: Make, answer: bool) -> None:
    asked: list[str] = []

    def ask(reason: str) -> bool:
        asked.append(reason)
        return answer

    shift = shifting(lambda age: 0.5, ask=ask, confirmation_required=True, seconds=60)
    if answer:
        with pytest.raises(GateBreachedError):
            shift.run()
    else:
        shift.run()
    assert len(asked) == 1


def test_without_anybody_to_ask_the_share_is_held_until_the_gates_recover(shifting: Make) -> None:
    shift = shifting(lambda age: 0.5 if age < 20 else 0.0, confirmation_required=True, seconds=30)
    shift.run()
    held = next(line for line in shift.said if "the share is held" in line)
    assert shift.said.index(held) < shift.said.index("the gates have recovered; the shift goes on")
    assert shift.age() > 60


def test_or_until_the_rollbacks_own_timeout(shifting: Make) -> None:
    shift = shifting(lambda age: 0.5, confirmation_required=True, seconds=60)
    with pytest.raises(GateBreachedError):
        shift.run()
    assert shift.age() == pytest.approx(610, abs=15)
