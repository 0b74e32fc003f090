"""What a judge reads: failures and requests by reading and window."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counts:
    """Failures and requests between readings, `step` seconds apart; both of shape (readings, windows)."""

    failed: Numbers
    asked: Numbers
    step: float

    def every(self, interval: float) -> "Counts":
        """The same in spans of `interval` seconds, a multiple of `step`; one that is not full is left out."""
        size = round(interval / self.step)
        spans = len(self.failed) // size
        failed, asked = (
            counts[: spans * size].reshape(spans, size, -1).sum(axis=1)
            for counts in (self.failed, self.asked)
        )
        return Counts(failed, asked, interval)

    @property
    def success(self) -> Numbers:
        """The share of requests that succeeded (0 to 1); not a number where there were none."""
        return _share(self.asked - self.failed, self.asked)

    @property
    def failure(self) -> Numbers:
        """The share of requests that failed (0 to 1); not a number where there were none."""
        return _share(self.failed, self.asked)


def first(holds: NDArray[np.bool_], interval: float) -> Numbers:
    """The time in seconds at which this first holds, by window; infinite where it never does."""
    at = (holds.argmax(axis=0) + 1) * interval
    return np.where(holds.any(axis=0), at, np.inf)


def _share(part: Numbers, whole: Numbers) -> Numbers:
    shares: Numbers = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return shares
