"""Accept the candidate: drain and stop the old release, contract the schema, remove what nobody needs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import ClassVar

from guarded_rollout.backup import retention
from guarded_rollout.backup.retention import RetentionPlan
from guarded_rollout.checks.migrations import Revision
from guarded_rollout.checks.schema import plan_for
from guarded_rollout.host.release import Release, remove
from guarded_rollout.rollout.draining import DRAINING, POLL_SECONDS, Drain, Draining, evidence_of
from guarded_rollout.rollout.releases import surplus
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work
from guarded_rollout.rollout.steps.migrate import describe_revisions, upgrade


class Finish(RolloutStep):
    name: ClassVar[str] = "finish"
    undoes_on_failure: ClassVar[bool] = False  # it is accepted; what is left is cleared away by `resume`

    def describe(self, work: Work) -> Iterator[str]:
        if work.outgoing is not None:
            yield f"drain and stop {work.outgoing.id} in the {work.outgoing_slot} slot"
        yield from describe_revisions(_contracting(work))
        for release in _surplus(work):
            yield f"remove the old release {release.id}"
        for _, plan in _backups(work):
            yield from (f"remove the old backup {entry.name}" for entry in plan.remove)

    def drain(self, work: Work) -> Draining | None:
        """Let the old release end what it is answering: requests first, then what ends only when asked."""
        site, drain = work.site, Drain(work.site, work.journal)
        if work.outgoing is None or work.hurry:
            return None
        site.traffic.give(work.slot, 100)  # nothing more may come
        until = site.clock.monotonic() + work.patience
        rollout = work.journal.rollout(work.rollout)
        if rollout.note(DRAINING) is None and not drain.begin(rollout):
            return None
        while (found := drain.look(work.journal.rollout(work.rollout))) is not None:
            if not found.waits:
                if found.asked or not found.in_flight.total:
                    return None
                drain.ask(rollout, found)
            elif site.clock.monotonic() >= until:
                return found
            else:
                site.clock.sleep(POLL_SECONDS)
        return None

    def do(self, work: Work) -> Evidence:
        site = work.site
        site.traffic.give(work.slot, 100)
        retired = _stop(work) if work.outgoing is not None else {}
        contracted = []
        for revision in _contracting(work):
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


def _contracting(work: Work) -> tuple[Revision, ...]:
    """The revisions that only the accepted release lives with; none while other machines run the old one."""
    return () if work.options.no_contract else plan_for(work.site, work.incoming).revisions


def _stop(work: Work) -> Evidence:
    """Stop the old release if it runs still, and report what had to be cut.

    A service that ends by itself has answered, or properly closed, what was in flight.
    """
    site, slot = work.site, work.outgoing_slot
    drain, began, left = Drain(site, work.journal), site.clock.monotonic(), 0
    with ThreadPoolExecutor(1) as aside:
        stopping = aside.submit(site.stop, slot)
        while not stopping.done():
            left = site.traffic.in_flight(slot).total or left
            wait([stopping], timeout=POLL_SECONDS)
        stopping.result()
    rollout = work.journal.rollout(work.rollout)
    if left and site.clock.monotonic() - began >= site.environment.checks.drain_seconds:
        drain.note_cut(rollout, left)
    found = evidence_of(work.journal.rollout(work.rollout), site.clock.instant())
    if cut := found["cut_requests"]:
        work.say(f"{cut} of its requests had not ended in time, and were cut")
    return found


def _backups(work: Work) -> list[tuple[Path, RetentionPlan]]:
    """Each folder of backups, and what is too old or too many in it."""
    rollout = work.journal.open_rollout(work.site.environment.name)
    return list(retention.surplus(work.site.environment, rollout, work.site.clock.now()))


def _surplus(work: Work) -> list[Release]:
    """The releases that nobody needs; the one that is replaced stays, in a rehearsal too."""
    kept = {work.incoming.id, work.outgoing.id if work.outgoing else None}
    return [one for one in surplus(work.site.environment, work.journal) if one.id not in kept]
