"""Stop whatever has the store open, before the store itself is exchanged."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.host.slots import SLOTS
from guarded_rollout.steps.base import Evidence, ForwardStep, Work


class Halt(ForwardStep):
    name: ClassVar[str] = "halt"

    def describe(self, work: Work) -> Iterator[str]:
        yield "stop both slots: the store is exchanged, and nobody may write to the old one"

    def do(self, work: Work) -> Evidence:
        stopped = [slot for slot in SLOTS if work.site.slots.release(slot)]
        for slot in stopped:
            work.site.stop(slot)
        return {"stopped": stopped}
