"""Gates: how rarely is a healthy release rolled back, how soon a bad one, and what does judging cost?"""

import math
import statistics
import time
from dataclasses import replace
from pathlib import Path

from bench.table import Table, Target, duration
from guarded_rollout.config.gates import load
from guarded_rollout.config.kinds import Source
from guarded_rollout.gates.judges import Judge, judge_of
from guarded_rollout.gates.samples import Histogram, Sample
from guarded_rollout.gates.simulate import Result, Scenario, simulate

ROOT = Path(__file__).parents[1]
LIMIT = 0.05
EDGES = (*(round(0.001 * 1.25**step, 6) for step in range(49)), math.inf)


def tables(quick: bool) -> list[Table]:
    """Both rules side by side over the same windows."""
    windows = 200 if quick else 1000
    return [healthy(windows), detection(windows), cost()]


def by_rule(scenario: Scenario) -> dict[str, Result]:
    return {result.rule: result for result in simulate(scenario)}


def healthy(windows: int) -> Table:
    rows, worst = [], 0.0
    for rps in (0.2, 1.0, 20.0):
        for share in (0.4, 0.6):
            scenario = Scenario(LIMIT * share, LIMIT, rps, windows)
            plain, sure = by_rule(scenario), by_rule(replace(scenario, full_window_confidence=0.99))
            early = plain["early alone"].false_share
            worst = max(worst, early)
            rows.append(
                (
                    f"{rps:g} requests/s, failing {LIMIT * share:.0%}",
                    f"{plain['literal'].false_share:.1%}",
                    f"{early:.1%}",
                    f"{plain['guarded'].false_share:.1%}",
                    f"{sure['guarded'].false_share:.1%}",
                )
            )
    return Table(
        f"Of {windows} healthy windows of an hour, how many are rolled back? (limit {LIMIT:.0%}, 10 minutes)",
        ("", "literal", "guarded: early", "guarded: early or full", "… with 0.99 asked of the full"),
        rows,
        [Target("healthy windows decided early, worst cell", "≤ 0.2 %", f"{worst:.1%}", worst <= 0.002)],
        "The full window decides by the guide's plain words; few requests make these words a coin toss.",
    )


def detection(windows: int) -> Table:
    cases = [
        (20.0, 0.3, 0, 10.0),
        (20.0, 0.3, 40, 10.0),
        (1.0, 1.0, 0, 10.0),
        (1.0, 1.0, 40, 10.0),
        (20.0, 0.1, 40, 30.0),
        (1.0, 0.3, 40, math.inf),
        (0.2, 0.3, 40, math.inf),
    ]
    rows, targets = [], []
    for rps, later, minute, wanted in cases:
        scenario = Scenario(0.02, LIMIT, rps, windows, later_rate=later, change_at=minute * 60)
        found = by_rule(scenario)
        early = found["early alone"]
        name = f"{rps:g} requests/s, 2 % → {later:.0%} at minute {minute}"
        rows.append(
            (
                name,
                f"{found['literal'].median_delay:.0f} s",
                f"{found['guarded'].median_delay:.1f} s",
                f"{early.median_delay:.1f} s",
                f"{1 - early.decided_share:.0%}",
            )
        )
        if wanted < math.inf:
            met = early.median_delay <= wanted
            targets.append(Target(name, f"≤ {wanted:g} s", f"{early.median_delay:.1f} s", met))
    return Table(
        "How long after the first bad request is it decided? (median)",
        ("", "literal", "guarded", "of it early", "left to the full window"),
        rows,
        targets,
    )


def cost() -> Table:
    file = load(ROOT / "quality-gates-config.json")
    judges = [judge_of(name, gate) for name, gate in file.environment("production").quality_gates.enabled()]
    for at in range(0, 3600, 5):
        look(judges, at)
    spent = []
    for step in range(200):
        begin = time.perf_counter()
        look(judges, 3600 + 5 * step)
        spent.append(time.perf_counter() - begin)
    median = statistics.median(spent)
    return Table(
        "What does one evaluation of all shipped gates cost, over an hour of readings every 5 s?",
        ("", "median", "slowest of 200"),
        [("three samples taken, seven verdicts given", duration(median), duration(max(spent)))],
        [Target("one evaluation", "≤ 2 ms", duration(median), median <= 0.002)],
    )


def look(judges: list[Judge], at: int) -> None:
    """One turn: a sample of each source, and every verdict."""
    buckets = tuple(float(min(at, at * step // 25)) for step in range(len(EDGES) - 1))
    service = Sample(
        Source.SERVICE,
        at,
        counters={
            "images_ok_total": at * 20,
            "images_failed_total": at // 5,
            "requests_total": at * 21,
            "server_errors_total": at // 7,
        },
        gauges={"low_confidence_queue_length": 5, "memory_usage_percentage": 40},
        histograms={"hash_seconds": Histogram(EDGES, (*buckets, float(at)))},
        started_at=1.0,
    )
    proxy = Sample(Source.PROXY, at, counters={"responses_total": at * 21, "responses_failed_total": at // 7})
    for sample in (service, proxy, Sample(Source.PROBE, at)):
        for judge in judges:
            judge.take(sample)
    for judge in judges:
        judge.verdict(at)
