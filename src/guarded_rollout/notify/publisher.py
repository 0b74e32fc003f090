"""Whom to tell: the interface that everything which has something to tell takes as a parameter."""

from collections.abc import Callable
from typing import Protocol

from guarded_rollout.notify.events import Event


class Publisher(Protocol):
    """Takes events. `notifier.Notifier` is the real one."""

    def publish(self, event: Event) -> None:
        """Store the event durably, then return; sending happens aside. Never raises."""
        ...


class Silent:
    """Tells nobody."""

    def publish(self, event: Event) -> None:
        pass


class DryRun:
    """Says what would have been told."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def publish(self, event: Event) -> None:
        words = event.message or event.facts.get("reason") or event.facts.get("gate") or ""
        about = event.kind.replace("_", " ") + (f": {words}" if words else "")
        self._say(f"DRY-RUN: would notify {event.environment} ({event.level}): {about}")
