"""Accept the candidate: drain and stop the old release, contract the schema, remove what nobody needs."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from guarded_rollout.backup import retention
from guarded_rollout.backup.retention import RetentionPlan
from guarded_rollout.checks.schema import plan_for
from guarded_rollout.host.release import Release, remove
from guarded_rollout.rollout.releases import surplus
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work
from guarded_rollout.rollout.steps.migrate import describe_revisions, upgrade


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
        if work.outgoing is not None:
            site.stop(work.outgoing_slot)
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
            "contracted": contracted,
            "removed": [release.id for release in removed],
            "backups_removed": pruned,
        }


def _backups(work: Work) -> list[tuple[Path, RetentionPlan]]:
    """Each folder of backups, and what is too old or too many in it."""
    rollout = work.journal.open_rollout(work.site.environment.name)
    return list(retention.surplus(work.site.environment, rollout, work.site.clock.now()))


def _surplus(work: Work) -> list[Release]:
    """The releases that nobody needs; the one that is replaced stays, in a rehearsal too."""
    kept = {work.incoming.id, work.outgoing.id if work.outgoing else None}
    return [one for one in surplus(work.site.environment, work.journal) if one.id not in kept]
