"""Seeds and plans: pure, repeatable, and nothing of the catalogue is out of reach."""

from chaos.__main__ import FEW
from chaos.draw import STEPS, Action, Plan, Store, Story, Target, Variant, covering, draw

PLANS = [draw(seed) for seed in range(1, 1500)]
CATALOGUE = frozenset[str]().union(*(plan.families for plan in PLANS))


def test_a_seed_is_a_plan_and_the_same_one_each_time():
    assert [draw(seed) for seed in range(1, 200)] == PLANS[:199]
    assert len(set(map(str, PLANS))) > 1400


def test_every_fifth_run_is_on_postgresql():
    assert [plan.seed for plan in PLANS if plan.store is Store.POSTGRESQL] == list(range(5, 1500, 5))


def test_what_is_one_databases_own_befalls_no_other():
    for plan in PLANS:
        on_postgresql = {fault.action for fault in plan.faults} & {Action.DATABASE}
        on_sqlite = [one for one in plan.faults if one.target is Target.STREAM or one.action is Action.POWER]
        assert not (on_postgresql if plan.store is Store.SQLITE else on_sqlite)


def test_a_run_has_one_to_three_faults_at_moments_that_its_story_reaches():
    assert {len(plan.faults) for plan in PLANS} == {1, 2, 3}
    for plan in PLANS:
        assert {fault.moment.step for fault in plan.faults} <= {"", *STEPS[plan.story]}
        assert plan.variant.good or plan.story is Story.ROLL_OUT


def test_everything_is_drawn_sooner_or_later():
    faults = [fault for plan in PLANS for fault in plan.faults]
    assert {fault.action for fault in faults} == set(Action)
    assert {fault.target for fault in faults} == set(Target)
    assert {plan.variant for plan in PLANS} == set(Variant)


def test_what_this_machine_cannot_suffer_is_never_drawn():
    possible = frozenset(Action) - {Action.DISK_FULL, Action.POWER}
    drawn = [draw(seed, possible=possible) for seed in range(1, 500)]
    assert not [plan for plan in drawn if plan.has(Action.DISK_FULL) or plan.has(Action.POWER)]


def test_a_campaign_without_a_seed_covers_the_whole_catalogue():
    chosen: list[Plan] = [draw(seed) for seed in covering(1, FEW)]
    assert frozenset[str]().union(*(plan.families for plan in chosen)) == CATALOGUE


def test_no_more_seeds_are_taken_than_cover_what_is_wanted():
    wanted = {"kill -9 monitor", "SIGSTOP candidate"}
    seeds = covering(1, FEW, wanted=wanted)
    assert wanted <= set[str]().union(*(draw(seed).families for seed in seeds))
    assert len(seeds) <= len(wanted)
    assert covering(1, FEW, wanted=set()) == []
