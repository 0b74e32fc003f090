"""The lines of what clients got."""

import pytest

from guarded_rollout.gates.samples import Side
from guarded_rollout.ui.edge_lines import FAILURE_SHARE, P50, P95, REQUEST_RATE, EdgeLines
from tests.guarded_rollout.gatekit import edge, probe, times


def test_a_point_covers_the_time_since_the_one_before() -> None:
    lines = EdgeLines()
    assert lines.take(edge(100.0, requests=50, failed=1, seconds=times([0.1] * 50))) == []
    dots = lines.take(edge(105.0, requests=150, failed=6, seconds=times([0.1] * 50 + [1.0] * 100)))
    found = {dot.gate: dot.value for dot in dots}
    assert (found[REQUEST_RATE], found[FAILURE_SHARE]) == (20.0, 5.0)
    # All hundred between the two samples took a second; the bucket's width is what is not known of it.
    assert found[P50] == pytest.approx(1000, rel=0.6)
    assert (found[P95] or 0) >= (found[P50] or 0)


def test_where_nothing_was_asked_there_is_a_gap_and_no_failure() -> None:
    lines = EdgeLines()
    lines.take(edge(0.0, requests=10))
    found = {dot.gate: dot.value for dot in lines.take(edge(5.0, requests=10))}
    assert found == {REQUEST_RATE: 0.0, FAILURE_SHARE: None, P50: None, P95: None}


def test_a_session_that_counts_anew_adds_to_the_totals_and_draws_nothing_negative() -> None:
    lines = EdgeLines()
    for at, requests, since in ((0.0, 100, 0.0), (5.0, 200, 0.0), (20.0, 30, 15.0), (25.0, 80, 15.0)):
        lines.take(edge(at, requests=requests, failed=requests / 10, since=since))
    values = lines.lines[REQUEST_RATE][Side.CANDIDATE].values
    assert values == [20.0, 10.0]
    counted = {"requests_total": 280.0, "failed_total": 28.0, "passed_on_total": 0.0}
    assert lines.totals[Side.CANDIDATE] == counted


def test_other_sources_and_samples_close_together_add_nothing() -> None:
    lines = EdgeLines()
    lines.take(edge(0.0, requests=1))
    assert lines.take(probe(3.0)) == []
    assert lines.take(edge(1.0, requests=2)) == []
    assert lines.lines == {}
