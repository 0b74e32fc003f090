"""Gate configuration: any text is gates that can be explained, exported and judged by, or problems."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from fuzz.damage import damaged
from fuzz.engine import Check, Target, require
from fuzz.trees import LEAVES, changed
from guarded_rollout.config.gates import EnvironmentGates, parse
from guarded_rollout.config.terms import Source
from guarded_rollout.export.grafana import dashboard
from guarded_rollout.export.prometheus import as_yaml, groups_of
from guarded_rollout.gates.describe import describe_file
from guarded_rollout.gates.panel import Panel
from guarded_rollout.gates.samples import Histogram, Sample
from guarded_rollout.monitor.metrics_formats import selector
from guarded_rollout.monitor.sources import source_of, wanted_by

SHIPPED = (Path(__file__).parents[2] / "quality-gates-config.json").read_text()
OWN: dict[str, Any] = {
    "environments": {
        "production": {
            "quality_gates": {
                "ratio": {
                    "kind": "ratio",
                    "numerator": ['requests_total{code=~"5.."}', "timeouts_total"],
                    "denominator": ["requests_total"],
                    "decision": {"alert": "literal", "auto_rollback": "guarded"},
                    "full_window_confidence": 0.99,
                    "threshold": {"max_percentage": 5, "evaluation_window_minutes": 1, "min_sample_size": 1},
                },
                "quantile": {
                    "kind": "quantile",
                    "source": "proxy",
                    "histogram": "response_seconds",
                    "threshold": {"max_value": 1, "evaluation_window_minutes": 1, "min_sample_size": 1},
                },
                "regression": {
                    "kind": "regression",
                    "numerator": ["images_rejected_total"],
                    "denominator": ["images_ok_total"],
                    "threshold": {"max_ratio": 2, "evaluation_window_minutes": 1, "min_sample_size": 1},
                },
                "gauge": {
                    "kind": "gauge",
                    "metric": "depth",
                    "threshold": {"max_value": 1, "check_interval_seconds": 1},
                    "on_no_data": [{"after_seconds": 1, "actions": ["alert"]}],
                },
                "consecutive": {
                    "kind": "consecutive",
                    "path": "/health/ready",
                    "threshold": {"consecutive_failures": 1, "check_interval_seconds": 1},
                },
            }
        }
    }
}
WORDS = (
    "decision",
    "guarded",
    "on_no_data",
    "actions",
    "threshold",
    "kind",
    "source",
    "gauge",
    "unit",
    "scale",
)
LEAF = st.one_of(
    LEAVES, st.sampled_from(WORDS), st.sampled_from(("probe", "service", "proxy", "a{", 'a{b=~"("}'))
)


def _text(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False)


TEXTS = st.one_of(
    changed(json.loads(SHIPPED), WORDS, LEAF).map(_text),
    changed(OWN, WORDS, LEAF).map(_text),
    damaged([_text(OWN).encode()]).map(lambda data: data.decode(errors="replace")),
)


@contextmanager
def opened() -> Iterator[Check]:
    yield check


def check(text: str) -> None:
    """Gates or problems, never both and never anything else."""
    file, problems = parse(text)
    if file is None:
        require(bool(problems), "refused without a word")
        require(all(one.where and one.sentence for one in problems), f"a problem without words: {problems}")
        return
    require(not problems, f"accepted with {problems}")
    require(all(isinstance(line, str) for line in describe_file(file)), "no words")
    yaml.safe_load(as_yaml(groups_of(file)))
    for name, environment in file.environments.items():
        json.dumps(dashboard(name, environment), allow_nan=False)
        _judge(environment)


def _judge(config: EnvironmentGates) -> None:
    """The gates judge a few samples without failing, and say so in words and numbers."""
    gates = dict(config.quality_gates.enabled())
    panel = Panel(gates.items(), config.monitoring.poll_intervals, 0.0)
    wanted = wanted_by(gates.values())
    for name in (*wanted.counters, *wanted.gauges, *wanted.histograms):
        selector(name)
    for at in range(1, 5):
        for source in {source_of(gate) for gate in gates.values()}:
            counts = {name: float(10 * at) for name in wanted.counters}
            histogram = Histogram((0.1, 1.0, math.inf), (1.0 * at, 2.0 * at, 3.0 * at))
            sample = Sample(
                source,
                float(at),
                counters={} if source is Source.PROBE else counts,
                gauges=dict.fromkeys(wanted.gauges, 1.0),
                histograms=dict.fromkeys(wanted.histograms, histogram),
            )
            for change in panel.take(sample):
                json.dumps(change.verdict.as_json(), allow_nan=False)


ENDLESS = _text(OWN).replace('"check_interval_seconds": 1}', '"check_interval_seconds": 5e-324}')
BEYOND = _text(OWN).replace('"max_value": 1, "eval', '"max_value": 0.0625, "eval')  # in the last bucket
TARGET = Target("gates", TEXTS, opened, (SHIPPED, ENDLESS, BEYOND))
