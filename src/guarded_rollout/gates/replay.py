"""Replays the samples of a session through gates, to see what they would have decided, and when."""

from collections import Counter
from dataclasses import dataclass, field

from guarded_rollout.clock import duration
from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.config.terms import Action
from guarded_rollout.gates.panel import Change, Panel
from guarded_rollout.gates.samples import Recording
from guarded_rollout.gates.verdict import GateOutcome, News


@dataclass(slots=True)
class GateRecord:
    """A gate over a whole session."""

    verdicts: Counter[GateOutcome] = field(default_factory=Counter)
    worst: float | None = None  # the highest value that was judged
    limit: float = 0.0
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """A session judged again. `changes` leaves out the verdicts that were no news."""

    began_at: float
    ended_at: float
    changes: tuple[Change, ...]
    gates: dict[str, GateRecord]

    @property
    def rolled_back_at(self) -> float | None:
        """The time at which a rollback would first have been asked for."""
        return next((one.at for one in self.changes if Action.AUTO_ROLLBACK in one.actions), None)

    @property
    def ending(self) -> str:
        """The decision in words: `would have rolled back 5 min in`."""
        at = self.rolled_back_at
        if at is None:
            return "would not have rolled back"
        return f"would have rolled back {duration(at - self.began_at)} in"


def replay(environment: EnvironmentGates, recording: Recording) -> Replay:
    """Judge the samples of a session by these gates."""
    samples = recording.samples
    begin = recording.began_at
    if begin is None:
        begin = samples[0].at if samples else 0.0
    polls = environment.monitoring.poll_intervals
    panel = Panel(environment.quality_gates.enabled(), polls, begin, recording.opened_at, environment.alphas)
    records = {name: GateRecord() for name, _ in environment.quality_gates.enabled()}
    news: list[Change] = []
    for sample in samples:
        for change in panel.take(sample):
            _record(records[change.verdict.gate], change)
            if change.news is not News.JUDGED:
                news.append(change)
    return Replay(begin, max((one.at for one in samples), default=begin), tuple(news), records)


def _record(record: GateRecord, change: Change) -> None:
    verdict = change.verdict
    record.limit, record.unit = verdict.limit, verdict.unit
    if verdict.value is not None and verdict.samples >= verdict.needed:
        record.worst = max(verdict.value, record.worst if record.worst is not None else verdict.value)
    if change.news is News.JUDGED:
        record.verdicts[verdict.outcome] += 1
