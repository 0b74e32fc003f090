"""The gates of one session: takes samples, and reports the verdicts that are due and the changes.

A breach is reported once and its end once; silence once for each stage of a gate's policy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from guarded_rollout.config.gates import PollIntervals
from guarded_rollout.config.kinds import ConsecutiveGate, Gate, GaugeGate
from guarded_rollout.config.terms import Action
from guarded_rollout.gates.judges import ALPHAS, Judge, judge_of
from guarded_rollout.gates.samples import Sample
from guarded_rollout.gates.verdict import GateOutcome, News, Verdict

CLEAR_AFTER = 2  # a breach is over when the gate has passed so often in a row; one pass may be a flap


@dataclass(frozen=True, slots=True)
class Change:
    """News about a gate. `actions` are those that follow from it now."""

    news: News
    at: float
    verdict: Verdict
    actions: tuple[Action, ...] = ()


@dataclass(slots=True)
class _State:
    judge: Judge
    interval: float | None  # the gate's own; None follows the polls
    due: float
    failed: set[Action] = field(default_factory=set)
    passes: int = 0
    reported_silences: int = 0
    last: Verdict | None = None
    decided: bool = False  # it has passed or failed at least once

    @property
    def may_roll_back(self) -> bool:
        return Action.AUTO_ROLLBACK in self.judge.gate.actions

    @property
    def asked_by_silence(self) -> Iterable[Action]:
        """The actions that follow from its silence so far."""
        for policy in self.judge.gate.no_data_policies[: self.reported_silences]:
            yield from policy.actions


class Panel:
    """Judges side by side, from `began_at`; the polls' intervals count from `opened_at`, the window's."""

    def __init__(
        self,
        gates: Iterable[tuple[str, Gate]],
        polls: PollIntervals,
        began_at: float = 0.0,
        opened_at: float | None = None,
        alphas: Mapping[Action, float] = ALPHAS,
    ) -> None:
        self._polls = polls
        self._opened_at = began_at if opened_at is None else opened_at
        self._states: Mapping[str, _State] = {
            name: _State(judge_of(name, gate, began_at, alphas), own_interval(gate), began_at)
            for name, gate in gates
        }

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The newest verdict of each gate that has one."""
        return tuple(state.last for state in self._states.values() if state.last is not None)

    @property
    def failing(self) -> tuple[str, ...]:
        """The gates in breach."""
        return tuple(name for name, state in self._states.items() if state.failed)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """The gates that could roll back and have no data now."""
        return tuple(
            name
            for name, state in self._states.items()
            if state.may_roll_back and (state.last is None or state.last.outcome is GateOutcome.NO_DATA)
        )

    @property
    def doubtful(self) -> tuple[Verdict, ...]:
        """Of the gates that could roll back, the passes that may yet become a breach."""
        return tuple(
            state.last
            for state in self._states.values()
            if state.may_roll_back and state.last is not None
            if state.last.outcome is GateOutcome.PASS and not state.last.calm
        )

    @property
    def undecided(self) -> tuple[str, ...]:
        """The gates that have never had enough to tell."""
        return tuple(name for name, state in self._states.items() if not state.decided)

    def quarantines(self) -> bool:
        """Return True if a gate in breach puts what the release wrote in doubt."""
        return any(state.failed and state.judge.gate.quarantine for state in self._states.values())

    def wants_rollback(self) -> bool:
        """Return True while a breach or a silence asks for a rollback."""
        return any(
            Action.AUTO_ROLLBACK in (*state.failed, *state.asked_by_silence)
            for state in self._states.values()
        )

    def take(self, sample: Sample) -> list[Change]:
        """Learn from a sample; return the changes."""
        news: list[Change] = []
        for state in self._states.values():
            if state.judge.take(sample) and sample.side is state.judge.side:
                news += self._judge(state, sample.at)
        return news

    def _judge(self, state: _State, now: float) -> list[Change]:
        verdicts = state.judge.by_action(now)
        by_action = {action: verdicts[action] for action in state.judge.gate.actions}
        verdict = verdicts[Action.AUTO_ROLLBACK if state.may_roll_back else Action.ALERT]
        state.decided = state.decided or verdict.outcome in (GateOutcome.PASS, GateOutcome.FAIL)
        due = now >= state.due
        news = list(self._silence(state, verdict, now))
        if not due and not any(one.conclusive for one in by_action.values()):
            return news  # the plain words are asked at the polls alone
        if due:
            state.last = verdict
            self._next_due(state, now)
        failing = {action for action, one in by_action.items() if one.failed}
        if fresh := failing - state.failed:
            state.last = verdict
            state.failed |= fresh
            actions = tuple(action for action in Action if action in fresh)
            news.append(Change(News.FAILED, now, by_action[actions[-1]], actions))
        if due:
            news.append(Change(News.JUDGED, now, verdict))
        state.passes = state.passes + due if verdict.outcome is GateOutcome.PASS and verdict.calm else 0
        if state.failed and not failing and state.passes >= CLEAR_AFTER:
            state.failed.clear()
            news.append(Change(News.RECOVERED, now, verdict))
        return news

    def _silence(self, state: _State, verdict: Verdict, now: float) -> Iterable[Change]:
        if verdict.outcome is not GateOutcome.NO_DATA:
            if state.reported_silences:
                yield Change(News.HEARD, now, verdict)
            state.reported_silences = 0
            return
        policies = state.judge.gate.no_data_policies
        for policy in policies[state.reported_silences :]:
            if verdict.silent_seconds < policy.after_seconds:
                return
            state.reported_silences += 1
            yield Change(News.SILENT, now, verdict, policy.actions)

    def _next_due(self, state: _State, now: float) -> None:
        """Intervals are counted from the beginning, so that lateness does not add up."""
        while state.due <= now:
            state.due += state.interval or self._polls.at(state.due - self._opened_at)


def own_interval(gate: Gate) -> float | None:
    """Return the interval that a gate sets itself, in seconds; None if it follows the polls."""
    if isinstance(gate, ConsecutiveGate | GaugeGate):
        return gate.threshold.check_interval_seconds
    return None
