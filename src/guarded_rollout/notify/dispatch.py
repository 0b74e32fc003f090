"""Attempts: send a delivery once, and decide when to try again."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from guarded_rollout.errors import NotificationSettingsError
from guarded_rollout.notify.channels import Refused, Unavailable


@dataclass(frozen=True, slots=True)
class Patience:
    """The time limits of a notifier, in seconds."""

    poll: float = 1.0  # before it checks for what other processes have stored
    retries: float = 4.0  # at the end, while nothing comes through
    first_try: float = 15.0  # at the end, at most; above what one attempt may take
    attempts: int = 3  # that fail before an event goes to the fallback file
    first_backoff: float = 1.0  # after one failed attempt; doubled after each further one
    longest_backoff: float = 300.0

    def backoff(self, attempts: int) -> float:
        """Return the wait after this many failed attempts, less up to half at random to spread the load."""
        whole = min(self.longest_backoff, self.first_backoff * 2.0 ** min(attempts - 1, 32))
        return whole * random.uniform(0.5, 1.0)


def attempt(send: Callable[[], None]) -> Refused | Unavailable | None:
    """Send once; return None if it was delivered, or what stood in the way."""
    try:
        send()
    except (Refused, Unavailable) as problem:
        return problem
    except NotificationSettingsError as error:
        return Refused(error.sentence)
    except Exception as error:  # a defect of one channel must not end its queue
        return Unavailable(f"{type(error).__name__}: {error}")
    return None
