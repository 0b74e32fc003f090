"""The last half hour by the edge's log: requests, failures and latency, and the lines drawn of them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from guarded_rollout.host.caddy import dial
from guarded_rollout.ui.edge_trend import STEP_SECONDS, STEPS, EdgeTrend, TrendPoint, drawn, polylines
from tests.guarded_rollout.manual_clock import ManualClock
from tests.guarded_rollout.ui.uikit import Place

NOW = 1_800_000_000.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, ManualClock())
    made.environment.edge_log.parent.mkdir(parents=True, exist_ok=True)
    yield made
    made.close()


def answered(
    place: Place, ago: float, *, status: int = 200, seconds: float = 0.02, slot: str = "blue"
) -> None:
    """A line as the proxy writes it."""
    record = {
        "ts": NOW - ago,
        "request": {"method": "GET", "uri": "/"},
        "slot": slot,
        "upstream": dial(place.environment.run, slot),
        "status": status,
        "duration": 0.02,
    }
    with place.environment.edge_log.open("a") as file:
        file.write(json.dumps(record) + "\n")


def test_half_an_hour_is_counted_by_quarters_of_a_minute_and_followed(place: Place) -> None:
    trend = EdgeTrend(place.environment)
    assert trend.points(NOW) == ()  # there is no log yet
    for _ in range(30):
        answered(place, ago=STEP_SECONDS / 2)
    for _ in range(10):
        answered(place, ago=STEP_SECONDS * 1.5, status=500, slot="green")
    answered(place, ago=3600)
    points = trend.points(NOW)
    assert len(points) == STEPS
    assert points[-1].rate == 30 / STEP_SECONDS
    assert points[-1].failed == 0
    assert points[-1].p95 == pytest.approx(20, rel=0.3)
    assert points[-2] == TrendPoint(10 / STEP_SECONDS, 100.0, points[-2].p95)
    assert all(point == TrendPoint(0.0, None, None) for point in points[:-2])
    for _ in range(15):
        answered(place, ago=-STEP_SECONDS / 2)
    later = trend.points(NOW + STEP_SECONDS)
    assert later[-1].rate == 1
    assert later[-3:-1] == points[-2:]
    trend.close()


def test_after_a_long_while_only_the_newest_lines_are_read(place: Place) -> None:
    answered(place, ago=STEP_SECONDS * 5.5)
    trend = EdgeTrend(place.environment, newest=3 * place.environment.edge_log.stat().st_size)
    assert sum(point.rate for point in trend.points(NOW)) > 0
    for _ in range(1000):
        answered(place, ago=STEP_SECONDS / 2)
    assert 0 < trend.points(NOW)[-1].rate <= 3 / STEP_SECONDS
    trend.close()


def test_what_was_not_asked_is_a_gap_and_failures_stand_out() -> None:
    still = TrendPoint(0.0, None, None)
    assert drawn([still] * 5) == ()
    requests, failures, latency = drawn(
        [TrendPoint(1.0, 0.0, 12.0), still, TrendPoint(3.0, 50.0, None), still]
    )
    assert requests.latest == "0.0/s"
    assert len(requests.lines) == 1
    assert (failures.latest, failures.tone, len(failures.lines)) == ("50 %", "bad", 2)
    assert (latency.latest, len(latency.lines)) == ("–", 1)
    (line,) = polylines([0.0, 10.0])
    assert line == "0,39.0 240,1.0"
