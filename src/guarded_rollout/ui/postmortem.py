"""A rollout told afterwards: what happened, what it cost, in which order, and what had changed. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from guarded_rollout.clock import duration
from guarded_rollout.gates.samples import Side
from guarded_rollout.host.release import short, shorten
from guarded_rollout.journal.model import UNDOING, JournalEntry, Rollout, RolloutOutcome, StepOutcome
from guarded_rollout.monitor.edge_log import FAILED, PASSED_ON, REQUESTS
from guarded_rollout.status.rows import GateRow, evidence

Totals = Mapping[Side, Mapping[str, float]]
"""The requests of each side, those that failed, and those passed on, as the edge's log counted them."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A line of the timeline; `at` in seconds since 1970."""

    at: float
    words: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Postmortem:
    """All that is told of a rollout. `impact` and `commits` are empty where nothing is known of them."""

    title: str
    tone: str
    cause: str
    impact: tuple[str, ...]
    timeline: tuple[Happening, ...]
    commits: tuple[str, ...]

    def markdown(self, rollout: Rollout, gates: Iterable[GateRow]) -> str:
        """The same for an incident's ticket."""
        parts = [f"# {self.title}", f"`rollout {rollout.command}` by {rollout.operator}, id `{rollout.id}`."]
        moved = (("From", rollout.source), ("To", rollout.target))
        ids = [f"{word} `{release}` ({short(release)})." for word, release in moved if release]
        parts += [" ".join(ids)] if ids else []
        parts += [self.cause] if self.cause else []
        parts += ["## Impact", _listed(self.impact)] if self.impact else []
        parts += ["## Timeline (UTC)", _listed(f"{_clock(one.at)} {one.words}" for one in self.timeline)]
        said = [f"**{row.name}** {row.outcome}: {row.measured}. {row.reason}" for row in gates]
        parts += ["## Gates", _listed(said)] if said else []
        parts += ["## Commits", _listed(f"`{one}`" for one in self.commits)] if self.commits else []
        return shorten("\n\n".join(parts)) + "\n"


def tell(rollout: Rollout, totals: Totals, commits: Iterable[str]) -> Postmortem:
    """Tell of a rollout, finished or not."""
    title, tone = _title(rollout)
    note = rollout.note(UNDOING)
    cause = str(note.data.get("cause", "")) if note else ""
    timeline = sorted(_timeline(rollout), key=lambda one: one.at)
    return Postmortem(
        title, tone, cause or rollout.reason, tuple(_impact(rollout, totals)), tuple(timeline), tuple(commits)
    )


def _title(rollout: Rollout) -> tuple[str, str]:
    target = rollout.target or rollout.command
    if rollout.is_rollback:
        match rollout.outcome:
            case RolloutOutcome.COMPLETED:
                return f"{rollout.source or 'What served'} was rolled back to {target}", "warn"
            case None:
                return f"Rolling back {rollout.source or 'what serves'}", "warn"
        return f"The rollback to {target} failed", "bad"
    match rollout.outcome:
        case RolloutOutcome.COMPLETED:
            return f"{target} was accepted" if rollout.target else f"{target} succeeded", "good"
        case RolloutOutcome.ROLLED_BACK:
            return f"{target} was taken back", "warn"
        case RolloutOutcome.FAILED:
            return f"{target} {'could not be rolled out' if rollout.target else 'failed'}", "bad"
    return f"Rolling out {target}", "accent"


def _impact(rollout: Rollout, totals: Totals) -> Iterator[str]:
    if (seconds := exposed_seconds(rollout)) > 0 and not rollout.is_rollback:
        yield f"It had traffic for {duration(seconds)}."
    for side, name in ((Side.CANDIDATE, rollout.target), (Side.STABLE, rollout.source)):
        counted = totals.get(side, {})
        if requests := counted.get(REQUESTS, 0):
            failed = counted.get(FAILED, 0)
            share = f" ({100 * failed / requests:.3g} %)" if failed else ""
            passed = counted.get(PASSED_ON, 0)
            more = f" {passed:,.0f} more that it did not take were answered by the other." if passed else ""
            yield f"{name}: {requests:,.0f} requests, {failed:,.0f} of them failed{share}.{more}"


def left_at(rollout: Rollout) -> float:
    """The time from which the candidate was on its way out, so that its silence says nothing (unix time)."""
    if taken := rollout.note(UNDOING):
        return taken.at.timestamp()
    if rollout.ended_at and rollout.outcome is RolloutOutcome.ROLLED_BACK:
        return rollout.ended_at.timestamp()
    return math.inf


def exposed_seconds(rollout: Rollout) -> float:
    """The time that the candidate had a share of the traffic, up to its end or its taking back."""
    shares = [one for one in rollout.notes if one.name == "share"]
    given = next((one.at for one in shares if str(one.data.get("percent", 0)) != "0"), None)
    taken = rollout.note(UNDOING)
    until = taken.at if taken else rollout.ended_at
    return (until - given).total_seconds() if given and until else 0.0


def _timeline(rollout: Rollout) -> Iterator[Happening]:
    yield Happening(rollout.started_at.timestamp(), f"begun by {rollout.operator}: {rollout.command}")
    for step in rollout.steps:
        if step.ended_at is None:
            yield Happening(step.started_at.timestamp(), f"{step.name} begun", "accent")
            continue
        took = f" after {duration((step.ended_at - step.started_at).total_seconds())}"
        bad = step.outcome is StepOutcome.FAILED
        said = f": {evidence(step)}" if bad else ""
        tone = "bad" if bad else "warn" if step.outcome is StepOutcome.UNDONE else ""
        yield Happening(step.ended_at.timestamp(), f"{step.name} {step.outcome}{took}{said}", tone)
    for note in rollout.notes:
        if words := _noted(note):
            yield Happening(note.at.timestamp(), words, "bad" if note.name == "gate" else "")
    if rollout.ended_at:
        ended = str(rollout.outcome).replace("_", " ")
        yield Happening(
            rollout.ended_at.timestamp(), f"{ended}{f': {rollout.reason}' if rollout.reason else ''}"
        )


def _noted(note: JournalEntry) -> str:
    """A note in words; empty for the plan, which is the steps."""
    data = note.data
    match note.name:
        case "plan":
            return ""
        case "share":
            return f"{data.get('release', '')} gets {data.get('percent')} % of the traffic".strip()
        case "gate":
            return f"gate {data.get('gate')} {data.get('news')}: {data.get('reason')}"
        case "undoing":
            return f"taken back: {data.get('cause', '')}".rstrip(": ")
    return f"{note.name} " + ", ".join(f"{name} {value}" for name, value in data.items())


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%F %T}"


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
