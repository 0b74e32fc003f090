"""When to try again. Pure; the outbox keeps the answer, so that it survives a crash."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling from `first` to `most` seconds, less up to half at random: many must not come at once."""

    first: float = 1.0
    most: float = 300.0

    def after(self, attempts: int, random: Random) -> float:
        """Seconds to wait after so many failed attempts, 1 or more."""
        whole = min(self.most, self.first * 2.0 ** min(attempts - 1, 32))
        return whole * random.uniform(0.5, 1.0)
