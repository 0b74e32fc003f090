"""Metrics parsers: any answer is finite metrics or no metrics at all, and a sample survives the log."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from dhash_service.metrics import Metrics as ServiceMetrics
from fuzz.damage import damaged
from fuzz.engine import Check, Target, require
from fuzz.trees import LEAVES, changed
from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Sample
from guarded_rollout.host.endpoint import Answer, Endpoint
from guarded_rollout.monitor.metrics_formats import Metrics, NotMetricsError, Wanted, read
from guarded_rollout.monitor.sources import CADDY_SECONDS, ProxyMetrics

WANTED = Wanted(
    frozenset({"requests_total", "images_ok_total", 'dhash_requests_total{code=~"5.."}'}),
    frozenset({"error_rate", "memory_usage_percentage", "dhash_memory_usage_percentage"}),
    frozenset({"hash_seconds", "dhash_hash_seconds"}),
)
PROXY = (
    (
        b"# TYPE NAME histogram\n"
        b'NAME_bucket{code="200",INNER,le="0.1"} 3\n'
        b'NAME_bucket{code="200",INNER,le="+Inf"} 4\n'
        b'NAME_sum{code="200",INNER} 0.3\n'
        b'NAME_count{code="200",INNER} 4\n'
        b'NAME_count{code="502",INNER} 1\n'
    )
    .replace(b"INNER", b'handler="reverse_proxy",server="blue"')
    .replace(b"NAME", CADDY_SECONDS.encode())
)


def _answers() -> tuple[dict[str, Any], bytes]:
    """What a real service publishes, as JSON and as text."""
    metrics = ServiceMetrics("1.0.0-fuzz", count(0, 0.002).__next__)
    with metrics.hashing():
        pass
    metrics.count_request("/api/dhash", 201, 0.01)
    metrics.count_request("/api/dhash", 503, 0.01)
    document: dict[str, Any] = json.loads(json.dumps(metrics.as_json(3)))
    buckets = document["histograms"]["hash_seconds"]["buckets"]
    few = {edge: buckets[edge] for edge in ("0.001", "0.1", "+Inf")}
    document["histograms"]["hash_seconds"]["buckets"] = few
    return document | {"started_at": 1.0}, b"\n".join(
        line
        for line in metrics.as_prometheus(3).splitlines()
        if b"_created" not in line and (b"_bucket" not in line or b"0.1" in line or b"+Inf" in line)
    )


DOCUMENT, TEXT = _answers()
ODD_TEXTS = (b"NaN", b"-1", b"+Inf", b"-Inf", b"1e400", b"0x1p3", b"1_0", b"", b"9" * 400, b'"', b"1 2")


@st.composite
def renumbered(draw: DrawFn, text: bytes) -> bytes:
    """The text with some of its numbers replaced."""
    parts = re.split(rb"(\d[\d.e+-]*)", text)
    for _ in range(draw(st.integers(1, 3))):
        parts[draw(st.integers(0, len(parts) // 2 - 1)) * 2 + 1] = draw(st.sampled_from(ODD_TEXTS))
    return b"".join(parts)


BODIES = st.one_of(
    renumbered(TEXT),
    renumbered(PROXY),
    changed(DOCUMENT, ("error_rate", "+Inf", "nan", "1e400", "-1", "counters"), LEAVES).map(
        lambda tree: json.dumps(tree).encode()
    ),
    damaged([TEXT, PROXY, json.dumps(DOCUMENT).encode()], [b"# TYPE a histogram\n", b"{", b'a{b="', b"<!"]),
)
TYPES = ("application/json", "text/plain; version=0.0.4", "text/html", "")


PROXY_METRICS = ProxyMetrics(Endpoint("http://localhost"), "blue")


@contextmanager
def opened() -> Iterator[Check]:
    yield check


def check(drawn: tuple[bytes, str]) -> None:
    """Read as the service's, and as the proxy's."""
    body, content_type = drawn
    try:
        found = read(body, content_type, WANTED)
    except NotMetricsError as error:
        require(bool(str(error)), "refused without a word")
    else:
        _sound(found)
    seen = PROXY_METRICS.sample_of(Answer(200, body, {"content-type": content_type}))
    require(all(value >= 0 for value in seen.counters.values()), f"{seen.counters}")
    _survives(seen)


def _sound(found: Metrics) -> None:
    for value in (*found.counters.values(), *found.gauges.values()):
        require(math.isfinite(value), f"{value} is no number")
    require(all(value >= 0 for value in found.counters.values()), "a counter below nought")
    sample = Sample(
        Source.SERVICE,
        1.0,
        counters=found.counters,
        gauges=found.gauges,
        histograms=found.histograms,
        started_at=found.started_at,
        release=found.release,
    )
    _survives(sample)


def _survives(sample: Sample) -> None:
    """What the log keeps of a sample gives the same sample again."""
    line = json.dumps(sample.as_json(), allow_nan=False)
    require(Sample.from_json(json.loads(line)) == sample, "the log keeps another sample")


TARGET = Target("metrics", st.tuples(BODIES, st.sampled_from(TYPES)), opened)
