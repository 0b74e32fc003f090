"""Grafana's panels as JSON: a few kinds, all asking Prometheus."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from guarded_rollout.host.slots import SLOTS

Json = dict[str, Any]

WIDTH = 24  # columns of a dashboard
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"": "short", "%": "percent", "items": "short"}
GRAFANA_UNITS = frozenset({"short", "percent", "ms", "s", "bytes", "reqps", "ops"})


def series(
    title: str,
    expr: str,
    legend: str,
    width: int,
    *,
    unit: str = "",
    limit: float | None = None,
    description: str = "",
) -> Json:
    """Values over time; a limit is a line that the axis always reaches, with its far side shaded."""
    style = {"lineWidth": 2, "thresholdsStyle": {"mode": "off"}}
    steps = [{"color": "green", "value": None}]
    if limit is not None:
        style |= {"thresholdsStyle": {"mode": "line+area"}, "axisSoftMax": limit}
        steps.append({"color": "red", "value": limit})  # type: ignore[dict-item]
    panel = _panel("timeseries", title, width, 8, description)
    panel["fieldConfig"] = {
        "defaults": {
            "unit": _unit(unit),
            "min": 0,
            "color": {"mode": "palette-classic"},
            "custom": style,
            "thresholds": {"mode": "absolute", "steps": steps},
        },
        "overrides": [_colour(slot) for slot in SLOTS],
    }
    panel["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel | {"targets": [_target("A", expr, legend)]}


def quantiles(title: str, buckets: str, width: int) -> Json:
    """The usual quantiles of a histogram, by slot; `buckets` is the sum of its buckets' rates."""
    panel = series(title, "", "", width, unit="s")
    asked = zip("ABC", (0.5, 0.95, 0.99), strict=True)
    return panel | {
        "targets": [
            _target(ref, f"histogram_quantile({q}, {buckets})", f"{{{{slot}}}} p{q * 100:g}")
            for ref, q in asked
        ]
    }


def numbers(title: str, expr: str, width: int) -> Json:
    """A number now, red from 1 on."""
    steps = [{"color": "green", "value": None}, {"color": "red", "value": 1}]
    panel = _panel("stat", title, width, 5)
    defaults = {"unit": "short", "color": {"mode": "thresholds"}}
    panel["fieldConfig"] = {
        "defaults": defaults | {"thresholds": {"mode": "absolute", "steps": steps}},
        "overrides": [],
    }
    panel["options"] = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    return panel | {"targets": [_target("A", expr, "")]}


def states(title: str, expr: str, legend: str, width: int, names: Mapping[int, tuple[str, str]]) -> Json:
    """States over time; `names` has the word and the colour of each value."""
    options = {str(value): {"text": word, "color": colour} for value, (word, colour) in names.items()}
    panel = _panel("state-timeline", title, width, 5)
    mappings = [{"type": "value", "options": options}]
    panel["fieldConfig"] = {"defaults": {"unit": "short", "mappings": mappings}, "overrides": []}
    panel["options"] = {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8}
    return panel | {"targets": [_target("A", expr, legend)]}


def text(title: str, words: str) -> Json:
    """Words where there is nothing to draw."""
    panel = _panel("text", title, 8, 8)
    del panel["datasource"]
    return panel | {"options": {"mode": "markdown", "content": words}}


def row(title: str) -> Json:
    """A heading."""
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": WIDTH, "h": 1}}


def placed(panels: Iterable[Json]) -> Iterator[Json]:
    """Place the panels from left to right and line by line, with ids from 1."""
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        place = panel["gridPos"]
        if x + place["w"] > WIDTH:
            x, y, height = 0, y + height, 0
        yield {"id": number, **panel, "gridPos": {"x": x, "y": y, **place}}
        x, height = x + place["w"], max(height, place["h"])


def _panel(kind: str, title: str, width: int, height: int, description: str = "") -> Json:
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": height},
    }


def _target(ref: str, expr: str, legend: str) -> Json:
    return {
        "refId": ref,
        "datasource": SOURCE,
        "expr": expr,
        "legendFormat": legend or "__auto",
        "range": True,
    }


def _unit(unit: str) -> str:
    known = UNITS.get(unit, unit)
    return known if known in GRAFANA_UNITS else f"suffix: {unit}"


def _colour(slot: str) -> Json:
    """A slot has the colour of its name."""
    return {
        "matcher": {"id": "byName", "options": slot},
        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": slot}}],
    }
