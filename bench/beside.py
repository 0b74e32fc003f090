"""Gates that compare two releases, and other people's rules, on the same recordings."""

import math
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from bench.peers.argo import Argo
from bench.peers.counts import Counts, Numbers
from bench.peers.flagger import Flagger
from bench.peers.kayenta import Kayenta
from bench.table import Table, Target, duration, share
from guarded_rollout.config.gates import EnvironmentGates, load
from guarded_rollout.config.terms import Action, Source
from guarded_rollout.gates.replay import replay
from guarded_rollout.gates.samples import Recording, Side
from guarded_rollout.gates.verdict import News
from guarded_rollout.monitor.recordings import READING, Drawn, Fault, drawn_gates, recording

ROOT = Path(__file__).parents[1]
MINUTES = 12
FAULTS = (
    Fault("a tenth of the searches differ", differing=0.1),
    Fault("answers that differ three times in ten", differing=0.3),
    Fault("one request in ten fails", failing=0.1),
    Fault("one request in five is cut", cutting=0.2),
    Fault("2.5 times as slow", slower=2.5),
    Fault("4 times as slow", slower=4.0),
    Fault("slower by 5 % each 10 s", slowing=0.05),
    Fault("burns a core", burning=1.0),
    Fault("leaks 1 MB a request", leaking=1e6),
    Fault("leaves a descriptor open with each request", leaving_open=1.0),
)
CONFIGURED = (
    "All are asked about the same windows, in which stable has 90, 50 and then 5 % of the traffic. Flagger: "
    "success of 99 %, and 99 % of the answers within 500 ms, each minute, threshold 5, as its documents' "
    "example. Argo: success of 95 % each 5 minutes, failureLimit 3. Kayenta: shares of failures, and of "
    "answers above 100 ms, by minute beside the other release; a run each 5 minutes. Nobody else reads "
    "processes or compares answers."
)


@cache
def comparing() -> EnvironmentGates:
    """The gates of production that see what two releases do from outside."""
    return drawn_gates(load(ROOT / "quality-gates-config.json").environment("production"))


def decided(drawn: Drawn) -> tuple[float, float, dict[str, float]]:
    """Return the seconds to our rollback, our first alert and each peer's rollback; infinite if never."""
    made = recording(drawn)
    found = replay(comparing(), made)
    alerts = (one.at for one in found.changes if one.news is News.FAILED and Action.ALERT in one.actions)
    back = math.inf if found.rolled_back_at is None else found.rolled_back_at
    return back, next(alerts, math.inf), _peers(made)


def _peers(made: Recording) -> dict[str, float]:
    mine, stable = (_counts(made, side) for side in (Side.CANDIDATE, Side.STABLE))
    errors, slow, slower = mine
    stable_errors, _, stable_slower = stable
    return {
        "Flagger": float(min(Flagger(0.99).decided(errors)[0], Flagger(0.99).decided(slow)[0])),
        "Argo": float(Argo(0.95).decided(errors)[0]),
        "Kayenta": float(
            min(
                Kayenta(interval=300).decided(errors, stable_errors)[0],
                Kayenta(interval=300).decided(slower, stable_slower)[0],
            )
        ),
    }


def _counts(made: Recording, side: Side) -> tuple[Counts, Counts, Counts]:
    """Failures, answers above 500 ms, and answers above 100 ms, of each reading."""
    read = [one for one in made.samples if one.source is Source.EDGE and one.side is side]
    edges = read[0].histograms["seconds"].edges
    above = [next(n for n, edge in enumerate(edges) if edge >= limit) for limit in (0.5, 0.1)]
    total = np.diff([one.counters["requests_total"] for one in read])
    failed = np.diff([one.counters["failed_total"] for one in read])
    late = [
        np.diff([one.histograms["seconds"].counts[-1] - one.histograms["seconds"].counts[n] for one in read])
        for n in above
    ]
    return (_one(failed, total), _one(late[0], total), _one(late[1], total))


def _one(bad: Numbers, total: Numbers) -> Counts:
    return Counts(bad[:, None].astype(float), total[:, None].astype(float), READING)


def all_decided(drawn: list[Drawn]) -> list[tuple[float, float, dict[str, float]]]:
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return list(pool.map(decided, drawn))


def tables(quick: bool) -> list[Table]:
    return [faults(2 if quick else 9), healthy(6 if quick else 200)]


def faults(windows: int) -> Table:
    """How soon each fault is seen, at 15 requests/s and at one."""
    rows, targets = [], []
    for fault in FAULTS:
        cells: list[str] = []
        for rps in (15.0, 1.0):
            asked = [Drawn(rps, fault, MINUTES * 60, seed=seed) for seed in range(windows)]
            found = all_decided(asked)
            ours = statistics.median(one[0] for one in found)
            cells += [_words(ours)]
            if rps > 1:
                cells += [_words(statistics.median(one[1] for one in found))]
                cells += [
                    _words(statistics.median(one[2][peer] for one in found))
                    for peer in ("Flagger", "Argo", "Kayenta")
                ]
                wanted = 60 if fault.differing or fault.failing or fault.cutting else 180
                targets.append(Target(fault.name, f"≤ {wanted} s", _words(ours), ours <= wanted))
        rows.append((fault.name, *cells))
    return Table(
        f"How long until a release that is worse than the one before is taken back? (median of {windows})",
        ("", "ours", "… alert", "Flagger", "Argo", "Kayenta", "ours at 1 request/s"),
        rows,
        targets,
        CONFIGURED,
    )


def healthy(windows: int) -> Table:
    """How often a healthy release is taken back, or alerted of, in windows of an hour."""
    rows = []
    backs = alerts = total = 0
    for rps in (0.2, 1.0, 20.0):
        count = max(1, round(windows / 3))
        found = all_decided([Drawn(rps, hour=seed * 7 % 24, seed=100 + seed) for seed in range(count)])
        back = sum(one[0] < math.inf for one in found)
        alert = sum(one[1] < math.inf for one in found)
        peers = [sum(one[2][peer] < math.inf for one in found) for peer in ("Flagger", "Argo", "Kayenta")]
        rows.append((f"{rps:g} requests/s", *(share(one / count) for one in (back, alert, *peers))))
        backs, alerts, total = backs + back, alerts + alert, total + count
    return Table(
        f"Of {total} healthy windows of an hour, with the swing of a day, how many are decided against?",
        ("", "ours, taken back", "ours, alerted", "Flagger", "Argo", "Kayenta"),
        rows,
        [
            Target("healthy releases taken back", "none", str(backs), backs == 0),
            Target("windows with an alert", "≤ 1 in 30", f"{alerts} of {total}", alerts * 30 <= total),
        ],
        CONFIGURED,
    )


def _words(seconds: float) -> str:
    return "never" if math.isinf(seconds) else duration(seconds)
