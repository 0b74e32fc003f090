"""Durations for people."""

import pytest

from guarded_rollout.clock import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.0035, "3.5 ms"),
        (0.25, "0.25 s"),
        (3.21, "3.2 s"),
        (9.7, "10 s"),
        (59.4, "59 s"),
        (60, "60 s"),
        (61, "1 min 1 s"),
        (120, "2 min"),
        (599.8, "10 min"),
        (3600, "60 min"),
        (3720, "1 h 2 min"),
        (7200, "2 h"),
        (259_200, "72 h"),
    ],
)
def test_a_duration_is_short_and_leaves_zeros_out(seconds: float, words: str) -> None:
    assert duration(seconds) == words
