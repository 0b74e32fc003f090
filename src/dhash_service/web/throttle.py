"""Limits the failures of one address in a while, counted in memory."""

from collections import OrderedDict, deque
from collections.abc import Callable

from dhash_service.errors import TooManyRequestsError

ADDRESSES = 4096
"""Most addresses remembered; beyond, the one that failed longest ago is forgotten."""


class Throttle:
    """At most `most` failures in `seconds` for each address. `clock` gives seconds that only rise.

    What goes well does not count: many people may come from one address.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def admit(self, address: str) -> None:
        """Raise `TooManyRequestsError` when there were too many failures."""
        failures = self._failures.get(address, deque[float]())
        if len(failures) == self._most and self._clock() - failures[0] < self._seconds:
            raise TooManyRequestsError(
                f"{self._most} failed tries in {self._seconds:.0f} s are allowed.",
                "Wait a minute, then try again.",
            )

    def failed(self, address: str) -> None:
        """Count a failure."""
        self._failures.setdefault(address, deque(maxlen=self._most)).append(self._clock())
        self._failures.move_to_end(address)
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)
