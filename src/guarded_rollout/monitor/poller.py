"""Polls the sources on schedule and hands each sample to the gates."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from guarded_rollout.config.gates import EnvironmentGates, Monitoring
from guarded_rollout.config.kinds import ConsecutiveGate, Gate, GaugeGate
from guarded_rollout.config.terms import Action, Decision, Source
from guarded_rollout.gates.panel import Change, Panel, own_interval
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.monitor.schedule import Schedule
from guarded_rollout.monitor.sources import Sampler, source_of
from guarded_rollout.monitor.tasks import Executor, TaskResult

GRACE = 1.0  # seconds beyond its own timeout after which an answer is not waited for any more


@dataclass(slots=True)
class Poll:
    """A source that is asked again and again. `interval` is a function of the window's age, in seconds."""

    name: str
    sampler: Sampler
    interval: Callable[[float], float]
    timeout: float
    slow_after: float = math.inf  # an answer that took longer does not count
    schedule: Schedule = field(default_factory=lambda: Schedule(0.0))
    asked_at: float | None = None  # since when an answer is awaited
    given_up: bool = False  # the answer that is awaited has been counted as missing


@dataclass(frozen=True, slots=True)
class Observation:
    """A sample that came in, and what is news because of it."""

    sample: Sample
    changes: tuple[Change, ...]


class Poller:
    """Starts the polls that are due and judges what comes back.

    The rhythm is that of `began_at`, the session's first moment; intervals follow the age of the window.
    """

    def __init__(
        self,
        panel: Panel,
        polls: Sequence[Poll],
        executor: Executor,
        began_at: float,
        now: float,
        opened_at: float,
    ) -> None:
        self.panel = panel
        self._polls = {poll.name: poll for poll in polls}
        self._executor = executor
        self._opened_at = opened_at
        for poll in polls:  # in the rhythm of the session's beginning, also when it goes on later
            poll.schedule = Schedule(began_at)
            if now > began_at:
                poll.schedule.advance(now, poll.interval(now - opened_at))

    @property
    def probing(self) -> bool:
        """True while a probe has been sent and not been answered."""
        return any(
            poll.asked_at is not None and poll.sampler.source is Source.PROBE for poll in self._polls.values()
        )

    def next_due(self) -> float:
        """Return when something is to be done next."""
        dues = (
            poll.schedule.due if poll.asked_at is None else self._patience_ends(poll)
            for poll in self._polls.values()
        )
        return min(dues, default=math.inf)

    def start_due(self, now: float) -> list[Observation]:
        """Send for what is due. A source that is still being waited for is not asked twice."""
        seen: list[Observation] = []
        for poll in self._polls.values():
            if now >= poll.schedule.due:
                if poll.asked_at is None:
                    poll.asked_at = now
                    self._executor.start(poll.name, poll.sampler.sample)
                poll.schedule.advance(now, poll.interval(poll.schedule.due - self._opened_at))
            if poll.asked_at is not None and now >= self._patience_ends(poll):
                poll.given_up = True
                seen.append(self._judge(missing(poll), now))
                poll.asked_at = now  # the next absence is counted after as long again
        return seen

    def sent_for(self, result: TaskResult) -> bool:
        """Return True if this is the answer to a poll."""
        return result.name in self._polls

    def take(self, done: TaskResult, now: float) -> Observation | None:
        """Judge an answer; None if it came too late to count."""
        poll = self._polls[done.name]
        poll.asked_at, late, poll.given_up = None, poll.given_up, False
        if late:
            return None
        sample: Sample = done.result if done.error is None else missing(poll, f"could not ask: {done.error}")
        if sample.ok and sample.seconds > poll.slow_after:
            late_by = f"answered after {sample.seconds:.1f} s; later than {poll.slow_after:g} s is no answer"
            sample = replace(sample, problem=late_by)
        return self._judge(sample, now)

    def _judge(self, sample: Sample, now: float) -> Observation:
        stamped = replace(sample, at=now)
        return Observation(stamped, tuple(self.panel.take(stamped)))

    def _patience_ends(self, poll: Poll) -> float:
        assert poll.asked_at is not None
        return poll.asked_at + poll.timeout + GRACE


def missing(poll: Poll, problem: str = "") -> Sample:
    """Return the sample that stands for an answer that did not come."""
    sampler = poll.sampler
    name = str(getattr(sampler, "name", ""))
    why = problem or f"timed out after {poll.timeout:g} s"
    return Sample(sampler.source, 0.0, sampler.side, name, why, poll.timeout)


# ---- what is polled how often


def polls_for(
    gates: Mapping[str, Gate], samplers: Iterable[Sampler], monitoring: Monitoring, timeout: float
) -> list[Poll]:
    """Return a poll for each source that some gate listens to, and for the edge's log, which people see."""
    polls = []
    for sampler in samplers:
        listening = [gate for gate in gates.values() if listens(gate, sampler)]
        if listening or sampler.source is Source.EDGE:
            name = "-".join(filter(None, (sampler.source, sampler.side, getattr(sampler, "name", ""))))
            interval = interval_for(listening, sampler.source, monitoring)
            counted = sampler.source in (Source.SERVICE, Source.PROXY)
            slow_after = monitoring.slow_after_seconds if counted else math.inf
            polls.append(Poll(name, sampler, interval, timeout, slow_after))
    return polls


def listens(gate: Gate, sampler: Sampler) -> bool:
    """Return True if a gate learns from this source."""
    if source_of(gate) is not sampler.source:
        return False
    if isinstance(gate, GaugeGate) and gate.source is not Source.SERVICE:
        return sampler.side is Side.CANDIDATE  # stable would be asked each second, for a line in a chart
    if not isinstance(gate, ConsecutiveGate):
        return True
    return gate.side == sampler.side and gate.path == getattr(sampler, "name", "")


def interval_for(gates: Sequence[Gate], source: Source, monitoring: Monitoring) -> Callable[[float], float]:
    """Return the interval between polls that suits each gate, by the window's age in seconds."""
    own = [interval for gate in gates if (interval := own_interval(gate)) is not None]
    if not gates or any(map(decides_early, gates)):
        own.append(monitoring.counter_interval_seconds)
    if any(own_interval(gate) is None for gate in gates):
        return lambda age: min([monitoring.poll_intervals.at(age), *own])
    return lambda age: min(own)


def decides_early(gate: Gate) -> bool:
    """Return True if a gate detects sudden change between the polls."""
    return any(gate.decision_for(action) is Decision.GUARDED for action in Action)


def judged_gates(
    environment: EnvironmentGates, samplers: Sequence[Sampler]
) -> tuple[dict[str, Gate], list[str]]:
    """Return the gates that can be judged with these sources, and the names of those that cannot."""
    enabled = dict(environment.quality_gates.enabled())
    heard = {name: gate for name, gate in enabled.items() if any(listens(gate, one) for one in samplers)}
    return heard, [name for name in enabled if name not in heard]
