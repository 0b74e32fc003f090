"""The gates as a Grafana dashboard: each against its limit for both slots, the traffic, the releases.

Grafana reads this schema from 10.4 on; the data source is a variable, so the file can be imported anywhere.
"""

from collections.abc import Iterator

from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.config.kinds import ConsecutiveGate, Gate, RegressionGate, TrendGate
from guarded_rollout.config.service import Exported
from guarded_rollout.export.panels import SOURCE, Json, numbers, placed, quantiles, row, series, states, text
from guarded_rollout.export.queries import (
    BY_SLOT,
    NoQueryError,
    answers,
    healthy,
    in_prometheus,
    query_of,
    quoted,
)
from guarded_rollout.gates.describe import condition

SCHEMA_VERSION = 39
USUAL = Exported()


def dashboard(name: str, config: EnvironmentGates, exported: Exported = USUAL) -> Json:
    """Return the dashboard of an environment."""
    gates = _gates(name, config, exported)
    panels = list(placed([*_overview(name, exported), *gates, *_traffic(name), *_service(name, exported)]))
    return {
        "uid": f"rollout-{name}"[:40],
        "title": f"Rollout gates, {name}",
        "description": "Made by `rollout gates export grafana`: edit the gates file and export it again",
        "tags": ["rollout", name],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # one crosshair over all panels
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "templating": {"list": [_data_source_variable()]},
        "annotations": {"list": [_starts(name, exported)]},
        "panels": panels,
    }


def _data_source_variable() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "refresh": 1,
        "hide": 0,
    }


def _starts(environment: str, exported: Exported) -> Json:
    """A mark at each start of a release."""
    return {
        "name": "A release starts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": f"{exported.started}{{environment={quoted(environment)}}} * 1000",
        "useValueForTime": "on",
        "titleFormat": "{{slot}} starts",
    }


# ---- what is shown


def _overview(environment: str, exported: Exported) -> Iterator[Json]:
    mine = f"environment={quoted(environment)}"
    firing = f'count(ALERTS{{alertstate="firing",{mine}}}) or vector(0)'
    yield numbers("Alerts", firing, 4)
    health = f"max {BY_SLOT} ({healthy(environment)})"
    yield states("Health", health, "{{slot}}", 10, {0: ("not healthy", "red"), 1: ("healthy", "green")})
    releases = f"{exported.build_info}{{{mine}}}"
    if exported.build_info:
        yield states("Releases", releases, "{{slot}}: {{release}}", 10, {1: ("runs", "blue")})


def _gates(environment: str, config: EnvironmentGates, exported: Exported) -> Iterator[Json]:
    yield row("Gates, each over its own window")
    for name, gate in config.quality_gates.enabled():
        told = ". ".join(filter(None, (gate.description, f"Fails {condition(gate)}.")))
        try:
            yield _gate_panel(name, in_prometheus(gate, exported.names), environment, told)
        except NoQueryError as error:
            yield text(name, f"{told}\n\nNot shown: {error}.")


def _gate_panel(name: str, gate: Gate, environment: str, told: str) -> Json:
    expr = query_of(gate, environment).value
    if isinstance(gate, RegressionGate):  # its limit is a factor between the two lines
        return series(name, expr, "{{slot}}", 8, description=told)
    unit = "failed checks" if isinstance(gate, ConsecutiveGate) else getattr(gate, "unit", "")
    if isinstance(gate, TrendGate):
        return series(name, expr, "{{slot}}", 8, unit="%", limit=100, description=told)
    limit = gate.threshold.limit  # type: ignore[attr-defined]
    return series(name, expr, "{{slot}}", 8, unit=unit, limit=limit, description=told)


def _traffic(environment: str) -> Iterator[Json]:
    def rate(suffix: str = "_count", by: str = BY_SLOT) -> str:
        return answers(environment, "rate", "$__rate_interval", suffix, by)

    yield row("Traffic, as the proxy sees it")
    share = f"100 * {rate()}\n  / on (environment) group_left {rate(by='by (environment)')}"
    yield series("Share of the traffic", share, "{{slot}}", 6, unit="%")
    yield series("Requests", rate(), "{{slot}}", 6, unit="reqps")
    codes = rate(by="by (environment, slot, code)")
    yield series("Answers by status", codes, "{{slot}} {{code}}", 6, unit="reqps")
    yield quantiles("Time to answer", rate("_bucket", "by (environment, slot, le)"), 6)


def _service(environment: str, exported: Exported) -> Iterator[Json]:
    def rate(metric: str, by: str) -> str:
        mine = f"{metric}{{environment={quoted(environment)}}}"
        return f"sum by (environment, slot, {by}) (rate({mine}[$__rate_interval]))"

    if exported.panels:
        yield row("The service, as it sees itself")
    for panel in exported.panels:
        told = rate(panel.metric, panel.by)
        if panel.by == "le":
            yield quantiles(panel.title, told, 8)
        else:
            legend = f"{{{{slot}}}} {{{{{panel.by}}}}}"
            yield series(panel.title, told, legend, 8, unit=panel.unit)
