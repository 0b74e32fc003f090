"""Gates as PromQL: a gate's value over its own window, for each slot of an environment.

Series carry the labels `environment` and `slot` of deploy/prometheus/prometheus.yml; the proxy's say `server`
for the slot.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guarded_rollout.config.kinds import (
    ConsecutiveGate,
    Gate,
    GaugeGate,
    QuantileGate,
    RatioGate,
    RegressionGate,
    TrendGate,
)
from guarded_rollout.config.terms import Source
from guarded_rollout.host.caddy import HEALTHY
from guarded_rollout.host.slots import SLOTS
from guarded_rollout.monitor.sources import CADDY_SECONDS, FAILED, RESPONSES, SECONDS

JOBS = {
    Source.PROBE: "rollout-health",
    Source.SERVICE: "rollout-service",
    Source.PROXY: "rollout-proxy",
}
"""The scrape jobs: one for each source of samples that Prometheus can ask itself."""

BY_SLOT = "by (environment, slot)"
ON_SLOT = "on (environment, slot)"

PROXY_LABELS = {"handler": ("=", "reverse_proxy"), "server": ("=~", "|".join(SLOTS))}

_SELECTOR = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:\s*\w+(?:=~|=)"[^"]*"\s*,?)*)\s*\})?')
_BREAKS = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_LABEL = re.compile(r'(\w+)(=~|=)"([^"]*)"')


class NoQueryError(ValueError):
    """A gate that PromQL cannot express; the message says why."""


@dataclass(frozen=True, slots=True)
class Query:
    """A gate's value by slot, in its unit. `samples` counts the events behind it, empty for gauges."""

    value: str
    samples: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """A metric's name with what its labels must be."""

    name: str
    labels: tuple[tuple[str, str, str], ...]  # label, = or =~, value

    def __str__(self) -> str:
        labels = ",".join(f"{label}{how}{quoted(value)}" for label, how, value in self.labels)
        return f"{self.name}{{{labels}}}"

    def part(self, suffix: str) -> "Series":
        """Return one of the series that a histogram is made of."""
        return Series(self.name + suffix, self.labels)


@dataclass(frozen=True, slots=True)
class Scope:
    """The series that a query asks for: of one environment, and of one slot if that is given."""

    environment: str
    slot: str = ""

    @property
    def labels(self) -> tuple[tuple[str, str, str], ...]:
        mine = ("environment", "=", self.environment)
        return (mine, ("slot", "=", self.slot)) if self.slot else (mine,)


def query_of(gate: Gate, environment: str, slot: str = "") -> Query:
    """Return the query of a gate; of a `regression`, the values that it compares. Raises `NoQueryError`."""
    return _query(gate, Scope(environment, slot))


def _query(gate: Gate, scope: Scope) -> Query:
    source = getattr(gate, "source", Source.PROBE)
    if source not in JOBS:
        raise NoQueryError(f"only the monitor reads this source: {source}")
    match gate:
        case TrendGate(metric=str() as metric_name, limit_metric=str() as limit_name):
            metric, limit = (series(name, gate.source, scope) for name in (metric_name, limit_name))
            ahead = round(gate.threshold.horizon_hours * 3600)
            growth = f"predict_linear({metric}[1h], {ahead})"
            return Query(f"100 * max {BY_SLOT} ({growth})\n  / max {BY_SLOT} ({limit})")
        case RegressionGate(amount=str()) | RegressionGate(gauge=str()):
            raise NoQueryError("only the monitor compares what two releases use up")
        case TrendGate():
            raise NoQueryError("only the monitor follows the trend of a quantile")
        case ConsecutiveGate():
            return _consecutive(gate, scope)
        case GaugeGate():
            newest = f"max {BY_SLOT} ({series(gate.metric, gate.source, scope)})"
            return Query(newest if gate.factor == 1 else f"{gate.factor:.15g} * {newest}")
        case RatioGate() | RegressionGate(numerator=tuple()):
            return _ratio(gate, scope)
        case QuantileGate() | RegressionGate():
            return _quantile(gate, scope)
    raise NoQueryError(f"there is no query for a {type(gate).__name__}")


def in_prometheus(gate: Gate, names: Mapping[str, str]) -> Gate:
    """The gate with the service's metrics under the names that they have in Prometheus."""
    if getattr(gate, "source", None) is not Source.SERVICE:
        return gate
    called: dict[str, object] = {}
    for key in ("numerator", "denominator"):
        if given := getattr(gate, key, None):
            called[key] = tuple(names.get(name, name) for name in given)
    for key in ("histogram", "metric"):
        if name := getattr(gate, key, None):
            called[key] = names.get(name, name)
    return gate.model_copy(update=called)


def healthy(environment: str) -> Series:
    """Return the series of each slot's health: 1 if its endpoint answers 200, else 0."""
    return Series(HEALTHY, Scope(environment).labels)


def answers(environment: str, function: str, window: str, suffix: str = "_count", by: str = BY_SLOT) -> str:
    """Return the `rate` or `increase` of the answers that clients got, by a part of the proxy's histogram."""
    wanted = series(SECONDS, Source.PROXY, Scope(environment)).part(suffix)
    return _added_up([f"{function}({wanted}[{window}])"], Source.PROXY, by)


def series(name: str, source: Source, scope: Scope) -> Series:
    """Return the series that a gates file means by a name. Raises `NoQueryError` for an impossible one."""
    if source is Source.PROXY:
        return _proxy_series(name, scope)
    if source not in JOBS:
        raise NoQueryError(f"Prometheus is not told of the {source}'s {name!r}")
    found = _SELECTOR.fullmatch(name)
    if found is None:
        raise NoQueryError(f"{name!r} is no name that a metric has in Prometheus")
    labels = tuple((label, how, value) for label, how, value in _LABEL.findall(found[2] or ""))
    return Series(found[1], (*scope.labels, *labels))


def duration(seconds: float) -> str:
    """Format a length of time as Prometheus writes it."""
    milliseconds = round(seconds * 1000)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds >= size and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def quoted(text: str) -> str:
    """Quote a string for PromQL and YAML: both escape as JSON does, and nothing ends a line early."""
    return _BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _proxy_series(name: str, scope: Scope) -> Series:
    labels = [*Scope(scope.environment).labels, *((label, *rest) for label, rest in PROXY_LABELS.items())]
    if name == SECONDS:
        return Series(CADDY_SECONDS, tuple(labels))
    if code := re.fullmatch(r"responses_(\d{3})_total", name):
        labels.append(("code", "=", code[1]))
    elif name == FAILED:
        labels.append(("code", "=~", "5.."))
    elif name != RESPONSES:
        raise NoQueryError(f"the proxy counts no {name!r}")
    return Series(f"{CADDY_SECONDS}_count", tuple(labels))


def _consecutive(gate: ConsecutiveGate, scope: Scope) -> Query:
    if gate.side != "candidate":
        raise NoQueryError("only the monitor asks the release before")
    if gate.path:
        raise NoQueryError(f"Prometheus is only told of the service's own health, not of {gate.path}")
    checks = gate.threshold.limit + 1
    window = duration(checks * gate.threshold.check_interval_seconds)
    return Query(f"{checks} * (1 - avg_over_time({healthy(scope.environment)}[{window}]))")


def _ratio(gate: RatioGate | RegressionGate, scope: Scope) -> Query:
    window = gate.threshold.window_seconds
    bad = _counted(gate.numerator or (), gate.source, scope, window)
    all_ = _counted(gate.denominator or (), gate.source, scope, window)
    return Query(f"100 * {bad}\n  / {all_}", all_)


def _quantile(gate: QuantileGate | RegressionGate, scope: Scope) -> Query:
    whole = series(gate.histogram or "", gate.source, scope)
    window = gate.threshold.window_seconds
    buckets = _increase([whole.part("_bucket")], gate.source, window, "by (environment, slot, le)")
    value = f"histogram_quantile({gate.quantile:g}, {buckets})"
    scale = gate.factor if isinstance(gate, QuantileGate) else 1
    scaled = value if scale == 1 else f"{scale:.15g} * {value}"
    return Query(scaled, _increase([whole.part("_count")], gate.source, window, BY_SLOT))


def _counted(names: Sequence[str], source: Source, scope: Scope, seconds: float) -> str:
    return _increase([series(name, source, scope) for name in names], source, seconds, BY_SLOT)


def _increase(wanted: Sequence[Series], source: Source, seconds: float, by: str) -> str:
    """Add up the growth of counters; one that does not exist yet counts as zero beside others."""
    terms = [f"increase({one}[{duration(seconds)}])" for one in wanted]
    if len({one.name for one in wanted}) > 1:  # without their names, `or` would take two series for one
        named = zip(terms, wanted, strict=True)
        terms = [f'label_replace({term}, "of", "{one.name}", "", "")' for term, one in named]
    return _added_up(terms, source, by)


def _added_up(terms: Sequence[str], source: Source, by: str) -> str:
    all_ = " or ".join(terms)
    if source is Source.PROXY:
        all_ = f'label_replace({all_}, "slot", "$1", "server", "(.*)")'
    return f"sum {by} ({all_})"
