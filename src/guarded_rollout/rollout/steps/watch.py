"""The step between shifting and finishing: the monitoring window, which whoever watches closes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from guarded_rollout.journal.model import StepOutcome
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work
from guarded_rollout.rollout.window import WATCH, Window, mark, window, window_seconds


class Watch(RolloutStep):
    name: ClassVar[str] = WATCH

    def describe(self, work: Work) -> Iterator[str]:
        if work.outgoing is not None:
            minutes = window_seconds(work.site.environment) / 60
            yield f"watch {work.incoming.id} for {minutes:g} minutes, with {work.outgoing.id} kept warm"

    def open_window(self, work: Work) -> Window | None:
        """Open the window unless it is open; None when it is over."""
        found = window(work.journal.rollout(work.rollout))
        if found is None:
            seconds = window_seconds(work.site.environment)
            work.journal.intend(work.rollout, WATCH, seconds=seconds, **mark(work.site.clock))
            found = window(work.journal.rollout(work.rollout))
            assert found is not None
        return found if found.left(work.site.clock.instant()) > 0 else None

    def do(self, work: Work) -> Evidence:
        found = window(work.journal.rollout(work.rollout))
        return {"promoted": bool(found and found.promoted)}

    @contextmanager
    def recorded(self, work: Work) -> Iterator[Evidence]:
        """Journal the outcome alone: the intent was the opening of the window."""
        evidence: Evidence = {}
        yield evidence
        work.journal.settle(work.rollout, self.name, StepOutcome.DONE, **evidence)
