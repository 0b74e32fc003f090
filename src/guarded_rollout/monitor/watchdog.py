"""Alerts when a rollout is open and nobody works on it, or its window is open and nobody watches it.

It also finishes an accepted rollout, once the old release has ended what it was answering.
"""

from dataclasses import dataclass

from guarded_rollout.clock import Clock, Instant, duration
from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import LockHeldError, RolloutError
from guarded_rollout.logs import ModuleLog
from guarded_rollout.monitor import heartbeat
from guarded_rollout.monitor.heartbeat import BEAT_SECONDS, MISSED_SECONDS
from guarded_rollout.monitor.monitor import DRAIN_POLL_SECONDS
from guarded_rollout.monitor.ports import OpenRollout, OpenWindow, Rollouts
from guarded_rollout.notify.events import Event, Kind, event
from guarded_rollout.notify.publisher import Publisher

log = ModuleLog()

AGAIN_SECONDS = 300.0
INTERRUPTED_SECONDS = 20.0
"""A rollout that nobody has worked on for so long is told of; a command that ends or begins takes less."""


@dataclass
class Watchdog:
    """Watches over a rollout from its beginning: that somebody is at work on it, then that it is watched."""

    environment: Environment
    rollouts: Rollouts
    publisher: Publisher
    clock: Clock
    _alerted_at: Instant | None = None
    _left_since: Instant | None = None
    _told: bool = False

    def stand_by(self) -> None:
        """Look every ten seconds until no rollout is open; alert after a minute, then every five."""
        while (rollout := self.rollouts.open_rollout()) is not None:
            if rollout.accepted:
                self.clock.sleep(DRAIN_POLL_SECONDS if rollout.draining or self._finish() else BEAT_SECONDS)
            else:
                self.look(rollout)
                self.clock.sleep(BEAT_SECONDS)

    def _finish(self) -> bool:
        """Finish an accepted rollout, or take the next step to it; False if that failed."""
        try:
            self.rollouts.finish()
        except LockHeldError:
            return False  # whoever holds it finishes it, or begins something else
        except RolloutError as error:
            log.error(error.sentence)
            return False
        return True

    def look(self, rollout: OpenRollout) -> None:
        """Look once, and publish what is wrong."""
        now = self.clock.instant()
        if rollout.watched:
            self._left_since = None
            self._look_for_a_monitor(now)
        elif rollout.owner:
            self._left_since, self._told = None, False
        else:
            self._left_since = self._left_since or now
            if now.since(self._left_since) >= INTERRUPTED_SECONDS and not self._told:
                self._told = True
                self.publisher.publish(interrupted(self.environment, rollout, self.clock))

    def _look_for_a_monitor(self, now: Instant) -> None:
        window = self.rollouts.open_window()
        silent = heartbeat.unwatched_seconds(heartbeat.last(self.environment), window, now)
        if window is None or silent < MISSED_SECONDS:
            self._alerted_at = None
        elif self._alerted_at is None or now.since(self._alerted_at) >= AGAIN_SECONDS:
            self.publisher.publish(unwatched(self.environment, window, silent, self.clock))
            self._alerted_at = now


def interrupted(environment: Environment, rollout: OpenRollout, clock: Clock) -> Event:
    """Return the event for a rollout that nobody works on any more."""
    return event(
        Kind.INTERRUPTED,
        environment.name,
        clock.now(),
        reason=f"the rollout of {rollout.release} stopped at {rollout.step}, and nobody is at work on it",
        release=rollout.release,
        deployment=rollout.rollout,
        next_command=f"rollout resume --env {environment.name}, or rollout abort --env {environment.name}",
    )


def unwatched(environment: Environment, window: OpenWindow, seconds: float, clock: Clock) -> Event:
    """Return the event for a window that nobody watches."""
    return event(
        Kind.UNWATCHED,
        environment.name,
        clock.now(),
        reason=f"{window.candidate} is in its window and nobody has watched it for {duration(seconds)}",
        release=window.candidate,
        deployment=window.rollout,
        duration_seconds=seconds,
        next_command=f"rollout monitor --env {environment.name}",
    )
