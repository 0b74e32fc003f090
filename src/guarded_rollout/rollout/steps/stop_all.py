"""Stop all that has the store open, before the store itself is exchanged."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import SLOTS, Slot
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work


class StopAll(RolloutStep):
    name: ClassVar[str] = "halt"

    def describe(self, work: Work) -> Iterator[str]:
        yield "stop both slots: the store is exchanged, and nobody may write to the old one"

    def do(self, work: Work) -> Evidence:
        return {"stopped": halt(work.site)}


def halt(site: Site) -> list[Slot]:
    """Stop what runs in the slots; what stands there stays there, to be started again."""
    standing = [slot for slot in SLOTS if site.slots.taken(slot)]
    for slot in standing:
        site.processes.stop(slot)
    site.stream.stop()
    return standing
