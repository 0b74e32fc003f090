"""Drain and stop the release that a rollback has taken the traffic from."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work


class StopOutgoing(RolloutStep):
    name: ClassVar[str] = "retire"

    def describe(self, work: Work) -> Iterator[str]:
        if work.outgoing is not None:
            yield f"drain and stop {work.outgoing.id} in the {work.outgoing_slot} slot"

    def do(self, work: Work) -> Evidence:
        work.site.stop(work.outgoing_slot)
        return {"slot": work.outgoing_slot}
