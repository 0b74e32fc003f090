"""Channels: one file for each, all behind the same small interface."""

from typing import Protocol

from guarded_rollout.notify.message import Message


class Channel(Protocol):
    """A configured channel."""

    def send(self, message: Message) -> None:
        """Deliver a message. Raises `Unavailable`, `Refused`."""
        ...


class Unavailable(Exception):
    """A failure that is worth another try, after `retry_after` seconds if the receiver said so."""

    def __init__(self, problem: str, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class Refused(Exception):
    """A failure for good: sending this again would end the same way."""


class NotConfigured(Refused):
    """A channel that is switched off, which is no fault."""
