"""The engine as a monitor sees it: the real one works on the journal, tests script theirs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """A rollout that is to be watched. Times in seconds, `opened_at` since 1970."""

    rollout: str
    candidate: str
    stable: str
    opened_at: float
    seconds: float
    left: float
    paused: bool = False
    undoing: bool = False  # it is being taken back, or whoever did so died
    at_work: bool = False  # a command has the environment's lock
    accepted: bool = False  # it is over for good; what is left is to finish
    draining: bool = False  # and the old release is still answering


@dataclass(frozen=True, slots=True)
class OpenRollout:
    """An open rollout. `step` is where it stands; without an `owner` nobody is at work on it.

    `watched` is True once its window is open: then a monitor attends to it, not the command that began it.
    `accepted` is True once the window was closed for good, `draining` while the old release still answers.
    """

    rollout: str
    release: str
    step: str
    owner: bool
    watched: bool
    accepted: bool = False
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a rollout."""

    completed: bool
    rolled_back: bool
    reason: str = ""


class Rollouts(Protocol):
    """The engine of one environment."""

    @property
    def manual_command(self) -> str:
        """The command for an operator if all else fails."""
        ...

    @property
    def returns_to(self) -> str:
        """The release that a rollback returns to; empty while no rollout has been seen."""
        ...

    def open_window(self) -> OpenWindow | None:
        """Return the rollout that is watched now."""
        ...

    def open_rollout(self) -> OpenRollout | None:
        """Return the open rollout, watched or not; None if none is open."""
        ...

    def ended(self, rollout: str) -> Ended | None:
        """Return the end of this rollout; None while it is open."""
        ...

    def verified_backup(self) -> Path | None:
        """Return this rollout's or environment's backup after reading all of it; None if there is none.

        Raises a `RolloutError` if it is damaged.
        """
        ...

    def roll_back(self, reason: str, quarantine: bool) -> None:
        """Take the release back, or resume doing so; with what it wrote, if that is in doubt.

        Raises a `RolloutError`; can be tried again.
        """
        ...

    def finish(self) -> None:
        """Accept the release, and finish, or call it again once the old one has ended what it answers.

        Raises a `RolloutError`; can be tried again.
        """
        ...

    def pause(self) -> None:
        """Let the window's clock stand still."""
        ...
