"""What the dashboard says of an overview: the answer first, then what it rests on. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.config.kinds import Action, Gate
from guarded_rollout.gates.describe import describe_gate
from guarded_rollout.gates.samples import Side
from guarded_rollout.gates.verdict import Outcome, Verdict
from guarded_rollout.host.processes import PROXY
from guarded_rollout.overview import SUPERVISOR, Overview, Phase
from guarded_rollout.record import Rollout, Step, StepOutcome
from guarded_rollout.rollout import in_words
from guarded_rollout.ui.charts import Line
from guarded_rollout.watch.tail import Judged

HASH = re.compile(r"\b[0-9a-f]{40,64}\b")
UNWATCHED_SECONDS = 20.0  # a monitor that starts takes some
TONES = {Outcome.PASS: "good", Outcome.FAIL: "bad", Outcome.INSUFFICIENT: "", Outcome.NO_DATA: "warn"}
WORDS = {
    Outcome.PASS: "passes",
    Outcome.FAIL: "fails",
    Outcome.INSUFFICIENT: "too few samples",
    Outcome.NO_DATA: "no data",
}
MARKS = {Outcome.PASS: "✓", Outcome.FAIL: "✕", Outcome.INSUFFICIENT: "…", Outcome.NO_DATA: "?"}


@dataclass(frozen=True, slots=True)
class Headline:
    """What is happening, why one can say so, and what to do. `more` is the rollout whose page tells why,
    `cautions` are what else an operator should know."""

    tone: str
    title: str
    detail: str = ""
    todo: str = ""
    more: str = ""
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step of a timeline. `at` and `took` in seconds; a running step has no `took`."""

    name: str
    state: str
    tone: str
    mark: str
    at: float | None = None
    took: float | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class SideRow:
    """One line of a gate's chart, as a table tells it."""

    side: str
    latest: str
    lowest: str
    highest: str
    samples: str


@dataclass(frozen=True, slots=True)
class GateRow:
    """One gate: what the monitor said last, and what was measured."""

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


def unwatched(seen: Overview) -> bool:
    """Whether a window is open that nobody looks at."""
    return seen.unwatched_seconds > UNWATCHED_SECONDS and not (seen.back or seen.undoing)


def failing(seen: Overview) -> tuple[Judged, ...]:
    """The gates in breach."""
    return tuple(one for one in seen.session.judged if one.failing) if seen.session else ()


# ---- the answer


def headline(seen: Overview, config: EnvironmentGates | None) -> Headline:
    """The two seconds' answer."""
    found = _answer(seen, config)
    return replace(found, cautions=cautions(seen))


def _answer(seen: Overview, config: EnvironmentGates | None) -> Headline:
    if unknown(seen) and not seen.history:
        return Headline(
            "bad",
            "The journal cannot be read",
            "What follows is all that can be seen without it.",
            "Move it aside, as docs/troubleshooting.md says; what serves goes on.",
        )
    match seen.phase:
        case Phase.EMPTY:
            if any(one.outcome == "failed" for one in seen.history[:1]):
                return _steady(seen)
            return Headline("", f"Nothing serves in {seen.environment.name} yet", "", "Roll out a release.")
        case Phase.STEADY:
            return _outage(seen) or _steady(seen)
        case Phase.ROLLING_OUT:
            return _rolling_out(seen)
        case Phase.TAKING_BACK:
            title = f"{seen.candidate or 'What serves'} is being taken back"
            to = f"{seen.stable} gets its traffic." if seen.stable else "Nothing served before it."
            return Headline("warn", title, f"{_cause(seen)} {to}".strip(), "Nothing: watch the steps below.")
        case Phase.INTERRUPTED:
            title = f"Interrupted at {seen.step or 'the start'}, and nobody is at work on it"
            way = "" if seen.back else ", Abort takes it back"
            return Headline("bad", title, _cause(seen), f"Resume goes on{way}.")
    return _outage(seen) or _watching(seen, config)


def unknown(seen: Overview) -> bool:
    """Whether the journal cannot be read, so that nobody can say what goes on."""
    return any(one.what == "the journal" for one in seen.blind)


def _outage(seen: Overview) -> Headline | None:
    """What has traffic and does not run: no gate and no journal knows better."""
    if seen.at_work is not None:
        return None
    start = f"`rollout start --env {seen.environment.name}` starts what should run."
    dead = [one for one in seen.slots if one.release and one.percent and not one.pid]
    if dead:
        shares = " and ".join(f"{one.percent} %" for one in dead)
        title = f"{' and '.join(str(one.release) for one in dead)} does not run"
        return Headline("bad", title, f"It has {shares} of the traffic.", start)
    if seen.serving and not seen.processes.get(PROXY):
        port = seen.environment.port
        return Headline("bad", "The proxy does not run", f"Nobody reaches port {port}.", start)
    return None


def cautions(seen: Overview) -> tuple[str, ...]:
    """What is not as it should be, beside the answer."""
    if seen.serving is None or seen.at_work is not None:
        return ()
    found = []
    if not seen.processes.get(SUPERVISOR):
        found.append("The supervisor does not run: nothing restarts what dies.")
    stable = next((one for one in seen.slots if one.release == seen.stable), None)
    if seen.rollout is not None and seen.stable and not (stable and stable.pid):
        found.append(f"{seen.stable} is not warm: going back starts it first.")
    return tuple(found)


def _steady(seen: Overview) -> Headline:
    newest = next((one for one in seen.history if one.target), None)
    serves = f"{seen.serving} serves all of the traffic"
    if newest is None or newest.outcome is None:
        return Headline("good", serves)
    if is_back(newest):
        bad = next((one for one in seen.history if one.target == newest.source and not is_back(one)), newest)
        if newest.outcome == "failed":
            command = f"rollout rollback --to {newest.target} --env {seen.environment.name} --force"
            return Headline(
                "bad", f"The rollback to {newest.target} FAILED", newest.reason, f"`{command}`", str(bad.id)
            )
        title = f"{newest.source or 'What served'} was rolled back"
        return Headline("warn", title, f"{_sentence(newest.why)}{serves}.", "", str(bad.id))
    if newest.outcome == "completed":
        return Headline("good", serves, "Nothing is being rolled out.")
    ended = "was taken back" if newest.outcome == "rolled_back" else "could not be rolled out"
    tone = "warn" if newest.outcome == "rolled_back" else "bad"
    serves = serves if seen.serving else "Nothing serves"
    return Headline(
        tone, f"{newest.target} {ended}", f"{_sentence(newest.reason)}{serves}.", "", str(newest.id)
    )


def _sentence(words: str) -> str:
    """Words as a sentence that others may follow."""
    return f"{words.rstrip('.')}. " if words else ""


def _rolling_out(seen: Overview) -> Headline:
    note = seen.rollout.note("gate") if seen.rollout else None
    stays = f"{seen.stable} serves until it has earned its place." if seen.stable else ""
    title = f"{seen.candidate} is being rolled out: {seen.step or 'it begins'}"
    if note is not None and note.data.get("news") in ("failed", "silent"):
        words = f"Quality gate {note.data.get('news')}: {note.data.get('gate')}: {note.data.get('reason')}"
        return Headline("bad", title, words, "The engine takes it back, or holds the share where it asks.")
    return Headline("accent", title, stays, "Nothing: it goes back by itself if a step fails.")


def _watching(seen: Overview, config: EnvironmentGates | None) -> Headline:
    broken = failing(seen)
    if broken:
        by_itself = config is not None and config.auto_rollback.enabled and _rolls_back(broken, config)
        todo = "The monitor takes it back by itself." if by_itself else "Abort takes it back at once."
        if by_itself and config is not None and config.auto_rollback.confirmation_required:
            todo = "The monitor asks for a confirmation: Abort takes it back at once."
        if unwatched(seen):
            todo = "Nobody watches: Abort takes it back at once."
        names = ", ".join(one.verdict.gate for one in broken)
        why = (broken[0].broke or broken[0].verdict).reason
        return Headline("bad", f"Quality gate failed: {names}", why, todo)
    if unwatched(seen):
        command = f"rollout monitor --env {seen.environment.name}"
        return Headline(
            "bad",
            f"Nobody watches {seen.candidate}",
            f"Its window is open, and no gate has been asked for {in_words(seen.unwatched_seconds)} and more."
            if seen.unwatched_seconds < 60
            else "Its window is open, and no gate is asked.",
            f"`{command}` in a terminal, or Abort.",
        )
    judged = seen.session.judged if seen.session else ()
    silent = [one.verdict.gate for one in judged if one.verdict.outcome is Outcome.NO_DATA]
    if seen.phase is Phase.PAUSED:
        left = in_words(seen.window_left)
        return Headline("warn", f"The window of {seen.candidate} is paused", f"{left} are left.", "Resume.")
    if silent:
        return Headline("warn", f"{seen.candidate} is being watched, with no data for {', '.join(silent)}")
    if seen.phase is Phase.CLOSING:
        return Headline("accent", f"The window of {seen.candidate} is over", "It is being accepted.")
    passing = sum(one.verdict.outcome is Outcome.PASS for one in judged)
    waiting = len(judged) - passing
    words = f"{passing} {'gate passes' if passing == 1 else 'gates pass'}"
    words += f", {waiting} wait for more samples." if waiting else "."
    return Headline("good", f"{seen.candidate} is being watched", words if judged else "", "Nothing.")


def _rolls_back(broken: tuple[Judged, ...], config: EnvironmentGates) -> bool:
    gates = dict(config.quality_gates.enabled())
    return any(
        Action.AUTO_ROLLBACK in gates[one.verdict.gate].actions for one in broken if one.verdict.gate in gates
    )


def _cause(seen: Overview) -> str:
    if seen.rollout is None:
        return ""
    note = seen.rollout.note("undoing")
    return _sentence(str(note.data.get("cause", "")) if note else seen.rollout.why).rstrip()


# ---- what it rests on


def is_back(rollout: Rollout) -> bool:
    """Whether a rollout was a rollback."""
    plan = rollout.note("plan")
    return bool(plan and plan.data.get("back"))


def timeline(rollout: Rollout, at_work: bool) -> tuple[StepRow, ...]:
    """Each step once, in the planned order, then what was not planned."""
    plan = rollout.note("plan")
    planned = list(map(str, plan.data.get("steps", ()))) if plan else []  # type: ignore[call-overload]
    names = dict.fromkeys([*planned, *(step.name for step in rollout.steps)])
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
    if at_work or (name == "watch" and not rollout.note("undoing")):
        return StepRow(name, "under way", "accent", "●", at)
    return StepRow(name, "interrupted", "bad", "!", at)


def seconds_of(step: Step) -> float | None:
    """How long a step took."""
    return None if step.ended_at is None else (step.ended_at - step.started_at).total_seconds()


def evidence(step: Step) -> str:
    """What stopped a step, or how one can tell that it did what it says."""
    found = step.evidence or {}
    if "error" in found:
        return str(found["error"])
    parts = (f"{name.replace('_', ' ')} {_plain(value)}" for name, value in found.items() if value)
    return "; ".join(parts)


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_plain(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return HASH.sub(lambda found: f"{found[0][:12]}…", str(value))


def shares(rollout: Rollout) -> tuple[tuple[float, int], ...]:
    """The candidate's percent of the traffic over time, as the journal tells it: (unix time, percent)."""
    back = is_back(rollout)
    moves: list[tuple[float, int]] = [(rollout.started_at.timestamp(), 100 if back else 0)]
    for note in rollout.notes:
        if note.name == "share" and "percent" in note.data:
            percent = int(str(note.data["percent"]))
            moves.append((note.at.timestamp(), 100 - percent if back else percent))
    moves += [
        (step.ended_at.timestamp(), 0)
        for step in rollout.steps
        if step.name == "shift" and step.outcome is StepOutcome.UNDONE and step.ended_at
    ]
    return tuple(sorted(moves))


def gate_rows(
    seen: Overview, config: EnvironmentGates | None, lines: Mapping[str, Mapping[Side, Line]]
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
    name: str, gate: Gate | None, judged: Judged | None, lines: Mapping[Side, Line], rolls_back: bool = True
) -> GateRow:
    """One gate's card."""
    verdict = judged.verdict if judged else None
    bad = judged is not None and judged.failing
    if judged and bad and judged.broke and verdict and not verdict.failed:
        verdict = judged.broke  # what began the breach says more than the silence after it
    samples = (
        f"{verdict.samples:g} samples, {verdict.needed} needed" if verdict and verdict.needed > 1 else ""
    )
    return GateRow(
        name=name,
        tone="bad" if bad else TONES[verdict.outcome] if verdict else "",
        mark="✕" if bad else MARKS[verdict.outcome] if verdict else "○",
        outcome="fails" if bad else WORDS[verdict.outcome] if verdict else "not judged yet",
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
    )


def limit_of(gate: Gate | None) -> str:
    """The limit of a gate that was not judged yet."""
    threshold: Any = getattr(gate, "threshold", None)
    return f"limit {threshold.limit:g} {getattr(gate, 'unit', '')}".strip() if threshold else ""


def number(value: float | None, verdict: Verdict | None) -> str:
    """A value with its unit."""
    unit = verdict.unit if verdict and " " not in verdict.unit else ""
    return "–" if value is None else f"{value:.4g} {unit}".strip()


@dataclass(frozen=True, slots=True)
class Schema:
    """Where the schema stands as far as the journal tells, what releases need, and what was applied."""

    revision: str | None
    at: float | None
    needs: tuple[tuple[str, str, str], ...]  # (release, its role, the revision it needs)
    applied: tuple[tuple[float, str, str], ...]  # (unix time, revisions, by which command)

    @property
    def pending(self) -> tuple[str, ...]:
        """The candidate's revision, if the journal does not know it to be there."""
        return tuple(
            f"{release} needs {needed}"
            for release, role, needed in self.needs
            if role == "candidate" and self.revision is not None and needed != self.revision
        )


def schema(seen: Overview) -> Schema:
    """What files tell of migrations."""
    known = seen.schema
    roles = {seen.stable: "stable", seen.candidate: "candidate"}
    built = ((seen.release(identity), role) for identity, role in roles.items() if identity)
    needs = tuple((one.id, role, one.schema) for one, role in built if one is not None and one.schema)
    applied = tuple(
        (step.ended_at.timestamp(), _plain(moved), rollout.command)
        for rollout in seen.history
        for step in rollout.steps
        if step.name in ("migrate", "finish") and step.ended_at
        if (moved := (step.evidence or {}).get("applied") or (step.evidence or {}).get("contracted"))
    )
    return Schema(known[0] if known else None, known[1] if known else None, needs, applied)
