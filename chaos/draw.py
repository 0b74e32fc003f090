"""A seed becomes a plan. Pure."""

from collections.abc import Mapping, Sequence, Set
from random import Random

from chaos.plan import (
    DAMAGES,
    PROCESSES,
    STEPS,
    Action,
    Fault,
    Moment,
    Plan,
    Store,
    Story,
    Target,
    Variant,
)

WEIGHTS = {
    Action.KILL: 12,
    Action.FREEZE: 5,
    Action.DISK_FULL: 2,
    Action.BACKUPS_READ_ONLY: 2,
    Action.DAMAGE: 3,
    Action.NOBODY_LISTENS: 2,
    Action.CLOCK: 2,
    Action.LOCK: 2,
    Action.SECOND_OPERATOR: 2,
    Action.ABORT: 2,
    Action.ERASE: 4,
    Action.VANISH: 2,
    Action.REFUSE: 2,
    Action.DATABASE: 8,
    Action.BROKEN_PIPE: 2,
    Action.POWER: 2,
}
TARGETS: Mapping[Action, tuple[Target, ...]] = {
    Action.KILL: (*PROCESSES, Target.ENGINE, Target.WORKER, Target.REPLICA),  # the engine twice as often
    Action.FREEZE: PROCESSES,
    Action.DAMAGE: DAMAGES,
    Action.CLOCK: (Target.AHEAD, Target.BEHIND),
    Action.ERASE: (Target.BY_COMMAND, Target.OVER_HTTP),
    Action.VANISH: (Target.COPIES, Target.STREAM),
    Action.REFUSE: (Target.COPIES, Target.STREAM),
    Action.DATABASE: (Target.BACK, Target.STANDBY),
}
LASTING = {
    Action.FREEZE,
    Action.DISK_FULL,
    Action.BACKUPS_READ_ONLY,
    Action.LOCK,
    Action.NOBODY_LISTENS,
    Action.VANISH,
    Action.REFUSE,
}
ONCE = {
    Action.CLOCK,
    Action.POWER,
    Action.DAMAGE,
    Action.DISK_FULL,
    Action.BROKEN_PIPE,
    Action.VANISH,
    Action.REFUSE,
    Action.DATABASE,
}
APART = ((Action.CLOCK, Action.POWER), (Action.VANISH, Action.REFUSE))
"""One of them in a run: both are a library that is preloaded; both befall the same place."""

SQLITE_ONLY = {Action.DISK_FULL, Action.POWER, Action.CLOCK}
POSTGRESQL_ONLY = {Action.DATABASE}


def draw(seed: int, *, possible: frozenset[Action] = frozenset(Action)) -> Plan:
    """The plan of a seed; `possible` is what this machine can be made to suffer."""
    random = Random(f"chaos {seed}")
    store = Store.POSTGRESQL if seed % 5 == 0 else Store.SQLITE
    story = random.choices([Story.ROLL_OUT, Story.ROLL_BACK], [4, 1])[0]
    variants = list(Variant) if story is Story.ROLL_OUT else [Variant.GOOD, Variant.GOOD_MIGRATING]
    variant = random.choices(variants, [6 if one.good else 1 for one in variants])[0]
    allowed = [one for one in WEIGHTS if one in possible and fits(one, store, story)]
    allowed = [one for one in allowed if targets_of(one, store, story, variant)]
    faults: list[Fault] = []
    for _ in range(random.choices([1, 2, 3], [3, 4, 3])[0]):
        action = random.choices(allowed, [WEIGHTS[one] for one in allowed])[0]
        gone = {action} & ONCE | {other for group in APART if action in group for other in group}
        allowed = [one for one in allowed if one not in gone]
        faults.append(fault(random, action, store, story, variant))
    return Plan(seed, store, story, variant, tuple(faults))


def fits(action: Action, store: Store, story: Story) -> bool:
    """Whether a fault can befall this store and this command."""
    if action in SQLITE_ONLY and store is not Store.SQLITE:
        return False
    if action in POSTGRESQL_ONLY and store is not Store.POSTGRESQL:
        return False
    return not (action is Action.DAMAGE and story is Story.ROLL_BACK)


def fault(random: Random, action: Action, store: Store, story: Story, variant: Variant) -> Fault:
    target = random.choice(targets_of(action, store, story, variant))
    seconds = round(random.uniform(0.5, 4.0), 2) if action in LASTING else 0.0
    names = steps(story, variant, action, target)
    anytime = target not in FIRST and action is not Action.DAMAGE
    return Fault(action, target, moment(random, names, anytime=anytime), seconds)


def targets_of(action: Action, store: Store, story: Story, variant: Variant) -> list[Target]:
    """Whom this can befall: a release that is refused has no candidate."""
    elsewhere = Target.REPLICA if store is Store.SQLITE else Target.STREAM  # litestream is for SQLite
    return [
        one
        for one in TARGETS.get(action, (Target.NONE,))
        if steps(story, variant, action, one) and one is not elsewhere
    ]


REACHED = {
    Variant.PLAN_FAILS: "preflight",
    Variant.PLAN_HANGS: "preflight",
    Variant.PLAN_LIES: "migrate",
    Variant.UPGRADE_FAILS: "migrate",
    Variant.UPGRADE_LIES: "migrate",
    Variant.CRASHES_AT_START: "stage",
    Variant.HANGS_AT_START: "stage",
    Variant.SNAPSHOT_LIES: "verify",
    Variant.MERGE_LIES: "verify",
    Variant.NEVER_HEALTHY: "verify",
    Variant.FAILS_SUBMITS: "verify",
    Variant.MOVES_A_BIT: "verify",
    Variant.IGNORES_SIGTERM: "verify",
    Variant.CHECK_FAILS: "verify",
    Variant.FOREIGN_ROWS: "verify",
    Variant.METRICS_HANG: "watch",
    Variant.METRICS_LIE: "watch",
    Variant.HEALTH_HANGS: "watch",
    Variant.HEALTH_LIES: "watch",
    Variant.CUTS_ANSWERS: "watch",
    Variant.FORGETS_FINDS: "watch",
    Variant.FAILS_LATER: "watch",
    Variant.CRASHES_LATER: "watch",
}
"""How far a release gets that is stopped where it should be."""

LAST = {names[-1] for names in STEPS.values()}
"""The steps after which all is over, and nothing left to strike."""

FIRST = {Target.MONITOR: "watch", Target.CANDIDATE: "stage"}
"""The step in which a process comes into being."""


def steps(story: Story, variant: Variant, action: Action, target: Target) -> tuple[str, ...]:
    """The steps at which this fault finds what it is to befall."""
    found = STEPS[story]
    if story is Story.ROLL_BACK:
        return () if target is Target.MONITOR else found
    first = "stage" if action is Action.DAMAGE else FIRST.get(target, found[0])
    last = REACHED.get(variant, found[-1])
    return found[found.index(first) : found.index(last) + 1]


def moment(random: Random, names: Sequence[str], *, anytime: bool) -> Moment:
    if anytime and random.random() < 0.25:
        return Moment("", False, round(random.uniform(0.3, 14.0), 2))
    name = random.choice(names)
    return Moment(
        name,
        random.random() < 0.4 and name not in LAST,
        round(random.choice([0.0, 0.0, random.uniform(0, 0.3), random.uniform(0, 2.0)]), 3),
    )


def covering(
    first: int,
    runs: int,
    *,
    possible: frozenset[Action] = frozenset(Action),
    wanted: Set[str] | None = None,
) -> list[int]:
    """So many seeds that cover as many families as greed finds, each family as early as can be.

    Of two that cover as much the cheaper one is taken: no database server has to be made for SQLite. Where
    only some families are `wanted`, no more seeds are taken than cover these.
    """
    drawn = {seed: draw(seed, possible=possible) for seed in range(first, first + 5000)}
    covered, chosen = set[str](), list[int]()
    for _ in range(runs):
        seed = max(
            drawn,
            key=lambda one: (
                len((drawn[one].families if wanted is None else drawn[one].families & wanted) - covered),
                drawn[one].store is Store.SQLITE,
                -one,
            ),
        )
        if wanted is not None and not drawn[seed].families & wanted - covered:
            break
        covered |= drawn.pop(seed).families
        chosen.append(seed)
    return chosen
