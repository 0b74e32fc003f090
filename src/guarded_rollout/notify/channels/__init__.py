"""Where messages go: one file a channel, each behind the same small interface."""

from typing import Protocol

from guarded_rollout.notify.message import Message


class Channel(Protocol):
    """One receiver, ready to send."""

    def send(self, message: Message) -> None:
        """Deliver, or raise `Unavailable` or `Refused`."""
        ...


class Unavailable(Exception):
    """Not now: worth another try, after `retry_after` seconds if the receiver said so."""

    def __init__(self, problem: str, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class Refused(Exception):
    """Never: sending this again would end the same way."""


class NotConfigured(Refused):
    """Switched off: nothing is wrong, and nobody is told there."""
