"""Gates: how rarely is a healthy release rolled back, how soon a bad one, and what does judging cost?"""

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from bench import beside
from bench.peers.argo import Argo
from bench.peers.counts import Counts
from bench.peers.flagger import Flagger
from bench.peers.kayenta import Kayenta
from bench.table import Quantity, Table, Target, duration, share
from guarded_rollout.config.gates import load
from guarded_rollout.config.terms import Source
from guarded_rollout.gates.panel import Panel
from guarded_rollout.gates.samples import SIDES, Histogram, Sample
from guarded_rollout.gates.simulate import RuleResult, Scenario, draw, result_of, simulate
from guarded_rollout.monitor.recordings import READING, Drawn, recording

ROOT = Path(__file__).parents[1]
LIMIT = 0.05
HOUR = 3600.0
EDGES = (*(round(0.001 * 1.25**step, 6) for step in range(49)), math.inf)
PEERS = ("Flagger", "Argo", "Kayenta 5 min", "Kayenta 30 min")
CONFIGURED = (
    "All are asked about the same windows. Flagger: at least 95 % succeed each minute, threshold 5. Argo: "
    "the same each 5 minutes, failureLimit 3. Both as their documents' examples, until the hour is over. "
    "Kayenta: error share by minute against a baseline with as many requests, failing 2 % (or as the healthy "
    "release does); confidence 0.98, tolerance 0.25, a run each 5 or 30 minutes over all since the start, "
    "without lookback (advised: 60); it knows no limit."
)


def tables(quick: bool) -> list[Table]:
    """Our rules and other people's side by side over the same windows."""
    windows = 200 if quick else 1000
    return [healthy(windows), detection(windows), *beside.tables(quick), cost()]


def by_rule(scenario: Scenario) -> dict[str, RuleResult]:
    """What our rules did with the windows of a scenario."""
    return {result.rule: result for result in simulate(scenario)}


def by_peer(scenario: Scenario) -> dict[str, RuleResult]:
    """What each peer did with the same windows; the baseline is a release that goes on failing as before."""
    failed, asked, first_bad = draw(scenario)
    steady = replace(scenario, later_rate=None, seed=scenario.seed + 1)
    canary, baseline = (
        Counts(bad, total, scenario.counter_interval) for bad, total in ((failed, asked), draw(steady)[:2])
    )
    decided = (
        Flagger(1 - scenario.limit).decided(canary),
        Argo(1 - scenario.limit).decided(canary),
        Kayenta(interval=300).decided(canary, baseline),
        Kayenta(interval=1800).decided(canary, baseline),
    )
    return {
        peer: result_of(scenario, peer, seconds, first_bad)
        for peer, seconds in zip(PEERS, decided, strict=True)
    }


def healthy(windows: int) -> Table:
    rows, worst = [], 0.0
    for rps in (0.2, 1.0, 20.0):
        for part in (0.4, 0.6):
            scenario = Scenario(LIMIT * part, LIMIT, rps, windows)
            plain, sure = by_rule(scenario), by_rule(replace(scenario, full_window_confidence=0.99))
            worst = max(worst, plain["early alone"].false_share)
            found = (
                plain["literal"],
                plain["early alone"],
                plain["guarded"],
                sure["guarded"],
                *by_peer(scenario).values(),
            )
            name = f"{rps:g} requests/s, failing {LIMIT * part:.0%}"
            rows.append((name, *(share(result.false_share) for result in found)))
    return Table(
        f"Of {windows} healthy windows of an hour, how many are rolled back? (limit {LIMIT:.0%}, 10 minutes)",
        ("", "literal", "guarded: early", "… early or full", "… 0.99 of the full", *PEERS),
        rows,
        [Target("healthy windows decided early, worst cell", "≤ 0.2 %", share(worst), worst <= 0.002)],
        "The full window decides by the guide's plain words; few requests make these words a coin toss. "
        + CONFIGURED,
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
        found, peers = by_rule(scenario), by_peer(scenario)
        early = found["early alone"]
        name = f"{rps:g} requests/s, 2 % → {later:.0%} at minute {minute}"
        shown = [found["literal"], found["guarded"], early]
        rows.append(
            (name, *map(delay, shown), share(1 - early.decided_share), *map(delay, peers.values())),
        )
        if wanted < math.inf:
            met = early.median_delay <= wanted
            targets.append(Target(name, f"≤ {wanted:g} s", delay(early), met))
    return Table(
        "How long after the first bad request is it decided? (median; “never” within the hour)",
        ("", "literal", "guarded", "of it early", "left to the full window", *PEERS),
        rows,
        targets,
        "Windows that were rolled back before the change are left out of the delays. " + CONFIGURED,
    )


def delay(result: RuleResult) -> str:
    """The median delay of the windows that were not rolled back before, and how many were."""
    if result.too_early == result.windows:
        return "all before"
    text = "never" if result.median_delay == math.inf else duration(result.median_delay)
    if not result.too_early:
        return text
    return Quantity(f"{text} ({result.false_share:.1%} before)", result.median_delay, "s")


def cost() -> Table:
    """Processor time, so that what else the machine does is not measured."""
    environment = load(ROOT / "quality-gates-config.json").environment("production")
    gates = dict(environment.quality_gates.enabled())
    polls = environment.monitoring.poll_intervals
    panel = Panel(gates.items(), polls, alphas=environment.alphas)
    spent = []
    for at, samples in readings(HOUR + 200 * READING):
        begin = time.thread_time()
        for sample in samples:
            panel.take(sample)
        if at > HOUR:
            spent.append(time.thread_time() - begin)
    median = statistics.median(spent)
    busy = median / READING
    return Table(
        f"What does judging cost, after an hour of readings every {READING:g} s?",
        ("", "CPU, median", "slowest of 200", "of a core"),
        [
            (
                f"one reading of all sources on both sides, judged by all {len(gates)} shipped gates",
                duration(median),
                duration(max(spent)),
                share(busy),
            )
        ],
        [Target("judging, all the time", "≤ 0.5 % of a core", share(busy), busy <= 0.005)],
    )


def readings(seconds: float) -> Iterator[tuple[float, list[Sample]]]:
    """What is read at each moment of a window: a drawn recording, and the sources that it leaves out."""
    drawn = recording(Drawn(20.0, seconds=seconds))
    for at, samples in groupby(drawn.samples, key=lambda one: one.at):
        yield at, [*samples, *reported(at)]


def reported(at: float) -> Iterator[Sample]:
    """What the release says of itself, the proxy's count, and an answer of each other kind."""
    buckets = tuple(at * step // 25 for step in range(len(EDGES) - 1))
    asked = at * 25
    counted = {"images_ok_total": at * 20, "images_failed_total": at // 5}
    yield Sample(
        Source.SERVICE,
        at,
        counters={**counted, "requests_total": asked, "server_errors_total": at // 7},
        gauges={"low_confidence_queue_length": 5, "memory_usage_percentage": 40},
        histograms={"hash_seconds": Histogram(EDGES, (*buckets, at * 25))},
        started_at=1.0,
    )
    yield Sample(Source.PROXY, at, counters={"responses_total": asked, "responses_failed_total": at // 7})
    yield Sample(Source.PROBE, at)
    yield Sample(Source.PROBE, at, path="/metrics")
    yield Sample(Source.STALL, at, gauges={"unanswered_seconds": 0.0})
    yield Sample(Source.CRASHES, at, gauges={"crashes": 0.0})
    yield Sample(Source.WRITES, at, gauges={"lost_writes": 0.0})
    for side in SIDES:
        yield Sample(Source.CHECKS, at, side)
