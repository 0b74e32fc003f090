"""The step between shifting and finishing: a window is open, and whoever watches closes it."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.rollout.steps.base import Evidence, Work
from guarded_rollout.rollout.window import WATCH, window, window_seconds


class Watch:
    name: ClassVar[str] = WATCH

    def describe(self, work: Work) -> Iterator[str]:
        if work.outgoing is not None:
            minutes = window_seconds(work.site.environment) / 60
            yield f"watch {work.incoming.id} for {minutes:g} minutes, with {work.outgoing.id} kept warm"

    def do(self, work: Work) -> Evidence:
        """The engine opens the window and whoever watches closes it; what is left to do is to say so."""
        found = window(work.journal.rollout(work.rollout))
        return {"promoted": bool(found and found.promoted)}

    def undo(self, work: Work) -> None:
        """The share goes back with the step that moved it."""
