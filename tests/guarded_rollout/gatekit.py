"""What the tests of gates share: the shipped gates, gates made from JSON, and samples in one line."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from guarded_rollout.config.gates import EnvironmentGates, GatesFile, load, parse
from guarded_rollout.config.kinds import Gate
from guarded_rollout.config.terms import Source
from guarded_rollout.gates.judges import judge_of
from guarded_rollout.gates.samples import Histogram, Sample, Side
from guarded_rollout.gates.verdict import Verdict

SHIPPED = Path(__file__).parents[2] / "quality-gates-config.json"
EDGES = (0.01, 0.1, 0.5, 1.0, 2.0, 3.0, 5.0, math.inf)


def shipped(environment: str) -> EnvironmentGates:
    return load(SHIPPED).environment(environment)


def shipped_gate(environment: str, name: str) -> Gate:
    return dict(shipped(environment).quality_gates.enabled())[name]


def gate(name: str, **definition: Any) -> Gate:
    """The gate that this definition means in a gates file."""
    return dict(gates_file(**{name: definition}).environment("production").quality_gates.enabled())[name]


def gates_file(**gates: Any) -> GatesFile:
    text = json.dumps({"environments": {"production": {"quality_gates": gates}}})
    found, problems = parse(text)
    assert found is not None, problems
    return found


def service(
    at: float,
    *,
    images_failed: float = 0,
    images_ok: float = 0,
    images_rejected: float = 0,
    errors: float = 0,
    requests: float = 0,
    started_at: float = 1.0,
    side: Side = Side.CANDIDATE,
    histogram: Histogram | None = None,
    **gauges: float,
) -> Sample:
    """A reading of the service's own metrics; counters are cumulative."""
    counters = {
        "images_ok_total": images_ok,
        "images_rejected_total": images_rejected,
        "images_failed_total": images_failed,
        "requests_total": requests,
        "server_errors_total": errors,
    }
    histograms = {} if histogram is None else {"hash_seconds": histogram}
    return Sample(
        Source.SERVICE,
        at,
        side,
        counters=counters,
        gauges=gauges,
        histograms=histograms,
        started_at=started_at,
    )


def proxy(at: float, failed: float, total: float, side: Side = Side.CANDIDATE) -> Sample:
    counters = {"responses_failed_total": failed, "responses_total": total}
    return Sample(Source.PROXY, at, side, counters=counters)


def edge(
    at: float,
    side: Side = Side.CANDIDATE,
    *,
    requests: float,
    failed: float = 0.0,
    seconds: Histogram | None = None,
    since: float = 0.0,
) -> Sample:
    """What the edge's log counted up to a moment."""
    counters = {"requests_total": requests, "failed_total": failed}
    histograms = {"seconds": seconds} if seconds else {}
    return Sample(Source.EDGE, at, side, counters=counters, histograms=histograms, started_at=since)


def probe(at: float, ok: bool = True, side: Side = Side.CANDIDATE, path: str = "") -> Sample:
    return Sample(Source.PROBE, at, side, path, problem="" if ok else "answered 503")


def times(values: list[float]) -> Histogram:
    """The cumulative histogram of these durations in seconds."""
    return Histogram(EDGES, tuple(float(sum(value <= edge for value in values)) for edge in EDGES))


def judge(name: str, gate: Gate, samples: Iterable[Sample], now: float, began_at: float = 0.0) -> Verdict:
    """Return the verdict of a gate on these samples."""
    one = judge_of(name, gate, began_at)
    for sample in samples:
        one.take(sample)
    return one.verdict(now)
