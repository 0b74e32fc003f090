"""Holds the names in a gates file against what a service publishes: a name with a typo never fails a gate."""

import difflib
import re
from collections.abc import Collection, Iterator

from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.config.kinds import Gate, GaugeGate, QuantileGate, RatioGate, RegressionGate
from guarded_rollout.config.terms import Source
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.monitor.metrics_formats import NotMetricsError, names_in, selector

SUFFIXES = {"seconds": "s", "milliseconds": "ms", "ms": "ms", "bytes": "bytes"}
"""What a metric's name says of its unit (https://prometheus.io/docs/practices/naming/)."""


def published_by(endpoint: Endpoint, path: str) -> frozenset[str]:
    """Ask a service for the names of its metrics; empty if it gives none."""
    answer = endpoint.fetch("GET", path, headers={"Accept": "application/json, text/plain;q=0.5"})
    try:
        return names_in(answer.body) if answer.ok else frozenset()
    except NotMetricsError:
        return frozenset()


def doubts(config: EnvironmentGates, published: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each name that is not published, with the near ones, and for each odd unit."""
    for name, gate in config.quality_gates.enabled():
        yield from (f"{name}: {doubt}" for doubt in _unknown(gate, published))
        yield from (f"{name}: {doubt}" for doubt in _odd_unit(gate))


def _unknown(gate: Gate, published: Collection[str]) -> Iterator[str]:
    names = _names(gate)
    if not published or getattr(gate, "gauge", "") in published:
        return
    for name in names:
        plain = selector(name).name
        parts = {plain, f"{plain}_bucket"}
        if parts.isdisjoint(published):
            near = difflib.get_close_matches(plain, sorted(published), n=2, cutoff=0.6)
            meant = f" (did you mean {' or '.join(near)}?)" if near else ""
            yield f"{plain} has not been published so far{meant}"


def _names(gate: Gate) -> tuple[str, ...]:
    """The service's metrics that a gate reads."""
    match gate:
        case RatioGate(source=Source.SERVICE) | RegressionGate(source=Source.SERVICE, histogram=None):
            return tuple(dict.fromkeys((*(gate.numerator or ()), *(gate.denominator or ()))))
        case QuantileGate(source=Source.SERVICE) | RegressionGate(source=Source.SERVICE):
            return (gate.histogram,) if gate.histogram else ()
        case GaugeGate(source=Source.SERVICE):
            return (gate.metric,)
    return ()


def _odd_unit(gate: Gate) -> Iterator[str]:
    """A metric whose name says another unit than its limit has, where nothing converts them."""
    if not isinstance(gate, QuantileGate | GaugeGate) or gate.factor != 1 or not gate.unit:
        return
    metric = gate.metric if isinstance(gate, GaugeGate) else gate.histogram
    word = re.sub(r"_(bucket|total)$", "", selector(metric).name).rpartition("_")[2]
    said = SUFFIXES.get(word, "")
    if said and said != gate.unit:
        yield f"{metric} is in {word} by its name, and its limit in {gate.unit}: give metric_unit = {said!r}"
