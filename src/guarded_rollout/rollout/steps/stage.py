"""Start the candidate in the idle slot, where it gets no traffic."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.schema import plan_for
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work
from guarded_rollout.rollout.steps.migrate import require_schema


class StageRelease(RolloutStep):
    name: ClassVar[str] = "stage"

    def describe(self, work: Work) -> Iterator[str]:
        yield f"start release {work.incoming.id} in the {work.slot} slot, without traffic"

    def do(self, work: Work) -> Evidence:
        if not any(step.brings_schema for step in work.steps):
            require_schema(work.incoming, plan_for(work.site, work.incoming, known=True))
        if work.outgoing is None:
            work.site.traffic.give(work.slot, 100)  # nothing answers yet: no traffic to protect
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
