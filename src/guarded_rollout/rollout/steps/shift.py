"""Give the candidate its share of the traffic, step by step, asking the guard while each share is held."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.config.environments import TrafficStep
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work

ASK_SECONDS = 1.0


class Shift(RolloutStep):
    name: ClassVar[str] = "shift"

    def describe(self, work: Work) -> Iterator[str]:
        for step in work.traffic if work.outgoing else ():
            hold = f", hold it for {step.hold_seconds:g} s" if step.hold_seconds else ""
            yield f"give {work.incoming.id} {_percent(work, step)} % of the traffic{hold}"
        if work.outgoing is not None and (left := _control(work)):
            yield f"leave {work.outgoing.id} {left} % until the window closes, to compare with"
        if work.outgoing is None:
            yield f"give {work.incoming.id} all of the traffic: nothing serves yet"

    def do(self, work: Work) -> Evidence:
        traffic, clock = work.site.traffic, work.site.clock
        if work.outgoing is None:
            traffic.give(work.slot, 100)
            return {"shares": [100]}
        reached = traffic.share()[work.slot]
        taken = []
        for step in work.traffic:
            percent = _percent(work, step)
            if percent < reached:
                continue  # taken before a crash
            traffic.give(work.slot, percent, spare=not work.is_rollback)  # what is left for bad is no spare
            if work.is_rollback:
                work.site.traffic.ensure()  # only now: starting what does not run takes time
            work.note("share", release=work.incoming.id, percent=percent)
            work.say(f"{work.incoming.id} has {percent} % of the traffic")
            taken.append(percent)
            until = clock.monotonic() + step.hold_seconds
            while (left := until - clock.monotonic()) > 0:
                clock.sleep(min(left, ASK_SECONDS))
                work.guard(work)
        return {"shares": taken}

    def undo(self, work: Work) -> None:
        if work.outgoing is not None:
            work.site.traffic.give(work.outgoing_slot, 100)


def _control(work: Work) -> int:
    """The percent that stable keeps while the candidate is watched."""
    return 0 if work.is_rollback else work.site.environment.control_percent


def _percent(work: Work, step: TrafficStep) -> int:
    return min(step.percent, 100 - _control(work))


def candidate_is_alive(work: Work) -> None:
    """The least a guard asks: the candidate runs and says that it is well."""
    work.site.processes.require_running(work.slot)
