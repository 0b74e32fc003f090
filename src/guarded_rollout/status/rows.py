"""Rows for the terminal and the pages: a rollout's steps, the gates. Pure.

The models of the gates file are imported where there are gates: most readings of the status need none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from guarded_rollout.gates.verdict import IN_A_ROW, GateOutcome, Verdict
from guarded_rollout.journal.model import Rollout, StepOutcome, StepRun
from guarded_rollout.status.chart_line import ChartLine
from guarded_rollout.status.session_log import Judged
from guarded_rollout.status.snapshot import Snapshot

if TYPE_CHECKING:
    from guarded_rollout.config.gates import EnvironmentGates
    from guarded_rollout.config.kinds import Gate
    from guarded_rollout.gates.samples import Side

HASH = re.compile(r"\b[0-9a-f]{40,64}\b")


class Shown(NamedTuple):
    """The display of an outcome: a mark that needs no colour, a tone, words."""

    mark: str
    tone: str
    words: str


OUTCOMES = {
    GateOutcome.PASS: Shown("✓", "good", "passes"),
    GateOutcome.FAIL: Shown("✕", "bad", "fails"),
    GateOutcome.INSUFFICIENT: Shown("…", "", "too few samples"),
    GateOutcome.NO_DATA: Shown("?", "warn", "no data"),
}
NOT_JUDGED = Shown("○", "", "not judged yet")
URGENCY = {"bad": 0, "warn": 1, "": 2, "good": 3}
SHAKY = Shown("!", "warn", "fails, not for long enough")
TRAIL_POINTS, TRAIL_WIDTH, TRAIL_HEIGHT = 60, 96, 20  # of a gate's small line, in units of its drawing


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of a timeline. `at` and `took` in seconds; a running step has no `took`."""

    name: str
    state: str
    tone: str
    mark: str
    at: float | None = None
    took: float | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class SideRow:
    """A line of a gate's chart, for its table."""

    side: str
    latest: str
    lowest: str
    highest: str
    samples: str


@dataclass(frozen=True, slots=True)
class GateRow:
    """A gate with its newest verdict and its measurements."""

    name: str
    tone: str
    mark: str
    outcome: str
    measured: str
    reason: str
    does: str
    judged_at: float | None
    samples: str
    sides: tuple[SideRow, ...]
    following: str = ""
    trail: str = ""

    @property
    def urgency(self) -> int:
        """The place in a list that begins with what needs an eye."""
        return URGENCY.get(self.tone, 2)


def timeline(rollout: Rollout, at_work: bool) -> tuple[StepRow, ...]:
    """Each step once, in the planned order, then what was not planned."""
    names = dict.fromkeys([*rollout.plan.get("steps", ()), *(step.name for step in rollout.steps)])
    return tuple(_row(name, rollout, at_work) for name in names)


def _row(name: str, rollout: Rollout, at_work: bool) -> StepRow:
    runs = [step for step in rollout.steps if step.name == name]
    if not runs:
        state = "waits" if rollout.open else "not done"
        return StepRow(name, state, "muted", "○")
    step = runs[-1]
    at, took = step.started_at.timestamp(), seconds_of(step)
    if step.outcome is StepOutcome.UNDONE:
        first = runs[0]
        return StepRow(name, "undone", "warn", "↶", at, seconds_of(first), evidence(first))
    if step.outcome is StepOutcome.FAILED:
        return StepRow(name, "failed", "bad", "✕", at, took, evidence(step))
    if step.outcome is not None:
        return StepRow(name, str(step.outcome), "good", "✓", at, took, evidence(step))
    if not rollout.open:
        return StepRow(name, "ended with the rollout", "muted", "–", at)
    if at_work or (name == "watch" and not rollout.undoing):
        return StepRow(name, "under way", "accent", "●", at)
    return StepRow(name, "interrupted", "bad", "!", at)


def seconds_of(step: StepRun) -> float | None:
    """Return how long a step took, in seconds; None while it runs."""
    return None if step.ended_at is None else (step.ended_at - step.started_at).total_seconds()


def evidence(step: StepRun) -> str:
    """Describe what stopped a step, or the evidence that it did its work."""
    found = step.evidence or {}
    if "error" in found:
        return str(found["error"])
    parts = (f"{name.replace('_', ' ')} {plain(value)}" for name, value in found.items() if value)
    return "; ".join(parts)


def plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {plain(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    return HASH.sub(lambda found: f"{found[0][:12]}…", str(value))


def gate_rows(
    seen: Snapshot, config: "EnvironmentGates | None", lines: "Mapping[str, Mapping[Side, ChartLine]]"
) -> tuple[GateRow, ...]:
    """Every gate that is switched on or was judged."""
    gates = dict(config.quality_gates.enabled()) if config else {}
    judged = {one.verdict.gate: one for one in seen.session.judged} if seen.session else {}
    rolls_back = bool(config and config.auto_rollback.enabled)
    return tuple(
        gate_row(name, gates.get(name), judged.get(name), lines.get(name, {}), rolls_back)
        for name in dict.fromkeys([*gates, *judged])
    )


def gate_row(
    name: str,
    gate: "Gate | None",
    judged: Judged | None,
    lines: "Mapping[Side, ChartLine]",
    rolls_back: bool = True,
) -> GateRow:
    """Build the row of one gate."""
    from guarded_rollout.gates.describe import describe_gate
    from guarded_rollout.gates.samples import Side

    verdict = judged.verdict if judged else None
    bad = judged is not None and judged.failing
    if judged and bad and judged.broke and verdict and not verdict.failed:
        verdict = judged.broke  # what began the breach says more than the silence after it
    samples = (
        f"{verdict.samples:g} samples, {verdict.needed} needed" if verdict and verdict.needed > 1 else ""
    )
    shown = OUTCOMES[GateOutcome.FAIL if bad else verdict.outcome] if verdict else NOT_JUDGED
    if verdict and not bad and shaky(verdict):
        shown = SHAKY
    return GateRow(
        name=name,
        tone=shown.tone,
        mark=shown.mark,
        outcome=shown.words,
        measured=verdict.measured if verdict else limit_of(gate),
        reason=verdict.reason if verdict else "",
        does=describe_gate(gate, rolls_back) if gate else "is not in the gates file any more",
        judged_at=judged.at if judged else None,
        samples=samples,
        sides=tuple(
            SideRow(
                side.value,
                number(line.latest.value, line.latest) if line.latest else "–",
                number(line.lowest, line.latest),
                number(line.highest, line.latest),
                f"{line.latest.samples:g}" if line.latest else "–",
            )
            for side, line in sorted(lines.items())  # the candidate first
        ),
        following=following(gate, verdict, bad, rolls_back),
        trail=trail(lines[Side.CANDIDATE].values) if Side.CANDIDATE in lines else "",
    )


def shaky(verdict: Verdict) -> bool:
    """True if probes fail now, if not yet often enough in a row to fail the gate."""
    return verdict.outcome is GateOutcome.PASS and verdict.unit == IN_A_ROW and bool(verdict.value)


def following(gate: "Gate | None", verdict: Verdict | None, bad: bool, rolls_back: bool) -> str:
    """Say what a gate does next, where it is in breach or close to it; else nothing."""
    if gate is None or verdict is None:
        return ""
    from guarded_rollout.config.kinds import ConsecutiveGate
    from guarded_rollout.config.terms import Action

    backs = rolls_back and Action.AUTO_ROLLBACK in gate.actions
    if bad:
        return "Rolls back" if backs else "Alerts, and changes nothing"
    if isinstance(gate, ConsecutiveGate) and verdict.value:
        more = round(verdict.limit - verdict.value) + 1
        counted = "one more failure" if more == 1 else f"{more} more failures"
        return f"{counted} {'rolls' if more == 1 else 'roll'} back" if backs else f"{counted}, and it alerts"
    if verdict.outcome is GateOutcome.INSUFFICIENT and verdict.needed > verdict.samples:
        left = verdict.needed - verdict.samples
        return f"decides after {left:g} more sample{'' if left == 1 else 's'}"
    return ""


def trail(values: Sequence[float | None]) -> str:
    """The newest values as points of a polyline, `x,y` each, from the lowest to the highest of them."""
    newest = [(at, value) for at, value in enumerate(values[-TRAIL_POINTS:]) if value is not None]
    if len(newest) < 2:
        return ""
    known = [value for _, value in newest]
    low, span = min(known), max(known) - min(known)
    step = TRAIL_WIDTH / max(1, newest[-1][0])
    return " ".join(
        f"{at * step:.1f},{TRAIL_HEIGHT - 1 - (value - low) / span * (TRAIL_HEIGHT - 2):.1f}"
        if span
        else f"{at * step:.1f},{TRAIL_HEIGHT - 1}"
        for at, value in newest
    )


def limit_of(gate: "Gate | None") -> str:
    """The limit of a gate that was not judged yet."""
    limit = getattr(getattr(gate, "threshold", None), "limit", None)
    return "" if limit is None else f"limit {limit:g} {getattr(gate, 'unit', '')}".strip()


def number(value: float | None, verdict: Verdict | None) -> str:
    """A value with its unit."""
    unit = verdict.unit if verdict and " " not in verdict.unit else ""
    return "–" if value is None else f"{value:.4g} {unit}".strip()
