"""The step of a rollout, and the work that it is a step of."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from guarded_rollout.config.environments import TrafficStep
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import Slot, other
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.draining import Draining
from guarded_rollout.rollout.window import Window

Evidence = dict[str, Any]
"""A step's proof in the journal that it did what it says."""


class Data(StrEnum):
    """The data after a rollback."""

    MERGE = "merge"  # the union of the backup and everything acknowledged since
    EXACT = "exact"  # as it was when the backup was taken
    NONE = "none"  # left as it is


@dataclass(frozen=True, slots=True)
class Options:
    """The operator's choices for one rollout, journalled so that `resume` follows them."""

    skip_health_check: bool = False
    allow_unknown: bool = False  # migrations of which nobody knows that they leave the old release alone
    override: str = ""  # the reason to deploy although preflight fails
    no_contract: bool = False  # other machines share the store: contracting waits for the last of them
    # of a rollback:
    backup: str | None = None
    data: Data = Data.NONE
    quarantine: bool = False
    configuration: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """A rollout at work: `incoming` replaces `outgoing` (None if nothing serves) and runs in `slot`."""

    site: Site
    journal: Journal
    rollout: UUID
    incoming: Release
    outgoing: Release | None
    slot: Slot
    steps: tuple["RolloutStep", ...]
    traffic: tuple[TrafficStep, ...]
    is_rollback: bool
    options: Options
    say: Callable[[str], None]
    guard: Callable[["Work"], None]  # asked while a share is held; raises to take the rollout back
    patience: float = 0.0  # seconds to wait here for what the old release still answers
    hurry: bool = False  # its slot is needed: it is stopped now, with its drain time alone

    @property
    def outgoing_slot(self) -> Slot:
        return other(self.slot)

    def note(self, name: str, **data: object) -> None:
        self.journal.note(self.rollout, name, **data)


class RolloutStep:
    """A step can be done twice: what is done already is left as it is.

    A rollback is run again rather than undone, so its steps keep the `undo` that does nothing.
    """

    name: ClassVar[str]
    undoes_on_failure: ClassVar[bool] = True  # False: a failure leaves the rollout to `resume`
    brings_schema: ClassVar[bool] = False

    def describe(self, work: Work) -> Iterator[str]:
        """Yield what `do` would do, line by line. Reads, never changes."""
        raise NotImplementedError

    def do(self, work: Work) -> Evidence:
        """Do it and return the evidence. Raises a `RolloutError` that names the cause."""
        raise NotImplementedError

    def undo(self, work: Work) -> None:
        """Take it back, whether it was done wholly, half or not at all."""

    def abandon(self, work: Work) -> None:
        """Clear away what a failed rollback must not leave behind."""

    def open_window(self, work: Work) -> Window | None:
        """Return the window that somebody has to watch before this step can be done."""
        return None

    def drain(self, work: Work) -> Draining | None:
        """Return what has to end before this step can be done; nobody needs to hold the lock for that."""
        return None

    def recorded(self, work: Work) -> AbstractContextManager[Evidence]:
        """Journal intent and outcome around `do`."""
        return work.journal.step(work.rollout, self.name)
