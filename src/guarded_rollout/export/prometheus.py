"""The gates as Prometheus alert rules: each gate's limit, over its window, from `min_sample_size` samples on.

Early decisions, on conclusive evidence, stay with the monitor: PromQL has no memory for them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from guarded_rollout.config.gates import EnvironmentGates, GatesFile
from guarded_rollout.config.kinds import (
    ConsecutiveGate,
    Gate,
    GaugeGate,
    NoDataPolicy,
    RegressionGate,
    TrendGate,
)
from guarded_rollout.config.terms import Action, Source
from guarded_rollout.export.queries import (
    JOBS,
    ON_SLOT,
    NoQueryError,
    answers,
    duration,
    healthy,
    in_prometheus,
    query_of,
    quoted,
)
from guarded_rollout.gates.describe import condition
from guarded_rollout.monitor.sources import source_of

HEAD = (
    "Made by `rollout gates export prometheus` from a gates file: edit that and export this again.",
    "The series come from the jobs of prometheus.yml beside this file.",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert that fires once its expression has been true for `wait` seconds."""

    alert: str
    expr: str
    wait: float
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """The rules of one environment, asked every `interval` seconds; `left_out` is gate → why."""

    name: str
    interval: float
    rules: tuple[Rule, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def groups_of(file: GatesFile, names: Mapping[str, str] = MappingProxyType({})) -> tuple[Group, ...]:
    """Return a group for each environment that has gates; `names` are those of the series, see `Exported`."""
    groups = (_group(name, environment, names) for name, environment in file.environments.items())
    return tuple(group for group in groups if group.rules or group.left_out)


def as_yaml(groups: tuple[Group, ...]) -> str:
    """Format the rule file. Strings are JSON's, which YAML reads as well; expressions are legible blocks."""
    return "\n".join(_lines(groups)) + "\n"


def _group(environment: str, config: EnvironmentGates, names: Mapping[str, str]) -> Group:
    rules: list[Rule] = []
    left_out: dict[str, str] = {}
    silences: dict[tuple[Source, NoDataPolicy], list[str]] = {}
    gates = dict(config.quality_gates.enabled())
    for name, gate in gates.items():
        if not gate.actions:
            continue
        try:
            rules.append(_breach(name, gate, environment, names))
        except NoQueryError as error:
            left_out[name] = str(error)
            continue
        for policy in gate.no_data_policies:
            if policy.actions:
                silences.setdefault((source_of(gate), policy), []).append(name)
    rules += [_silence(source, policy, silent, environment) for (source, policy), silent in silences.items()]
    return Group(f"quality-gates-{environment}", _interval(config), tuple(rules), left_out)


def _interval(config: EnvironmentGates) -> float:
    """Return the monitor's first interval, or a shorter one of a gate's own checks."""
    own = [
        gate.threshold.check_interval_seconds
        for _, gate in config.quality_gates.enabled()
        if isinstance(gate, ConsecutiveGate)
    ]
    return min([config.monitoring.poll_intervals.initial_interval_seconds, *own])


def _breach(name: str, gate: Gate, environment: str, names: Mapping[str, str]) -> Rule:
    if isinstance(gate, RegressionGate):
        raise NoQueryError("only the monitor compares two releases: its sequential test needs a memory")
    query = query_of(in_prometheus(gate, names), environment)
    threshold = gate.threshold  # type: ignore[attr-defined]
    if isinstance(gate, ConsecutiveGate):
        # The first failing check begins the wait, so more than N in a row is N intervals of it.
        wait = threshold.limit * threshold.check_interval_seconds
        expr = _down(environment, wait)
    else:
        wait = 0.0
        expr = f"{query.value} > {_limit(gate):.15g}"
        if query.samples:
            expr += f"\nand {ON_SLOT}\n  {query.samples} >= {threshold.min_samples}"
    return Rule(_alert(name), expr, wait, _labels(gate.actions, name, environment), _told(name, gate))


def _limit(gate: Gate) -> float:
    """Prometheus only tells of a breach, so the limit is the one to alert from."""
    if isinstance(gate, TrendGate):
        return 100.0
    if isinstance(gate, GaugeGate):
        return gate.threshold.alert_limit
    return float(gate.threshold.limit)  # type: ignore[attr-defined]


def _down(environment: str, wait: float) -> str:
    """Return the condition that a slot which clients reach is not healthy, or that none is."""
    reached = answers(environment, "increase", duration(max(wait, 60.0)))
    nowhere = f"max by (environment) ({healthy(environment)}) == 0"
    return f"{healthy(environment)} == 0 and {ON_SLOT} {reached} > 0\nor\n  {nowhere}"


def _silence(source: Source, policy: NoDataPolicy, gates: list[str], environment: str) -> Rule:
    labels = _labels(policy.actions, ",".join(gates), environment)
    told = {
        "summary": _literal(f"{environment}: no data from the {source}"),
        "description": _literal(f"Nothing can be said of {', '.join(gates)}; silence is never a pass."),
    }
    up = f"up{{job={quoted(JOBS[source])},environment={quoted(environment)}}}"
    return Rule("QualityGateNoData", f"absent({up} == 1)", policy.after_seconds, labels, told)


def _alert(name: str) -> str:
    words = re.split(r"[^0-9A-Za-z]+", name)
    return "QualityGate" + "".join(word[:1].upper() + word[1:] for word in words)


def _labels(actions: tuple[Action, ...], gate: str, environment: str) -> dict[str, str]:
    # A gate that rolls back must wake somebody; an alert may wait for the morning.
    severity = "critical" if Action.AUTO_ROLLBACK in actions else "warning"
    return {"severity": severity, "environment": environment, "gate": gate}


def _told(name: str, gate: Gate) -> dict[str, str]:
    where = "{{ $labels.environment }}{{ with $labels.slot }}, {{ . }}{{ end }}"
    unit = _literal(getattr(gate, "unit", ""))
    measured = f'is {{{{ $value | printf "%.4g" }}}} {unit}'.rstrip()
    is_ = "fails" if isinstance(gate, ConsecutiveGate) else measured
    told = f"{gate.description}. " if gate.description else ""
    return {
        "summary": f"{where}: {_literal(name)} {is_}",
        "description": _literal(f"{told}Fails {condition(gate)}."),
    }


def _literal(text: str) -> str:
    """Escape a string for Prometheus's templates."""
    return text.replace("{{", '{{"{{"}}')


# ---- YAML


def _lines(groups: tuple[Group, ...]) -> Iterator[str]:
    yield from (f"# {line}" for line in HEAD)
    yield "groups:"
    for group in groups:
        yield f"  - name: {_text(group.name)}"
        yield f"    interval: {duration(group.interval)}"
        for name, reason in group.left_out.items():
            yield f"    # without {_text(name)}: {_text(reason)}"
        yield "    rules:" if group.rules else "    rules: []"
        for rule in group.rules:
            yield f"      - alert: {_text(rule.alert)}"
            yield "        expr: |-"
            yield from (f"          {line}" for line in rule.expr.splitlines())
            if rule.wait:
                yield f"        for: {duration(rule.wait)}"
            for kind, values in (("labels", rule.labels), ("annotations", rule.annotations)):
                yield f"        {kind}:"
                yield from (f"          {key}: {_text(value)}" for key, value in values.items())


WORDS_OF_YAML = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def _text(text: str) -> str:
    """Format a scalar, in quotes where YAML could take it for something else."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", text) and text.lower() not in WORDS_OF_YAML
    return text if plain else quoted(text)
