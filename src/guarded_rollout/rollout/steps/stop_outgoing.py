"""Drain and stop the release that a rollback has taken the traffic from."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.rollout.steps.base import Evidence, ForwardStep, Work


class Retire(ForwardStep):
    name: ClassVar[str] = "retire"

    def describe(self, work: Work) -> Iterator[str]:
        if work.stable is not None:
            yield f"drain and stop {work.stable.id} in the {work.stable_slot} slot"

    def do(self, work: Work) -> Evidence:
        work.site.stop(work.stable_slot)
        return {"slot": work.stable_slot}
