"""Plans of a fleet: pure, repeatable, and each host is cut off at each kind of moment."""

from chaos.fleet import NAMES, draw

PLANS = [draw(seed) for seed in range(1, 200)]


def test_a_seed_is_a_plan_and_the_same_one_each_time():
    assert [draw(seed) for seed in range(1, 50)] == PLANS[:49]


def test_each_host_is_cut_off_for_a_while_and_to_the_end_at_each_ones_turn():
    lines = {f"{host}: {what}" for host in NAMES for what in ("rolling out", "serves")}
    assert {plan.host for plan in PLANS} == set(NAMES)
    assert {plan.line for plan in PLANS} == lines
    assert {plan.away > 0 for plan in PLANS} == {True, False}
    assert {bool(plan.fails_on) for plan in PLANS} == {True, False}
