"""Time under the control of a test."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from guarded_rollout.clock import Instant


class ManualClock:
    """Time that passes only when someone sleeps or calls `advance`."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed = 0.0
        self._boot = uuid4().hex

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    def instant(self) -> Instant:
        return Instant(self._now, self._boot, self._elapsed)

    def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forth, or back: no time passes."""
        self._now += timedelta(seconds=seconds)
