"""The heartbeat of the process that watches a rollout, and the time since nobody does."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from guarded_rollout.clock import Clock, Instant
from guarded_rollout.config.environments import Environment
from guarded_rollout.files import write_atomic
from guarded_rollout.lock import process_started
from guarded_rollout.logs import path_for
from guarded_rollout.monitor.ports import OpenWindow

if TYPE_CHECKING:  # who reads a heartbeat starts without what judges gates
    from guarded_rollout.monitor.session import GateSession

BEAT_SECONDS = 10.0
MISSED_SECONDS = 60.0  # without a beat for so long, nobody watches


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The newest beat of a monitor. Times in seconds since 1970; `log` is its session's file."""

    pid: int
    started: str  # tells this process from a later one with the same number
    at: float
    rollout: str
    began_at: float
    log: str
    boot: str = ""  # and `steady`, by the monotonic clock: the same moment as `at`, see `Instant`
    steady: float = 0.0

    @property
    def instant(self) -> Instant:
        return Instant(datetime.fromtimestamp(self.at, UTC), self.boot, self.steady)

    def alive(self) -> bool:
        """Return True while the process that beat runs."""
        return bool(self.started) and process_started(self.pid) == self.started

    def watches(self, now: Instant) -> bool:
        """Return True if it runs and has beaten recently: one that hangs watches nothing."""
        return self.alive() and now.since(self.instant) < MISSED_SECONDS


def path_of(environment: Environment) -> Path:
    return environment.root / "monitor.json"


def beat(environment: Environment, now: Instant, rollout: str, began_at: float, log: Path) -> None:
    """Record that this process watches. Where that cannot be written, it watches on, and others will alert
    that nobody does."""
    pid, at = os.getpid(), now.at.timestamp()
    found = Heartbeat(pid, process_started(pid), at, rollout, began_at, str(log), now.boot, now.steady)
    with suppress(OSError):
        write_atomic(path_of(environment), json.dumps(asdict(found)))


class Beater:
    """Beats for a session, every ten seconds at most."""

    def __init__(self, environment: Environment, session: "GateSession") -> None:
        self._environment, self._session = environment, session
        self._beaten_at = float("-inf")

    def beat(self, now: float) -> None:
        if now - self._beaten_at >= BEAT_SECONDS:
            self._beaten_at = now
            session = self._session
            instant, path = session.clock.instant(), session.log.path.absolute()
            beat(self._environment, instant, session.target.rollout, session.began_at, path)


def session_log(environment: Environment, rollout: str, clock: Clock, folder: Path | None = None) -> Path:
    """Return the log of this rollout's session, as the heartbeat names it; the path of a new one if none."""
    before = last(environment)
    if before is not None and before.rollout == rollout and Path(before.log).exists():
        return Path(before.log)
    return path_for(folder or environment.logs, environment.service.name, environment.name, clock.now())


def last(environment: Environment) -> Heartbeat | None:
    """Return the newest beat; None if there never was one."""
    try:
        return Heartbeat(**json.loads(path_of(environment).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def watched_by_another(environment: Environment, rollout: UUID, now: Instant) -> bool:
    """Return True if another process watches this rollout."""
    beat = last(environment)
    mine = beat is not None and beat.pid == os.getpid()
    return beat is not None and not mine and beat.rollout == str(rollout) and beat.watches(now)


def unwatched_seconds(beat: Heartbeat | None, window: OpenWindow | None, now: Instant) -> float:
    """Return for how many seconds nobody has watched; 0 while somebody does, or if no window is open."""
    if window is None or (beat is not None and beat.rollout == window.rollout and beat.watches(now)):
        return 0.0
    since_opened = max(0.0, now.at.timestamp() - window.opened_at)
    if beat is None or beat.rollout != window.rollout:
        return since_opened
    return min(since_opened, now.since(beat.instant))
