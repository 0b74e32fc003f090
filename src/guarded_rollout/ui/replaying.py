"""A rollout's samples judged again by other thresholds, given in a form. Pure but for reading the log."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guarded_rollout.clock import duration
from guarded_rollout.config import gates
from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.gates.panel import Change
from guarded_rollout.gates.replay import Replay, replay
from guarded_rollout.gates.samples import Recording
from guarded_rollout.gates.verdict import GateOutcome, News
from guarded_rollout.logs import open_log, parse
from guarded_rollout.monitor.log import recording_of


@dataclass(frozen=True, slots=True)
class Field:
    """A number of a gate's threshold, named as in the gates file."""

    name: str  # "error_rate.max_error_percentage"
    gate: str
    label: str
    given: str  # by the operator, or the file's
    standard: str  # the file's


@dataclass(frozen=True, slots=True)
class GateDifference:
    """A gate under both sets of thresholds: its verdicts by count, and what it would have done."""

    gate: str
    limit: str
    highest: str
    before: str
    after: str
    changed: bool


@dataclass(frozen=True, slots=True)
class ReplayAnswer:
    """The decision by these thresholds, beside that by the file's."""

    differences: tuple[GateDifference, ...]
    news: tuple[str, ...]
    before: str
    after: str
    changed: bool


def recorded(path: Path) -> Recording:
    """Read a session's log. Raises `OSError`, `EOFError`."""
    with open_log(path) as file:
        return recording_of(line for text in file if (line := parse(text)) is not None)


def fields(file: Path, environment: str, given: Mapping[str, str]) -> list[Field]:
    """The thresholds of an environment that are switched on, with what was given instead.

    Raises `GatesFileError` for a file that cannot be read.
    """
    standing = gates.load(file).environment(environment)
    rows: list[Field] = []
    for gate, config in standing.quality_gates.enabled():
        for label, value in _threshold(config).items():
            name, standard = f"{gate}.{label}", f"{value:.12g}"
            rows.append(Field(name, gate, label, given.get(name, standard).strip(), standard))
    return rows


def changed_gates(
    file: Path, environment: str, wanted: list[Field]
) -> tuple[EnvironmentGates | None, tuple[str, ...]]:
    """The gates with these thresholds, or all that is wrong with them in words."""
    raw = json.loads(file.read_text())
    problems: list[str] = []
    for one in wanted:
        if one.given == one.standard:
            continue
        try:
            number = int(one.given) if one.given.lstrip("-").isdecimal() else float(one.given)
        except ValueError:
            problems.append(f"{one.gate}: {one.label}: {one.given[:40]!r} is not a number")
            continue
        table = raw["environments"][environment]["quality_gates"][one.gate]
        table.setdefault("threshold", {})[one.label] = number
    if problems:
        return None, tuple(problems)
    found, wrong = gates.parse(json.dumps(raw))
    if found is None:
        return None, tuple(f"{one.where}: {one.sentence}" for one in wrong)
    return found.environment(environment), ()


def answer(before: EnvironmentGates, after: EnvironmentGates, session: Recording) -> ReplayAnswer:
    """Judge a session twice."""
    old, new = (replay(one, session) for one in (before, after))
    rows = tuple(_differences(old, new))
    return ReplayAnswer(
        rows,
        tuple(_in_words(change, new.began_at) for change in new.changes),
        old.ending,
        new.ending,
        any(row.changed for row in rows) or old.ending != new.ending,
    )


def _differences(old: Replay, new: Replay) -> Iterator[GateDifference]:
    for gate, record in new.gates.items():
        was = old.gates.get(gate)
        before = _counts(was.verdicts) if was else "not judged"
        after = _counts(record.verdicts)
        changes = [_acts(one, gate) for one in (old, new)]
        yield GateDifference(
            gate,
            f"{record.limit:g} {record.unit}".strip(),
            "–" if record.worst is None else f"{record.worst:.4g} {record.unit}".strip(),
            f"{before}{changes[0]}",
            f"{after}{changes[1]}",
            (before, changes[0]) != (after, changes[1]),
        )


def _acts(found: Replay, gate: str) -> str:
    first = next((one for one in found.changes if one.verdict.gate == gate and one.news is News.FAILED), None)
    return f"; fails {duration(first.at - found.began_at)} in" if first else ""


def _counts(verdicts: Mapping[GateOutcome, int]) -> str:
    words = (f"{number} {outcome.replace('_', ' ')}" for outcome, number in sorted(verdicts.items()))
    return ", ".join(words) or "never judged"


def _in_words(change: Change, began_at: float) -> str:
    does = f" → {', '.join(change.actions)}" if change.actions else ""
    after, verdict = duration(change.at - began_at), change.verdict
    return f"{after} in: {verdict.gate} {change.news}: {verdict.reason}{does}"


def _threshold(config: Any) -> dict[str, float]:
    """The bounds of a gate, without those that this kind of gate goes without."""
    return dict(config.threshold.model_dump(by_alias=True, exclude_none=True))
