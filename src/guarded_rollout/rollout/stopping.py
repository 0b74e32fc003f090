"""Stops a rollout that another process is at: its owner is asked, takes it back, and is watched doing so."""

from collections.abc import Callable
from dataclasses import dataclass

from guarded_rollout.clock import Clock
from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import LockHeldError, OwnerDoesNotReactError
from guarded_rollout.journal.model import Rollout, StepOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import Owner, ask_to_stop, owner
from guarded_rollout.rollout.window import WATCH

STOPPABLE = ("rollout deploy", "rollout up", "rollout resume")
"""The commands that can be asked: what they have not done to its end is taken back."""
REACTION_SECONDS = 15.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was stopped: the command, and the rollout that was open then (None: it had not begun one)."""

    command: str
    rollout: Rollout | None


def stoppable(holder: Owner, rollout: Rollout | None) -> bool:
    """Return True if this owner would take this rollout back if it were interrupted. Pure."""
    if holder.command not in STOPPABLE:
        return False
    return rollout is None or not (rollout.is_rollback or rollout.done(WATCH))


def stop_owner(
    environment: Environment, clock: Clock, say: Callable[[str], None], *, by: str, why: str
) -> Stopped | None:
    """Ask whoever works on the open rollout to take it back, and report it until it has let go of the lock.

    Returns None where nobody works on anything that can be asked: the caller does it itself, or is refused by
    the lock. Raises `LockHeldError`, `OwnerDoesNotReactError`.
    """
    holder = owner(environment.lock)
    with Journal.open(environment.journal, create=False) as journal:
        rollout = journal.open_rollout(environment.name)
        if holder is None or not stoppable(holder, rollout):
            return None
        if not ask_to_stop(environment.lock, holder, by=by, why=why):
            raise LockHeldError(environment=environment.name, owner=holder)
        say(f"asked {holder} to take it back")
        deadline = clock.monotonic() + REACTION_SECONDS
        undone: set[str] = set()
        while owner(environment.lock) == holder:
            if rollout is not None:
                rollout = journal.rollout(rollout.id)
                undone |= _say_news(rollout, undone, say)
            reacts = rollout is not None and (rollout.undoing or not rollout.open)
            if not reacts and clock.monotonic() > deadline:
                raise OwnerDoesNotReactError(owner=holder, pid=holder.pid, environment=environment.name)
            clock.sleep(POLL_SECONDS)
        if rollout is not None:
            rollout = journal.rollout(rollout.id)
            _say_news(rollout, undone, say)
        return Stopped(holder.command, rollout)


def _say_news(rollout: Rollout, said: set[str], say: Callable[[str], None]) -> set[str]:
    """Say which steps have been undone since; returns them."""
    names = [step.name for step in rollout.steps if step.outcome is StepOutcome.UNDONE]
    news = [name for name in names if name not in said]
    for name in news:
        say(f"undone: {name}")
    return set(news)
