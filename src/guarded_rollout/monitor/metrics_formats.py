"""Metrics as services publish them: the contract's JSON or Prometheus's text. No number is no metric."""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from guarded_rollout.gates.samples import Histogram


class NotMetricsError(ValueError):
    """An answer that is no metrics at all; the message says what it is instead."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """The published metrics, of those that were wanted."""

    counters: Mapping[str, float] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    started_at: float | None = None
    release: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The metrics that gates ask for, by name or as `name{label="value",label=~"pattern"}`."""

    counters: Collection[str] = ()
    gauges: Collection[str] = ()
    histograms: Collection[str] = ()
    beside: Mapping[str, Collection[str]] = field(default_factory=dict)  # a counter's denominators


def read(body: bytes, content_type: str, wanted: Wanted) -> Metrics:
    """Metrics in either format. Raises `NotMetricsError`."""
    text = body.decode(errors="replace").lstrip("\ufeff \t\r\n")
    if not text:
        raise NotMetricsError("answered nothing")
    if text.startswith(("<!", "<html", "<HTML")):
        raise NotMetricsError("answered HTML instead of metrics")
    return read_json(text, wanted) if text.startswith(("{", "[")) else read_prometheus(text, wanted)


# ---- JSON


def read_json(text: str, wanted: Wanted) -> Metrics:
    """The service's own JSON: gauges at the top, `counters` and `histograms` beside them."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotMetricsError(f"answered no valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise NotMetricsError("answered JSON that is no object")
    counters = _object(document.get("counters"))
    histograms = {
        name: histogram
        for name, given in _object(document.get("histograms")).items()
        if name in wanted.histograms and (histogram := _histogram(given)) is not None
    }
    started = number(document.get("started_at"))
    release = document.get("release")
    return Metrics(
        counters={
            name: value for name in wanted.counters if (value := count(counters.get(name))) is not None
        },
        gauges={name: value for name in wanted.gauges if (value := number(document.get(name))) is not None},
        histograms=histograms,
        started_at=started,
        release=release if isinstance(release, str) else "",
    )


def number(value: object) -> float | None:
    """A finite number, or None: neither NaN nor text nor true is one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:  # JSON's whole numbers have no end
        return None
    return found if math.isfinite(found) else None


def count(value: object) -> float | None:
    """A number that a counter can have."""
    found = number(value)
    return found if found is not None and found >= 0 else None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _histogram(given: object) -> Histogram | None:
    buckets = _object(_object(given).get("buckets"))
    try:
        pairs = sorted((float(edge), float(value)) for edge, value in buckets.items())
        return Histogram(tuple(edge for edge, _ in pairs), tuple(value for _, value in pairs))
    except (ValueError, TypeError, OverflowError):
        return None


# ---- Prometheus's text


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric's name and what its labels must be."""

    name: str
    labels: tuple[tuple[str, re.Pattern[str]], ...] = ()

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        return name == self.name and all(
            pattern.fullmatch(labels.get(label, "")) for label, pattern in self.labels
        )


@cache
def selector(text: str) -> Selector:
    """`name`, or `name{code=~"5..",server="blue"}`."""
    name, brace, inside = text.partition("{")
    if not brace:
        return Selector(name)
    found = re.findall(r'(\w+)(=~|=)"([^"]*)"', inside)
    return Selector(
        name,
        tuple((label, re.compile(value if how == "=~" else re.escape(value))) for label, how, value in found),
    )


def read_prometheus(text: str, wanted: Wanted) -> Metrics:
    """Prometheus's text format; the values of all series that match a name are added up."""
    found, declared = _published(text)
    if not declared:
        raise NotMetricsError("answered no metrics")
    counters = _counters(found, declared, wanted)
    gauges = {name: number(_sum(found, selector(name))) for name in wanted.gauges}
    return Metrics(
        counters={name: value for name, value in counters.items() if value is not None},
        gauges={name: value for name, value in gauges.items() if value is not None},
        histograms={
            name: one for name in wanted.histograms if (one := buckets(found, selector(name))) is not None
        },
        started_at=_sum(found, selector("process_start_time_seconds")),
    )


Series = tuple[str, Mapping[str, str], float]


def _counters(
    found: Iterable[Series], declared: Collection[str], wanted: Wanted
) -> Mapping[str, float | None]:
    """The counters' values. A client library publishes no series before its first event, so one that is not
    there is 0: if its family is declared, or if it is told apart by labels and what it is a part of is there.
    """
    values = {name: count(_sum(found, selector(name))) for name in wanted.counters}
    for name, value in values.items():
        if value is None:
            whole = any(values.get(other) is not None for other in wanted.beside.get(name, ()))
            if selector(name).name in declared or (whole and selector(name).labels):
                values[name] = 0.0
    return values


def names_in(body: bytes) -> frozenset[str]:
    """The names of all metrics that an answer publishes, without labels. Raises `NotMetricsError`."""
    text = body.decode(errors="replace").lstrip("\ufeff \t\r\n")
    if not text.startswith("{"):
        return _published(text)[1]
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotMetricsError(f"answered no valid JSON: {error}") from None
    inside = (_object(document.get(key)) for key in ("counters", "histograms"))
    top = {name for name, value in document.items() if number(value) is not None}
    return frozenset(top.union(*inside))


def series(text: str) -> list[Series]:
    """Return all series of Prometheus's text. Raises `NotMetricsError`."""
    return _published(text)[0]


def _published(text: str) -> tuple[list[Series], frozenset[str]]:
    """All series, and the names of all families, those without a series too."""
    from prometheus_client.parser import (
        text_string_to_metric_families,  # a service that answers JSON needs none
    )

    try:
        families = list(text_string_to_metric_families(text))
        found: list[Series] = [
            (sample.name, sample.labels, float(sample.value))
            for family in families
            for sample in family.samples
        ]
        # the parser takes `_total` off a counter's name
        names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
        return found, frozenset(names | {name for name, _, _ in found})
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise NotMetricsError(f"answered neither JSON nor Prometheus's text: {error}") from None


def buckets(found: Iterable[Series], wanted: Selector) -> Histogram | None:
    """The histogram that all matching series make together."""
    bucket = Selector(f"{wanted.name}_bucket", wanted.labels)
    counts: dict[float, float] = {}
    try:
        for name, labels, value in found:
            if bucket.matches(name, labels) and count(value) is not None:
                edge = float(labels.get("le", "nan"))
                counts[edge] = counts.get(edge, 0.0) + value
        return Histogram(tuple(sorted(counts)), tuple(counts[edge] for edge in sorted(counts)))
    except ValueError:
        return None


def _sum(found: Iterable[Series], wanted: Selector) -> float | None:
    values = [value for name, labels, value in found if wanted.matches(name, labels)]
    return sum(values) if values else None
