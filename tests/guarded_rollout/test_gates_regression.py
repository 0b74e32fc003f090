"""Candidate against stable over the same time: twice as bad is caught under any absolute limit."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from guarded_rollout.config.kinds import Gate
from guarded_rollout.config.terms import Action, Source
from guarded_rollout.gates.detector import NONE, Evidence
from guarded_rollout.gates.judges import Judge, judge_of
from guarded_rollout.gates.judges.regression import SUPPORT, RegressionJudge, _Tests
from guarded_rollout.gates.samples import SIDES, Histogram, Sample, Side
from guarded_rollout.gates.verdict import GateOutcome, Verdict
from tests.guarded_rollout.gatekit import EDGES, gate, service, times

THRESHOLD = {"max_ratio": 1, "evaluation_window_minutes": 10, "min_sample_size": 50}


def rates(numerator: str, *others: str, **extra: Any) -> Gate:
    return gate(
        "worse",
        kind="regression",
        numerator=[numerator],
        denominator=[numerator, *others],
        threshold=THRESHOLD,
        **extra,
    )


def watched(one: Judge, mine: float, stable: float, *, counter: str, seconds: int = 600) -> GateOutcome:
    """The verdict after both sides had 10 images a second, of which these shares went to the counter."""
    random = np.random.default_rng(5)
    bad = {Side.CANDIDATE: 0, Side.STABLE: 0}
    for at in range(0, seconds + 1, 5):
        for side, share in zip(SIDES, (mine, stable), strict=True):
            bad[side] += int(random.binomial(50, share)) if at else 0
            one.take(service(at, side=side, images_ok=at * 10 - bad[side], **{counter: bad[side]}))
        if one.verdict(at).failed:
            return GateOutcome.FAIL
    return one.verdict(seconds).outcome


def test_twice_the_failures_are_caught_under_the_absolute_limit() -> None:
    own = rates("images_failed_total", "images_ok_total")
    assert watched(judge_of("worse", own), 0.03, 0.01, counter="images_failed") is GateOutcome.FAIL
    assert watched(judge_of("worse", own), 0.01, 0.01, counter="images_failed") is GateOutcome.PASS


def test_a_share_of_rejected_files_that_rises_is_caught() -> None:
    own = rates("images_rejected_total", "images_ok_total")
    assert watched(judge_of("worse", own), 0.10, 0.04, counter="images_rejected") is GateOutcome.FAIL
    assert watched(judge_of("worse", own), 0.04, 0.04, counter="images_rejected") is GateOutcome.PASS


def test_without_traffic_for_stable_there_is_nothing_to_say() -> None:
    one = judge_of("worse", rates("images_failed_total", "images_ok_total"))
    for at in range(0, 601, 5):
        one.take(service(at, images_failed=at, images_ok=at))
        one.take(service(at, side=Side.STABLE))
    verdict = one.verdict(600)
    assert verdict.outcome is GateOutcome.INSUFFICIENT
    assert verdict.reason == "stable had no traffic over 10 min: there is nothing to compare"


def test_a_stopped_stable_is_no_silence_of_the_candidate() -> None:
    one = judge_of("worse", rates("images_failed_total", "images_ok_total"))
    one.take(service(5))
    one.take(Sample(Source.SERVICE, 5, Side.STABLE, problem="connection refused"))
    assert one.verdict(5).outcome is GateOutcome.INSUFFICIENT
    one.take(Sample(Source.SERVICE, 10, Side.CANDIDATE, problem="connection refused"))
    assert one.verdict(10).outcome is GateOutcome.NO_DATA


def compared(mine: list[float], stable: list[float]) -> GateOutcome:
    own = gate("slower", kind="regression", histogram="hash_seconds", threshold=THRESHOLD)
    one = judge_of("slower", own)
    for at in range(0, 601, 60):
        for side, values in ((Side.CANDIDATE, mine), (Side.STABLE, stable)):
            one.take(service(at, side=side, histogram=times(values[: len(values) * at // 600])))
    return one.verdict(600).outcome


def test_a_slower_candidate_fails_only_where_the_ranges_are_apart() -> None:
    fast, slow = [0.05] * 1000, [0.7] * 1000
    assert compared(slow, fast) is GateOutcome.FAIL
    assert compared(fast, fast) is GateOutcome.PASS
    assert compared(fast, slow) is GateOutcome.PASS
    assert compared([0.09] * 1000, fast) is GateOutcome.PASS  # within one bucket nobody can tell
    assert compared(slow[:49], fast) is GateOutcome.INSUFFICIENT
    assert compared(slow[:50], fast) is GateOutcome.FAIL


def test_few_slow_values_among_few_are_chance() -> None:
    mostly_fast = [0.05] * 56 + [0.7] * 4
    assert compared(mostly_fast, [0.05] * 1000) is GateOutcome.PASS


def test_histograms_with_other_buckets_are_not_compared() -> None:
    own = gate("slower", kind="regression", histogram="hash_seconds", threshold=THRESHOLD)
    one = judge_of("slower", own)
    other = Histogram((*EDGES[:-2], EDGES[-1]), (0.0,) * 7)
    for at in range(0, 601, 60):
        one.take(service(at, histogram=times([5.0] * at)))
        one.take(service(at, side=Side.STABLE, histogram=other))
    assert one.verdict(600).outcome is GateOutcome.INSUFFICIENT


# ---- what is said, of each kind of comparison


TWICE = {"max_ratio": 2, "alert_ratio": 1.5, "evaluation_window_minutes": 10, "min_sample_size": 50}
SHARE = {"numerator": ["images_failed_total"], "denominator": ["images_failed_total", "images_ok_total"]}
Asked = Callable[[float], dict[str, Any]]


def fed(
    compared: dict[str, Any],
    mine: Asked,
    stable: Asked,
    *,
    before: Sample | None = None,
    seconds: int = 600,
    step: int = 10,
    **threshold: float,
) -> Judge:
    """A judge that has heard both sides every few seconds; each says by its age what it publishes."""
    one = judge_of("worse", gate("worse", kind="regression", threshold=TWICE | threshold, **compared))
    if before is not None:
        one.take(before)
    for at in range(0, seconds + 1, step):
        one.take(service(at, **mine(at)))
        one.take(service(at, side=Side.STABLE, **stable(at)))
    return one


def share(of_ten: float) -> Asked:
    """Ten images a second, so many of which fail."""
    return lambda at: {"images_failed": at * of_ten, "images_ok": at * (10 - of_ten)}


def took(seconds: float, each: float = 1.0) -> Asked:
    return lambda at: {"histogram": times([seconds] * round(at * each))}


def reasons(one: Judge, now: float = 600) -> list[str]:
    verdicts = one.by_action(now)
    return [f"{verdicts[action].outcome}: {verdicts[action].reason}" for action in Action]


CONCLUSIVE = [f"conclusive that it is more than {times:g} times as much" for times in (1.5, 2)]
MAY_BE = [f"not conclusively more than {times:g} times as much" for times in (1.5, 2)]


@pytest.mark.parametrize(
    ("compared", "mine", "stable", "said"),
    [
        (SHARE, share(0.6), share(0.1), "6 % against stable's 1 % over 10 min"),
        (
            {"histogram": "hash_seconds", "quantile": 0.9},
            took(0.7),
            took(0.05),
            "the 0.9 quantile 0.95 against stable's 0.091 over 10 min",
        ),
        (
            {"amount": "images_failed_total", "per": "images_ok_total"},
            lambda at: {"images_failed": at * 0.3, "images_ok": at * 10},
            lambda at: {"images_failed": at * 0.1, "images_ok": at * 10},
            "images_failed_total for each of images_ok_total 0.03 against stable's 0.01 over 10 min",
        ),
        (
            {"gauge": "memory"},
            lambda at: {"memory": 300},
            lambda at: {"memory": 100},
            "memory 300 against stable's 100 over 10 min",
        ),
    ],
    ids=["share", "times", "amount", "level"],
)
def test_what_was_compared_is_said_with_both_values(
    compared: dict[str, Any], mine: Asked, stable: Asked, said: str
) -> None:
    worse = fed(compared, mine, stable)
    assert reasons(worse) == [f"fail: {said}: {end}" for end in CONCLUSIVE]
    equal = fed(compared, stable, stable)
    assert [reason.rpartition(": ")[2] for reason in reasons(equal)] == MAY_BE
    verdict = worse.by_action(600)[Action.AUTO_ROLLBACK]
    assert (verdict.limit, verdict.unit, verdict.needed) == (2, "×", 50)
    assert (verdict.full, verdict.conclusive) == (True, True)
    assert worse.by_action(600)[Action.ALERT].limit == 1.5
    assert verdict == worse.verdict(600)
    well = equal.verdict(600)
    assert (well.outcome, well.value, well.conclusive) == (GateOutcome.PASS, pytest.approx(1), False)


def test_between_the_two_ratios_it_alerts_and_is_let_be() -> None:
    found = reasons(fed(SHARE, share(3), share(1), max_ratio=4))
    assert [reason.partition(":")[0] for reason in found] == ["fail", "pass"]
    stricter = fed(SHARE, share(3), share(1), alert_ratio=5)  # never laxer than the other
    assert stricter.by_action(600)[Action.ALERT].limit == 2
    assert stricter.by_action(600)[Action.ALERT].failed


def test_both_readings_of_the_first_seconds_count() -> None:
    """Also where the time line begins with them."""
    found = fed(SHARE, share(6), share(0.1), seconds=10).verdict(10)
    assert (found.outcome, found.full, found.samples) == (GateOutcome.FAIL, False, 100)


def test_too_few_samples_are_named_with_whose_they_are() -> None:
    few: Asked = lambda at: {"images_failed": 0, "images_ok": at * 0.08}  # noqa: E731
    assert fed(SHARE, few, share(1)).verdict(600).reason == (
        "the candidate has 48 of the 50 samples that it takes to compare"
    )
    verdict = fed(SHARE, share(1), few).verdict(600)
    assert verdict.reason == "stable has 48 of the 50 samples that it takes to compare"
    assert (verdict.outcome, verdict.samples) == (GateOutcome.INSUFFICIENT, 48)
    none: Asked = lambda at: {}  # noqa: E731
    verdict = fed(SHARE, none, share(1)).verdict(600)
    assert verdict.reason == "the candidate had no traffic over 10 min: there is nothing to compare"
    enough: Asked = lambda at: {"images_failed": 0, "images_ok": at / 12}  # noqa: E731
    assert fed(SHARE, enough, share(1)).verdict(600).outcome is GateOutcome.PASS


def test_who_was_never_heard_has_no_samples() -> None:
    one = judge_of("worse", gate("worse", kind="regression", threshold=TWICE, **SHARE))
    assert one.verdict(0).samples == 0
    one.take(BEFORE)
    assert one.verdict(0).samples == 0
    one = judge_of("worse", gate("worse", kind="regression", threshold=TWICE, **SHARE))
    for at in (0, 10):
        one.take(service(at, **share(1)(at)))
    assert one.verdict(10).reason == "stable had no traffic over 10 min: there is nothing to compare"


def test_before_anything_was_compared_it_says_so() -> None:
    one = judge_of("worse", gate("worse", kind="regression", threshold=TWICE, **SHARE))
    one.take(service(0))
    one.take(service(0, side=Side.STABLE))
    verdict = one.verdict(0)
    assert (verdict.outcome, verdict.samples, verdict.full) == (GateOutcome.INSUFFICIENT, 0, False)
    assert verdict.reason == "the candidate had no traffic over 10 min: there is nothing to compare"


def test_readings_of_half_a_second_count() -> None:
    one = judge_of("worse", gate("worse", kind="regression", threshold=TWICE, **SHARE))
    for at in range(60):
        one.take(service(at / 2, **share(6)(at)))
        one.take(service(at / 2, side=Side.STABLE, **share(0.1)(at)))
    assert one.verdict(30).failed


def test_a_candidate_that_was_never_heard_is_silent_also_where_it_would_be_alone() -> None:
    one = judge_of("worse", gate("worse", kind="regression", threshold=TWICE, **SHARE))
    one.take(BEFORE)
    assert one.verdict(5).reason == "no data for 5 s: nothing was heard yet"


@pytest.mark.parametrize(
    ("compared", "missing"),
    [
        ({"numerator": ["a", "b"], "denominator": ["c"]}, "a b"),
        ({"histogram": "hash_seconds"}, "hash_seconds"),
        ({"amount": "cpu", "per": "requests"}, "cpu"),
        ({"gauge": "memory"}, "memory"),
    ],
)
def test_what_is_not_published_is_named(compared: dict[str, Any], missing: str) -> None:
    one = judge_of("worse", gate("worse", kind="regression", threshold=TWICE, **compared))
    one.take(service(5))
    assert one.verdict(5).reason == f"no data for 5 s: {missing} is not published"


def test_a_candidate_below_what_matters_is_well_whatever_stable_is() -> None:
    worse: Asked = share(0.6)
    assert fed(SHARE, worse, share(0.1), min_value=6).verdict(600).failed
    assert fed(SHARE, worse, share(0.1), min_value=6.1).verdict(600).outcome is GateOutcome.PASS
    level: Asked = lambda at: {"memory": 300}  # noqa: E731
    low: Asked = lambda at: {"memory": 100}  # noqa: E731
    assert not fed({"gauge": "memory"}, level, low, min_value=301).verdict(600).failed
    assert fed({"gauge": "memory"}, level, low, min_value=299).verdict(600).failed


def test_worse_than_a_stable_that_never_fails_needs_no_ratio() -> None:
    verdict = fed(SHARE, share(0.6), share(0)).verdict(600)
    assert (verdict.outcome, verdict.value) == (GateOutcome.FAIL, None)


def test_a_level_is_the_average_of_what_was_read_however_few_readings() -> None:
    few = fed(
        {"gauge": "memory"},
        lambda at: {"memory": 300},
        lambda at: {"memory": 100},
        min_sample_size=1,
        step=60,
    )
    assert few.verdict(600).value == pytest.approx(3)
    once = fed({"gauge": "memory"}, lambda at: {"memory": at}, lambda at: {"memory": 100}, min_sample_size=1)
    assert once.verdict(600).value == pytest.approx(3.05)  # from the second reading on


def test_a_window_is_full_once_both_sides_have_been_heard_for_so_long() -> None:
    one = judge_of("worse", gate("worse", kind="regression", threshold=TWICE, **SHARE))
    for at in range(0, 601, 10):
        one.take(service(at, **share(1)(at)))
        if at >= 300:
            one.take(service(at, side=Side.STABLE, **share(1)(at)))
    assert not one.verdict(600).full


def test_good_times_are_no_credit_to_what_began_since() -> None:
    def late(at: float) -> dict[str, Any]:
        bad = max(0.0, at - 540) * 2
        return {"images_failed": 0.2 * at + bad, "images_ok": at * 9.8 - bad}

    verdict = fed(SHARE, late, share(0.2)).verdict(600)
    assert verdict.failed
    assert verdict.samples < 1000
    needed = fed(SHARE, late, share(0.2), min_sample_size=int(verdict.samples))
    assert needed.verdict(600).samples == verdict.samples, "so many are enough"
    more = fed(SHARE, late, share(0.2), min_sample_size=int(verdict.samples) + 1)
    assert more.verdict(600).samples == 6000, "too few of late: it is held against the whole window"
    assert "over 60 s" in verdict.reason or "over 50 s" in verdict.reason


def test_only_what_was_counted_over_the_same_time_is_compared() -> None:
    own: Any = gate("worse", kind="regression", threshold=TWICE, **SHARE)
    one: Any = RegressionJudge("worse", own, 90, dict.fromkeys(Action, 0.1))
    candidate, stable = Side.CANDIDATE, Side.STABLE
    heard: list[tuple[Any, ...]] = []

    def read(at: float, side: Side, ok: float) -> None:
        one.take(service(at, side=side, images_ok=ok))
        one._questions[""]._tests = {
            Action.ALERT: SimpleNamespace(take=lambda *counted: heard.append(counted))
        }

    read(100, candidate, 5)
    read(110, candidate, 15)
    read(200, stable, 1000)  # heard late: the candidate's ten before this have no pair
    read(205, stable, 1001)
    read(150, candidate, 35)
    read(206, stable, 1002)
    read(200, candidate, 36)
    assert heard == [], "these two pairs came out of order, and end before they begin"
    read(210, candidate, 38)
    read(211, candidate, 39)
    read(215, stable, 1004)
    assert heard == [((0, 3), (0, 2), 15, 125)]


# ---- beside what stable was before


BEFORE = Sample(
    Source.SERVICE,
    0,
    Side.BEFORE,
    counters={"images_failed_total": 100.0, "images_ok_total": 9900.0},
    histograms={"hash_seconds": times([0.05] * 10_000)},
)


@pytest.mark.parametrize(
    ("compared", "worse", "well"),
    [(SHARE, share(0.6), share(0.1)), ({"histogram": "hash_seconds"}, took(2.5), took(0.05))],
    ids=["share", "times"],
)
def test_alone_it_is_held_against_what_stable_was_before(
    compared: dict[str, Any], worse: Asked, well: Asked
) -> None:
    def idle(at: float) -> dict[str, Any]:
        return {"histogram": times([])}

    verdict = fed(compared, worse, idle, before=BEFORE).verdict(600)
    assert verdict.failed
    assert verdict.samples == (6000 if compared is SHARE else 600)
    assert fed(compared, well, idle, before=BEFORE).verdict(600).outcome is GateOutcome.PASS
    assert fed(compared, worse, idle).verdict(600).outcome is GateOutcome.INSUFFICIENT
    nothing = fed(compared, idle, idle, before=BEFORE).verdict(600)
    assert nothing.reason == "the candidate had no traffic over 10 min: there is nothing to compare"


def test_one_picture_is_too_few_and_has_a_value() -> None:
    def one(at: float) -> dict[str, Any]:
        return {"images_failed": float(at > 0)}

    def idle(at: float) -> dict[str, Any]:
        return {}

    said = "has 1 of the 50 samples that it takes to compare"
    for stable, before, value, whose in (
        (idle, BEFORE, pytest.approx(100), "the candidate"),
        (share(1), None, pytest.approx(10), "the candidate"),
        (one, BEFORE, pytest.approx(1), "the candidate"),
    ):
        verdict = fed(SHARE, one, stable, before=before).verdict(600)
        assert (verdict.reason, verdict.value, verdict.samples) == (f"{whose} {said}", value, 1)
    verdict = fed(SHARE, share(1), one, before=BEFORE).verdict(600)
    assert verdict.reason == f"stable {said}", "one answer, and it is not alone any more"


def test_too_little_before_is_none() -> None:
    def idle(at: float) -> dict[str, Any]:
        return {}

    def counted(total: float) -> Sample:
        return replace(BEFORE, counters={"images_failed_total": 0.0, "images_ok_total": total})

    for total, outcome in ((0, "insufficient"), (49, "insufficient"), (50, "fail")):
        assert fed(SHARE, share(9), idle, before=counted(total)).verdict(600).outcome == outcome


def said(strength: float, *, conclusive: bool = False) -> Any:
    return SimpleNamespace(evidence=Evidence(strength, conclusive=conclusive))


def test_of_two_comparisons_what_one_finds_the_other_must_not_speak_against() -> None:
    sure, sure_too = said(1.0, conclusive=True), said(1.0, conclusive=True)
    faint, nothing, some = said(SUPPORT), said(0.0), said(0.5)
    lesser = Evidence(1.0, conclusive=True)
    assert _Tests(some).evidence(False, NONE) is some.evidence
    assert _Tests(some).evidence(True, NONE) is some.evidence
    assert _Tests(sure, some).evidence(True, lesser) is some.evidence, "stable has no traffic now"
    for now, before, found in (
        (sure, faint, sure.evidence),
        (faint, sure, sure.evidence),
        (sure, nothing, NONE),
        (nothing, sure, NONE),
        (sure, sure_too, sure.evidence),
        (some, nothing, some.evidence),
        (nothing, some, some.evidence),
    ):
        assert _Tests(now, before).evidence(False, NONE) is found
    assert _Tests(nothing, sure).evidence(False, lesser) is sure.evidence, (
        "beside stable now it is a little worse"
    )
    assert _Tests(sure, nothing).evidence(False, lesser) is NONE
    assert _Tests(nothing, sure).evidence(False, Evidence(1.0)) is NONE


def test_what_stable_did_not_count_is_compared_with_before_alone() -> None:
    heard: list[str] = []

    def test(name: str) -> Any:
        return SimpleNamespace(take=lambda *counted: heard.append(name))

    both = _Tests(test("now"), test("before"))
    both.take((1, 2), (0, 0), 5, 5)
    both.take((1, 2), (0, 1), 5, 5)
    _Tests(test("only")).take((1, 2), (0, 1), 5, 5)
    assert heard == ["before", "now", "before", "only"]


# ---- routes


def edge_counts(at: float, routes: dict[str, tuple[float, float]], side: Side) -> Sample:
    counters = {"failed_total": 0.0, "requests_total": 0.0}
    for route, (bad, total) in routes.items():
        label = f'{{route="{route}"}}'
        counters |= {f"failed_total{label}": bad * at, f"requests_total{label}": total * at}
        counters["failed_total"] += bad * at
        counters["requests_total"] += total * at
    return Sample(Source.EDGE, at, side, counters=counters, started_at=0)


def test_one_route_that_fails_among_many_is_found_and_named() -> None:
    asked = {"source": "edge", "numerator": ["failed_total"], "denominator": ["requests_total"]}

    def verdict(by_route: bool) -> Verdict:
        own = gate("worse", kind="regression", threshold=TWICE, by_route=by_route, **asked)
        one = judge_of("worse", own)
        for at in range(0, 601, 10):
            one.take(
                edge_counts(at, {"GET /": (1, 99), "POST /x": (0.5, 2), "GET /y": (0, 2)}, Side.CANDIDATE)
            )
            one.take(edge_counts(at, {"GET /": (1, 99), "POST /x": (0.0, 2), "GET /y": (0, 2)}, Side.STABLE))
        return one.verdict(600)

    assert verdict(False).outcome is GateOutcome.PASS
    found = verdict(True)
    assert found.reason == f"of POST /x 25 % against stable's 0 % over 10 min: {CONCLUSIVE[1]}"
    assert (found.samples, found.value) == (1200, None)


ROUTES = {
    "source": "edge",
    "numerator": ["failed_total"],
    "denominator": ["requests_total"],
    "by_route": True,
}


def by_route(mine: Asked, stable: Asked, **other: Any) -> Any:
    """A judge that has heard what each side's edge counted; each says by its age what that was."""
    one = judge_of("worse", gate("worse", kind="regression", threshold=TWICE, **ROUTES | other))
    for at in range(0, 601, 10):
        for side, counted in zip(SIDES, (mine, stable), strict=True):
            one.take(Sample(Source.EDGE, at, side, counters=counted(at), started_at=0))
    return one


def routed(**routes: tuple[float, float]) -> Asked:
    return lambda at: dict(edge_counts(at, routes, Side.CANDIDATE).counters)


def test_of_two_routes_that_fail_the_worse_is_named() -> None:
    found = by_route(
        routed(a=(0, 200), b=(0.5, 2), c=(2, 2), d=(0.5, 2)), routed(a=(2, 200), b=(0, 2), c=(0, 2), d=(0, 2))
    ).verdict(600)
    assert found.reason.startswith("of c 100 % against stable's 0 %")


def test_where_no_route_fails_all_of_them_are_told_of() -> None:
    one = by_route(routed(a=(1, 98), b=(0, 2)), routed(a=(1, 98), b=(0, 2)))
    assert one.verdict(600).reason.startswith("1 % against stable's 1 %")


def test_a_route_is_one_of_the_first_counter() -> None:
    def counted(at: float) -> dict[str, Any]:
        also = {'cut_total{route="b"}': at, 'cut_total{route="a"}': 0.0, "cut_total": 0.0}
        return routed(a=(0, 9))(at) | also | {'failed_total{route="half"}': 0.0}

    one = by_route(counted, counted, numerator=["failed_total", "cut_total"])
    assert one._questions.keys() == {"", '{route="a"}', '{route="half"}'}
    assert one.verdict(600).outcome is GateOutcome.PASS, "half a route is no silence"


@pytest.mark.parametrize(("by_route", "shares"), [(True, [2, 6, 12]), (False, [1])])
def test_the_chance_of_a_false_alarm_is_split_over_the_routes(by_route: bool, shares: list[int]) -> None:
    own: Any = gate("worse", kind="regression", threshold=TWICE, by_route=by_route, **SHARE)
    one: Any = RegressionJudge("worse", own, 0, {Action.ALERT: 0.12, Action.AUTO_ROLLBACK: 0.24})
    for label, nth in zip(("", "a", "b"), shares, strict=False):
        alphas = one._question(label)._alphas
        assert alphas == pytest.approx({Action.ALERT: 0.12 / nth, Action.AUTO_ROLLBACK: 0.24 / nth})
    assert one._question("") is one._question("")


@pytest.mark.parametrize("missing", ["numerator", "denominator", "both"])
def test_a_regression_gate_compares_one_thing(missing: str) -> None:
    given = {"numerator": ["a"], "denominator": ["b"]}
    given.pop(missing, None)
    extra = {"histogram": "h"} if missing == "both" else {}
    with pytest.raises(AssertionError, match=r"one of the (two|four)"):
        gate("worse", kind="regression", threshold=THRESHOLD, **given, **extra)
