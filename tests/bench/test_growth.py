"""The power law through measured points."""

import pytest
from bench.growth import fit


def test_a_power_law_is_found_as_it_is() -> None:
    found = fit({size: 0.002 * size**1.5 for size in (1.0, 3.0, 10.0, 40.0)})
    assert found.scale == pytest.approx(0.002)
    assert found.power == pytest.approx(1.5)
    assert found.r2 == pytest.approx(1.0)


def test_what_no_power_describes_is_told() -> None:
    assert fit({1.0: 1.0, 2.0: 9.0, 4.0: 1.0, 8.0: 9.0}).r2 < 0.5


def test_a_cost_that_does_not_grow_has_the_power_zero() -> None:
    assert fit({1.0: 0.3, 10.0: 0.3}).power == pytest.approx(0.0)
