"""Publishers: the interface that takes events, and the ones that send nothing."""

from collections.abc import Callable
from typing import Protocol

from guarded_rollout.notify.events import Event


class Publisher(Protocol):
    """Takes events. `notifier.Notifier` delivers them."""

    def publish(self, event: Event) -> None:
        """Store the event durably and return; it is sent in the background. Never raises."""
        ...


class NullPublisher:
    """Notifies nobody."""

    def publish(self, event: Event) -> None:
        pass


class DryRunPublisher:
    """Prints which notification would be sent."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def publish(self, event: Event) -> None:
        words = event.message or event.facts.get("reason") or event.facts.get("gate") or ""
        about = event.kind.replace("_", " ") + (f": {words}" if words else "")
        self._say(f"DRY-RUN: would notify {event.environment} ({event.level}): {about}")
