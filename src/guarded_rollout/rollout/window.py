"""The monitoring window: how long a rollout is watched, with the old release kept warm.

The window is a fold over the rollout's notes, so whoever comes next knows how much of it is left: opened,
paused and resumed (the clock stands still in between), and closed early by `promote`. Its seconds are those
of the monotonic clock: a wall clock that is set an hour ahead must not accept a release that nobody watched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from guarded_rollout.clock import Clock, Instant
from guarded_rollout.config.environments import Environment
from guarded_rollout.journal.model import JournalEntry, Rollout

WATCH = "watch"
"""The name of the step whose intent opens the window."""

PAUSED, RESUMED, PROMOTED = "paused", "resumed", "promoted"


@dataclass(frozen=True, slots=True)
class Window:
    """A window as the notes tell it."""

    opened: Instant
    seconds: float
    watched_before: float  # seconds watched until `running_since`
    running_since: Instant | None  # None while it is paused
    promoted: bool

    @property
    def paused(self) -> bool:
        return self.running_since is None

    def opened_at(self, now: Instant) -> datetime:
        """Return when it was opened, by the wall clock as it is set now."""
        return now.at - timedelta(seconds=now.since(self.opened))

    def left(self, now: Instant) -> float:
        """Seconds until it closes; 0 when it is over."""
        if self.promoted:
            return 0.0
        watched = self.watched_before
        if self.running_since is not None:
            watched += now.since(self.running_since)
        return max(0.0, self.seconds - watched)


def window(rollout: Rollout) -> Window | None:
    """Return the rollout's window, None before it was opened. Pure."""
    step = rollout.last(WATCH)
    if step is None:
        return None
    opened = _instant(step.started_at, step.plan)
    watched, promoted = 0.0, False
    running: Instant | None = opened
    for note in rollout.notes:
        if note.name == PAUSED and running is not None:
            watched += instant_of(note).since(running)
            running = None
        elif note.name == RESUMED and running is None:
            running = instant_of(note)
        elif note.name == PROMOTED:
            promoted = True
    return Window(opened, float(str(step.plan["seconds"])), watched, running, promoted)


def accepted(rollout: Rollout) -> bool:
    """Return True once the window was closed for good: what is left is to finish, or to roll back. Pure."""
    return rollout.done(WATCH) and not (rollout.is_rollback or rollout.undoing)


def mark(clock: Clock) -> dict[str, object]:
    """Return the data by which the time of a note is counted: see `Instant`."""
    now = clock.instant()
    return {"boot": now.boot, "steady": now.steady}


def instant_of(note: JournalEntry) -> Instant:
    """Return the moment that `mark` wrote into a note."""
    return _instant(note.at, note.data)


def _instant(at: datetime, data: Mapping[str, Any]) -> Instant:
    return Instant(at, str(data.get("boot", "")), float(data.get("steady", 0.0)))


def window_seconds(environment: Environment) -> float:
    """Return how long the gates file has this environment's rollouts watched."""
    from guarded_rollout.config.gates import gates_of  # not to read a window

    return gates_of(environment).monitoring.window_minutes * 60
