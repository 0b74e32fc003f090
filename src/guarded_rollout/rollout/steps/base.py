"""What every step is, and what it works on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol
from uuid import UUID

from guarded_rollout.config.environments import TrafficStep
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import Slot, other
from guarded_rollout.journal.store import Journal

Evidence = dict[str, Any]
"""What a step leaves in the journal: how one can tell that it did what it says."""


class Data(StrEnum):
    """What a rollback does to the data."""

    MERGE = "merge"  # the union of the backup and everything acknowledged since
    EXACT = "exact"  # as it was when the backup was taken
    NONE = "none"  # left as it is


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator chose for one rollout; kept in the journal, so that `resume` goes on the same way."""

    skip_health_check: bool = False
    # of a rollback:
    backup: str | None = None
    data: Data = Data.NONE
    quarantine: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """One rollout: `incoming` replaces `outgoing` (None if nothing serves) and runs in `slot`."""

    site: Site
    journal: Journal
    rollout: UUID
    incoming: Release
    outgoing: Release | None
    slot: Slot
    steps: tuple[str, ...]
    traffic: tuple[TrafficStep, ...]
    is_rollback: bool
    options: Options
    say: Callable[[str], None]
    guard: Callable[["Work"], None]  # asked while a share is held; raises to take the rollout back

    @property
    def outgoing_slot(self) -> Slot:
        return other(self.slot)

    def note(self, name: str, **data: object) -> None:
        self.journal.note(self.rollout, name, **data)


class RolloutStep(Protocol):
    """A step can be done twice: what is done already is left as it is."""

    name: ClassVar[str]

    def describe(self, work: Work) -> Iterator[str]:
        """What `do` would do, line by line. Reads, never changes."""
        ...

    def do(self, work: Work) -> Evidence:
        """Do it, and tell how one can see it. Raises a `RolloutError` that names the cause."""
        ...

    def undo(self, work: Work) -> None:
        """Take it back, whether it was done wholly, half or not at all."""
        ...


class RollbackStep:
    """A step of a rollback: a rollback is never taken back, it is run again."""

    def undo(self, work: Work) -> None:
        """Nothing: see above."""
