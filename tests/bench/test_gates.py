"""The peers are asked about the windows that our rules decided, and the baseline never worsens."""

import numpy as np
import pytest
from bench.beside import decided
from bench.gates import PEERS, by_peer, by_rule, delay

from guarded_rollout.gates.simulate import RuleResult, Scenario, draw
from guarded_rollout.monitor.recordings import Drawn, Fault


def test_a_scenario_draws_the_same_windows_each_time() -> None:
    scenario = Scenario(0.02, 0.05, 1, 20, later_rate=0.3, change_at=600)
    for once, again in zip(draw(scenario), draw(scenario), strict=True):
        assert np.array_equal(once, again)


def test_everybody_is_judged_by_the_same_first_failure() -> None:
    scenario = Scenario(0.0, 0.05, 20, 20, later_rate=1.0, change_at=600)
    ours, theirs = by_rule(scenario)["literal"], by_peer(scenario)
    assert tuple(theirs) == PEERS
    assert all(result.windows == ours.windows == 20 for result in theirs.values())
    # All fails from minute 10 on: Flagger needs five whole minutes after it, Argo four intervals of five;
    # decisions fall on whole minutes, so the delays of a window differ by whole minutes too.
    assert theirs["Flagger"].median_delay == pytest.approx(ours.median_delay + 240, abs=70)
    assert 900 < theirs["Argo"].median_delay <= 1200
    for first, second in zip(theirs["Flagger"].delays, theirs["Argo"].delays, strict=True):
        minutes = (second - first) / 60
        assert minutes == pytest.approx(round(minutes))


@pytest.mark.parametrize(
    ("delays", "too_early", "text"),
    [
        ((30.0, 40.0, 50.0), 0, "40 s"),
        ((30.0,), 2, "30 s (66.7% before)"),
        ((), 3, "all before"),
        ((10.0,), 0, "never"),
    ],
)
def test_a_delay_says_what_was_rolled_back_before(
    delays: tuple[float, ...], too_early: int, text: str
) -> None:
    assert delay(RuleResult("rule", 3, len(delays) + too_early, too_early, delays)) == text


def test_all_are_asked_about_the_same_recording() -> None:
    back, alert, peers = decided(Drawn(15, Fault(failing=0.5), 400, seed=1))
    assert alert <= back <= 60
    assert set(peers) == {"Flagger", "Argo", "Kayenta"}
    assert peers["Flagger"] == 300, "five minutes are counted"
    assert peers["Argo"] == float("inf"), "four intervals of five minutes are more than there is"
