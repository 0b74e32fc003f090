"""A plan: what is rolled out, on which store, and what goes wrong when. Pure."""

from dataclasses import dataclass
from enum import StrEnum


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
    ERASE = "pictures erased"
    VANISH = "empty place of"
    REFUSE = "refusing place of"
    DATABASE = "PostgreSQL killed"
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
    REPLICA = "one of two server processes"
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
    BY_COMMAND = "by the command"
    OVER_HTTP = "over HTTP"
    COPIES = "copies"
    STREAM = "the stream"
    BACK = "and started again"
    STANDBY = "and its standby promoted"


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
    HANGS_AT_START = "hangs at start"
    PLAN_FAILS = "cannot say what it would migrate"
    PLAN_HANGS = "hangs when it is to say what it would migrate"
    PLAN_LIES = "says nothing of a migration that it needs"
    UPGRADE_FAILS = "its migration fails half-way"
    UPGRADE_LIES = "says that it has migrated, and has not"
    SNAPSHOT_LIES = "its snapshots are empty, and it says they are not"
    MERGE_LIES = "merges nothing, and says it has"

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
        if self.story is Story.ROLL_BACK:
            found.add(self.story)
        return frozenset(found)
