"""Accept the candidate: drain and stop the old release, contract the schema, remove what nobody needs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import ClassVar

from guarded_rollout.backup import retention
from guarded_rollout.backup.retention import RetentionPlan
from guarded_rollout.checks.schema import plan_for
from guarded_rollout.clock import duration
from guarded_rollout.config.environments import Environment
from guarded_rollout.host.release import Release, remove
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import Slot
from guarded_rollout.rollout.releases import surplus
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work
from guarded_rollout.rollout.steps.migrate import describe_revisions, upgrade
from guarded_rollout.rollout.window import window_seconds

POLL_SECONDS = 0.2
MOST_SECONDS = 600.0


class Finish(RolloutStep):
    name: ClassVar[str] = "finish"
    undoes_on_failure: ClassVar[bool] = False  # it is accepted; what is left is cleared away by `resume`

    def describe(self, work: Work) -> Iterator[str]:
        if work.outgoing is not None:
            yield f"drain and stop {work.outgoing.id} in the {work.outgoing_slot} slot"
        yield from describe_revisions(plan_for(work.site, work.incoming).revisions)
        for release in _surplus(work):
            yield f"remove the old release {release.id}"
        for _, plan in _backups(work):
            yield from (f"remove the old backup {entry.name}" for entry in plan.remove)

    def do(self, work: Work) -> Evidence:
        site = work.site
        site.traffic.give(work.slot, 100)
        retired = _retire(work) if work.outgoing is not None else {}
        contracted = []
        for revision in plan_for(site, work.incoming).revisions:
            upgrade(site, work.incoming, revision)
            contracted.append(revision.id)
        removed = _surplus(work)
        for release in removed:
            remove(release)
        pruned = [
            entry.name
            for folder, plan in _backups(work)
            for entry in retention.remove(plan, folder, site.environment.name, site.clock.now())
        ]
        return {
            **retired,
            "contracted": contracted,
            "removed": [release.id for release in removed],
            "backups_removed": pruned,
        }


def _retire(work: Work) -> Evidence:
    """Let the old release end what it is answering, then stop it; report what had to be cut."""
    site, slot = work.site, work.outgoing_slot
    allowed, began = finish_seconds(work.site.environment), site.clock.monotonic()
    said = False
    while (left := site.traffic.in_flight(slot)) and site.clock.monotonic() - began < allowed:
        if not said:
            said = True
            work.say(f"waiting up to {duration(allowed)} for {_requests(left)} to {slot}")
        site.clock.sleep(POLL_SECONDS)
    waited = site.clock.monotonic() - began
    cut = _stop(site, slot)
    if cut:
        work.say(f"{_requests(cut)} had not ended after {duration(waited)} and the drain: cut")
    return {"waited_seconds": round(waited, 1), "cut_requests": cut}


def _stop(site: Site, slot: Slot) -> int:
    """Stop a slot, and return how many requests were in flight when its drain time was over.

    A service that ends by itself has answered, or properly closed, what was in flight.
    """
    began, left = site.clock.monotonic(), 0
    with ThreadPoolExecutor(1) as aside:
        stopping = aside.submit(site.stop, slot)
        while not stopping.done():
            left = site.traffic.in_flight(slot) or left
            wait([stopping], timeout=POLL_SECONDS)
        stopping.result()
    return left if site.clock.monotonic() - began >= site.environment.checks.drain_seconds else 0


def finish_seconds(environment: Environment) -> float:
    """Return how long requests in flight may take before the old release is asked to stop."""
    given = environment.checks.finish_seconds
    return given if given >= 0 else min(window_seconds(environment), MOST_SECONDS)


def _requests(count: int) -> str:
    return f"{count} request{'s' * (count != 1)}"


def _backups(work: Work) -> list[tuple[Path, RetentionPlan]]:
    """Each folder of backups, and what is too old or too many in it."""
    rollout = work.journal.open_rollout(work.site.environment.name)
    return list(retention.surplus(work.site.environment, rollout, work.site.clock.now()))


def _surplus(work: Work) -> list[Release]:
    """The releases that nobody needs; the one that is replaced stays, in a rehearsal too."""
    kept = {work.incoming.id, work.outgoing.id if work.outgoing else None}
    return [one for one in surplus(work.site.environment, work.journal) if one.id not in kept]
