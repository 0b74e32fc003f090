"""Start the candidate in the idle slot, where it gets no traffic."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.schema import plan_for
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work
from guarded_rollout.rollout.steps.migrate import require_schema


def clear_slot(work: Work) -> None:
    """Keep clients away from a release that is about to start and that nobody has verified.

    What a rollback finds in the slot may be the control or the spare of a rollout that is still open.
    """
    traffic, there = work.site.traffic, work.site.slots.release(work.slot)
    if work.outgoing is None:
        traffic.give(work.slot, 100)  # nothing answers yet: no traffic to protect
    elif there is not None and there != work.incoming:
        traffic.give(work.outgoing_slot, 100)


class StageRelease(RolloutStep):
    name: ClassVar[str] = "stage"

    def describe(self, work: Work) -> Iterator[str]:
        yield f"start release {work.incoming.id} in the {work.slot} slot, without traffic"

    def do(self, work: Work) -> Evidence:
        if not any(step.brings_schema for step in work.steps):
            require_schema(work.incoming, plan_for(work.site, work.incoming, known=True))
        clear_slot(work)
        work.site.traffic.ensure()
        work.site.start(work.slot, work.incoming)
        processes = work.site.processes
        state = processes.state(work.slot) if work.is_rollback else processes.require_running(work.slot)
        return {"slot": work.slot, "release": work.incoming.id, "pid": state.pid}

    def undo(self, work: Work) -> None:
        work.site.stop(work.slot)

    def abandon(self, work: Work) -> None:
        """Stop what never got traffic: it would look verified to the next rollback."""
        if work.site.traffic.serving() != work.slot:
            self.undo(work)
