"""A seed becomes a plan: what is rolled out, on which store, and what goes wrong when. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Store(StrEnum):
    """Where the service keeps its facts."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class Story(StrEnum):
    """What the operator does while it burns."""

    ROLL_OUT = "roll out"
    ROLL_BACK = "roll back to a backup"  # of a release that was accepted in peace


class Action(StrEnum):
    """What goes wrong."""

    KILL = "kill -9"
    FREEZE = "SIGSTOP"
    DISK_FULL = "disk full"
    BACKUPS_READ_ONLY = "backup folder read-only"
    DAMAGE = "backup damaged"
    NOBODY_LISTENS = "notification endpoint down"
    CLOCK = "clock stepped"
    LOCK = "database locked"
    SECOND_OPERATOR = "second operator"
    ABORT = "second operator aborts"
    BROKEN_PIPE = "broken pipe"
    POWER = "power loss"


class Target(StrEnum):
    """Whom it befalls, or how."""

    NONE = ""
    ENGINE = "engine"
    MONITOR = "monitor"
    SUPERVISORD = "supervisord"
    PROXY = "proxy"
    CANDIDATE = "candidate"
    STABLE = "stable"
    WORKER = "hashing worker"
    TRUNCATED = "archive truncated"
    FLIPPED = "a bit of the archive flipped"
    SWAPPED = "archive swapped with another"
    CHECKSUM_FLIPPED = "a digit of the checksum changed"
    CHECKSUM_TRUNCATED = "checksum truncated"
    CHECKSUM_SWAPPED = "checksum swapped with another"
    MANIFEST_FLIPPED = "a digit of the manifest changed, the checksum to match"
    MANIFEST_SWAPPED = "manifest of another backup, the checksum to match"
    MANIFEST_TRUNCATED = "manifest cut short, the checksum to match"
    AHEAD = "an hour ahead"
    BEHIND = "an hour back"


PROCESSES = (
    Target.ENGINE,
    Target.MONITOR,
    Target.SUPERVISORD,
    Target.PROXY,
    Target.CANDIDATE,
    Target.STABLE,
)
DAMAGES = tuple(target for target in Target if target.name.endswith(("TRUNCATED", "FLIPPED", "SWAPPED")))


class Variant(StrEnum):
    """What is rolled out."""

    GOOD = "good"
    GOOD_MIGRATING = "good, with a migration"
    CRASHES_AT_START = "crashes at start"
    NEVER_HEALTHY = "never healthy"
    FAILS_SUBMITS = "answers 500 to submits"
    MOVES_A_BIT = "one bit of its fingerprints is wrong"
    IGNORES_SIGTERM = "ignores SIGTERM"
    CHECK_FAILS = "its own check takes a sound store for damaged"
    FOREIGN_ROWS = "writes rows in the name of another release"
    FAILS_LATER = "fails a third of its submits after a while"
    CRASHES_LATER = "crashes again and again after a while"
    METRICS_HANG = "metrics hang after a while"
    METRICS_LIE = "fails a third of its submits after a while, and counts none"
    HEALTH_HANGS = "health hangs after a while"
    CUTS_ANSWERS = "cuts a third of its answers after a while"
    FORGETS_FINDS = "searches find nothing three times in ten after a while"
    HEALTH_LIES = "says that it is well while nothing else works, after a while"

    @property
    def good(self) -> bool:
        return self in (Variant.GOOD, Variant.GOOD_MIGRATING)


STEPS = {
    Story.ROLL_OUT: ("preflight", "backup", "migrate", "stage", "verify", "shift", "watch", "finish"),
    Story.ROLL_BACK: (
        "safety",
        "data",
        "schema",
        "stage",
        "verify",
        "shift",
        "retire",
        "validate",
    ),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """When: so many seconds after a step's intent (`before`) or outcome (`after`) stands in the journal.

    Without a step, after the command was started.
    """

    step: str
    after: bool
    seconds: float

    def __str__(self) -> str:
        where = f"{'after' if self.after else 'in'} {self.step}" if self.step else "the start"
        return f"{self.seconds:.2f} s from {where}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, and for how long if it passes."""

    action: Action
    target: Target
    moment: Moment
    seconds: float = 0.0

    @property
    def family(self) -> str:
        """Its name in the catalogue: damages count by what was damaged, a clock by that it was."""
        if self.action is Action.DAMAGE:
            part, _, _ = self.target.name.rpartition("_")
            return f"{part.lower() or 'archive'} damaged"
        return str(self.action) if self.action is Action.CLOCK else f"{self.action} {self.target}".strip()

    def __str__(self) -> str:
        what = f"{self.action} {self.target}".strip()
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{what}{lasting}, {self.moment}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    store: Store
    story: Story
    variant: Variant
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        faults = "; ".join(map(str, self.faults))
        return f"{self.story} ({self.variant}) on {self.store}: {faults}"

    def has(self, action: Action) -> bool:
        return any(fault.action is action for fault in self.faults)

    @property
    def families(self) -> frozenset[str]:
        """What of the catalogue of faults this run covers."""
        found = {fault.family for fault in self.faults}
        if not self.variant.good:
            found.add(self.variant)
        if self.store is Store.POSTGRESQL:
            found.add(self.store)
        return frozenset(found)


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
    Action.BROKEN_PIPE: 2,
    Action.POWER: 2,
}
LASTING = {Action.FREEZE, Action.DISK_FULL, Action.BACKUPS_READ_ONLY, Action.LOCK, Action.NOBODY_LISTENS}
ONCE = {Action.CLOCK, Action.POWER, Action.DAMAGE, Action.DISK_FULL, Action.BROKEN_PIPE}
APART = (Action.CLOCK, Action.POWER)
"""Both are a library that is preloaded: one of them in a run."""

SQLITE_ONLY = {Action.DISK_FULL, Action.POWER, Action.CLOCK}


def draw(seed: int, *, possible: frozenset[Action] = frozenset(Action)) -> Plan:
    """The plan of a seed; `possible` is what this machine can be made to suffer."""
    random = Random(f"chaos {seed}")
    store = Store.POSTGRESQL if seed % 10 == 0 else Store.SQLITE
    story = random.choices([Story.ROLL_OUT, Story.ROLL_BACK], [4, 1])[0]
    variants = list(Variant) if story is Story.ROLL_OUT else [Variant.GOOD, Variant.GOOD_MIGRATING]
    variant = random.choices(variants, [6 if one.good else 1 for one in variants])[0]
    allowed = [one for one in WEIGHTS if one in possible and fits(one, store, story)]
    faults: list[Fault] = []
    for _ in range(random.choices([1, 2, 3], [3, 4, 3])[0]):
        action = random.choices(allowed, [WEIGHTS[one] for one in allowed])[0]
        gone = {action} & ONCE | (set(APART) if action in APART else set())
        allowed = [one for one in allowed if one not in gone]
        faults.append(fault(random, action, story, variant))
    return Plan(seed, store, story, variant, tuple(faults))


def fits(action: Action, store: Store, story: Story) -> bool:
    """Whether a fault can befall this store and this command."""
    if action in SQLITE_ONLY and store is not Store.SQLITE:
        return False
    return not (action is Action.DAMAGE and story is Story.ROLL_BACK)


def fault(random: Random, action: Action, story: Story, variant: Variant) -> Fault:
    targets: tuple[Target, ...] = (Target.NONE,)
    if action is Action.KILL:
        targets = (*PROCESSES, Target.ENGINE, Target.WORKER)  # the engine twice as often
    elif action is Action.FREEZE:
        targets = PROCESSES
    elif action is Action.DAMAGE:
        targets = DAMAGES
    elif action is Action.CLOCK:
        targets = (Target.AHEAD, Target.BEHIND)
    target = random.choice([one for one in targets if steps(story, variant, action, one)])
    seconds = round(random.uniform(0.5, 4.0), 2) if action in LASTING else 0.0
    names = steps(story, variant, action, target)
    anytime = target not in FIRST and action is not Action.DAMAGE
    return Fault(action, target, moment(random, names, anytime=anytime), seconds)


REACHED = {
    Variant.CRASHES_AT_START: "stage",
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
    return Moment(
        random.choice(names),
        random.random() < 0.4,
        round(random.choice([0.0, 0.0, random.uniform(0, 0.3), random.uniform(0, 2.0)]), 3),
    )


def covering(first: int, runs: int, *, possible: frozenset[Action] = frozenset(Action)) -> list[int]:
    """So many seeds that cover as many families as greed finds, each family as early as can be."""
    drawn = {seed: draw(seed, possible=possible).families for seed in range(first, first + 5000)}
    return greedy(drawn.items(), runs)


def greedy(drawn: Iterable[tuple[int, frozenset[str]]], runs: int) -> list[int]:
    left, covered, chosen = dict(drawn), set[str](), list[int]()
    for _ in range(runs):
        seed = max(left, key=lambda one: (len(left[one] - covered), -one))
        covered |= left.pop(seed)
        chosen.append(seed)
    return chosen
