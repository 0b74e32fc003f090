"""How often one address may try something: so many times in a while, counted in memory."""

from collections import OrderedDict, deque
from collections.abc import Callable

from dhash_service.errors import TooManyRequestsError

ADDRESSES = 4096
"""Most addresses remembered; beyond, the one that was silent longest is forgotten."""


class Throttle:
    """At most `most` tries in `seconds` for each address. `clock` gives seconds that only rise."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def admit(self, address: str) -> None:
        """Count a try. Raises `TooManyRequestsError` when there were too many."""
        now = self._clock()
        tries = self._tries.setdefault(address, deque(maxlen=self._most))
        self._tries.move_to_end(address)
        if len(self._tries) > ADDRESSES:
            self._tries.popitem(last=False)
        if len(tries) == self._most and now - tries[0] < self._seconds:
            raise TooManyRequestsError(
                f"{self._most} tries in {self._seconds:.0f} s are allowed.", "Wait a minute, then try again."
            )
        tries.append(now)
