"""Alerts when a window is open and nobody watches it."""

from guarded_rollout.clock import Clock, Instant, duration
from guarded_rollout.config.environments import Environment
from guarded_rollout.monitor import heartbeat
from guarded_rollout.monitor.heartbeat import BEAT_SECONDS, MISSED_SECONDS
from guarded_rollout.monitor.ports import OpenWindow, Rollouts
from guarded_rollout.notify.events import Event, Kind, event
from guarded_rollout.notify.publisher import Publisher

AGAIN_SECONDS = 300.0


def stand_by(environment: Environment, rollouts: Rollouts, publisher: Publisher, clock: Clock) -> None:
    """Check the heartbeat until no window is open; alert after a minute without one, then every five."""
    alerted_at: Instant | None = None
    while (window := rollouts.open_window()) is not None:
        now = clock.instant()
        silent = heartbeat.unwatched_seconds(heartbeat.last(environment), window, now)
        if silent < MISSED_SECONDS:
            alerted_at = None
        elif alerted_at is None or now.since(alerted_at) >= AGAIN_SECONDS:
            publisher.publish(unwatched(environment, window, silent, clock))
            alerted_at = now
        clock.sleep(BEAT_SECONDS)


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
