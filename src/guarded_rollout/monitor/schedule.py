"""A monotonic time line for one session, and polls on it that do not drift."""

import math

from guarded_rollout.clock import Clock


class Timeline:
    """Seconds since 1970 as the wall clock had them when the session began, monotonic from there on.

    So a clock that is set back or forth moves no window. `not_before` is the newest time of an earlier
    process of the same session: what comes now is later, whatever the wall clock says.
    """

    def __init__(self, clock: Clock, not_before: float = -math.inf) -> None:
        self._clock = clock
        self._base = max(clock.now().timestamp(), not_before) - clock.monotonic()

    def now(self) -> float:
        return self._base + self._clock.monotonic()


class Schedule:
    """The due times of a poll. Each is counted from the one before, so lateness does not add up."""

    def __init__(self, first: float) -> None:
        self.due = first

    def advance(self, now: float, interval: float) -> None:
        """Advance to the next time after now. Missed times are left out, and the rhythm is kept."""
        self.due += interval
        if self.due <= now:
            self.due += math.floor((now - self.due) / interval + 1) * interval
