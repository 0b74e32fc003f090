"""Mutants that no test can tell from the code: by room and reason, the lines as the change makes them."""

from collections.abc import Mapping

EQUIVALENT: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sequential": {
        "a logarithm of sums is never exactly at a bound": (
            "if self.nats < 0:",
            "elif self.nats < 0:",
            "if nats < 0:",
            "if (over := self.nats - self._threshold) > 0:",
        ),
        "the first reading lays them again, and before it there is no evidence": (
            "self._counts, self._since = ( 1.0, 0.0), 0.0",
            "self._counts, self._since = ( -1.0, 0.0), 0.0",
            "self._counts, self._since = (0.0, 1.0), 0.0",
            "self._counts, self._since = (0.0, -1.0), 0.0",
            "self._counts, self._since = (0.0, 0.0), 1.0",
            "self._counts, self._since = (0.0, 0.0), -1.0",
        ),
        "no reading is before the one before, so it is never below": ("if fresh != 0:",),
        "each alternative has its stake and its gain": (
            "self._logs = [one + gain for one, gain in zip(self._logs, gains, strict=False)]",
        ),
    },
    "verdict": {
        "a cache changes nothing but how long it takes": ("without @cache",),
        "it is called on the class alone, where a plain function does the same": ("without @staticmethod",),
    },
}
