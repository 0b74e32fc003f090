"""The sources of samples: probes of the health endpoint, the service's metrics, the proxy's metrics.

A source is asked for one sample, which also holds what goes wrong. The caller adds the timestamp.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from guarded_rollout.config.kinds import (
    ConsecutiveGate,
    Gate,
    GaugeGate,
    QuantileGate,
    RatioGate,
    RegressionGate,
    TrendGate,
)
from guarded_rollout.config.service import HealthRule
from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.host.endpoint import Answer, Endpoint
from guarded_rollout.monitor import metrics_formats
from guarded_rollout.monitor.metrics_formats import NotMetricsError, Wanted, selector


class Sampler(Protocol):
    """A source that can be asked for a sample."""

    @property
    def source(self) -> Source: ...

    @property
    def side(self) -> Side: ...

    def sample(self) -> Sample:
        """Ask once. Never raises; the sample's `at` is 0."""
        ...


USUAL = HealthRule()


@dataclass(frozen=True, slots=True)
class HealthProbe:
    """The health endpoint, judged by its rule. `name` is the gate's own path, or empty for the usual one."""

    endpoint: Endpoint
    rule: HealthRule = USUAL
    name: str = ""
    side: Side = Side.CANDIDATE
    source: Source = Source.PROBE

    def sample(self) -> Sample:
        rule = self.rule
        seconds = rule.timeout_seconds or self.endpoint.timeout_seconds
        got = _get(replace(self.endpoint, timeout_seconds=seconds), rule.path)
        problem = got.problem or ("" if rule.accepts(got.status) else f"answered {got.status}{_said(got)}")
        return Sample(self.source, 0.0, self.side, self.name, problem, got.seconds)


@dataclass(frozen=True, slots=True)
class ServiceMetrics:
    """The service's own metrics, as JSON or as Prometheus's text."""

    endpoint: Endpoint
    wanted: Wanted
    path: str = "/metrics"
    side: Side = Side.CANDIDATE
    source: Source = Source.SERVICE

    def sample(self) -> Sample:
        got = _get(self.endpoint, self.path, accept="application/json, text/plain;version=0.0.4;q=0.5")
        problem = got.problem or ("" if got.status == 200 else f"answered {got.status}")
        if problem:
            return Sample(self.source, 0.0, self.side, problem=problem, seconds=got.seconds)
        try:
            found = metrics_formats.read(got.body, got.headers.get("content-type", ""), self.wanted)
        except NotMetricsError as error:
            return Sample(self.source, 0.0, self.side, problem=str(error), seconds=got.seconds)
        return Sample(
            self.source,
            0.0,
            self.side,
            seconds=got.seconds,
            counters=found.counters,
            gauges=found.gauges,
            histograms=found.histograms,
            started_at=found.started_at,
            release=found.release,
        )


RESPONSES, FAILED, SECONDS = "responses_total", "responses_failed_total", "response_seconds"
CADDY_SECONDS = "caddy_http_request_duration_seconds"


@dataclass(frozen=True, slots=True)
class ProxyMetrics:
    """Caddy's counts for one of its servers. Each slot has its own, so these are its clients' answers.

    Counters `responses_total`, `responses_failed_total` (5xx, an unreachable service among them), and
    `responses_<code>_total` for each status; histogram `response_seconds`.
    """

    endpoint: Endpoint
    server: str
    side: Side = Side.CANDIDATE
    path: str = "/metrics"
    source: Source = Source.PROXY

    def sample(self) -> Sample:
        return self.sample_of(_get(self.endpoint, self.path, accept="text/plain"))

    def sample_of(self, got: Answer) -> Sample:
        """Read an answer."""
        problem = got.problem or ("" if got.status == 200 else f"answered {got.status}")
        if problem:
            return Sample(self.source, 0.0, self.side, problem=f"the proxy {problem}", seconds=got.seconds)
        try:
            return self._read(got)
        except NotMetricsError as error:
            return Sample(self.source, 0.0, self.side, problem=f"the proxy {error}", seconds=got.seconds)

    def _read(self, got: Answer) -> Sample:
        mine = f'server="{self.server}"'
        lines = [
            line
            for line in got.text.splitlines()
            if line.startswith(CADDY_SECONDS) and mine in line and 'handler="reverse_proxy"' in line
        ]
        found = metrics_formats.series("\n".join([f"# TYPE {CADDY_SECONDS} histogram", *lines, ""]))
        counters = {RESPONSES: 0.0, FAILED: 0.0}
        for name, labels, value in found:
            if name != f"{CADDY_SECONDS}_count" or metrics_formats.count(value) is None:
                continue
            code = labels.get("code", "")
            counters[RESPONSES] += value
            counters[FAILED] += value if code.startswith("5") else 0.0
            counters[f"responses_{code}_total"] = counters.get(f"responses_{code}_total", 0.0) + value
        histogram = metrics_formats.buckets(found, selector(CADDY_SECONDS))
        return Sample(
            self.source,
            0.0,
            self.side,
            seconds=got.seconds,
            counters=counters,
            histograms={SECONDS: histogram} if histogram else {},
        )


def wanted_by(gates: Iterable[Gate]) -> Wanted:
    """The service's metrics that these gates ask for."""
    counters: set[str] = set()
    gauges: set[str] = set()
    histograms: set[str] = set()
    beside: dict[str, set[str]] = {}
    for gate in gates:
        if source_of(gate) is not Source.SERVICE:
            continue
        match gate:
            case RatioGate():
                counters |= {*gate.numerator, *gate.denominator}
                gauges |= {gate.gauge} - {""}
            case QuantileGate():
                histograms.add(gate.histogram)
                gauges |= {gate.gauge} - {""}
            case RegressionGate():
                counters |= {*(gate.numerator or ()), *(gate.denominator or ())}
                counters |= {one for one in (gate.amount, gate.per) if one}
                histograms |= {gate.histogram} if gate.histogram else set()
                gauges |= {gate.gauge} if gate.gauge else set()
            case TrendGate():
                gauges |= {one for one in (gate.metric, gate.limit_metric) if one}
                histograms |= {gate.histogram} if gate.histogram else set()
            case GaugeGate():
                gauges.add(gate.metric)
        if isinstance(gate, RatioGate | RegressionGate):
            for name in gate.numerator or ():
                beside.setdefault(name, set()).update(gate.denominator or ())
    return Wanted(frozenset(counters), frozenset(gauges), frozenset(histograms), beside)


def source_of(gate: Gate) -> Source:
    """Return the source a gate listens to."""
    assert isinstance(
        gate, ConsecutiveGate | RatioGate | QuantileGate | RegressionGate | GaugeGate | TrendGate
    )
    return gate.source


def _get(endpoint: Endpoint, path: str, accept: str = "application/json") -> Answer:
    return endpoint.fetch("GET", path, headers={"Accept": accept})


def _said(got: Answer) -> str:
    return f": {words}" if (words := got.beginning()) else ""
