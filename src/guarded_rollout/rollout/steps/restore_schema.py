"""Give the release that is returned to a schema it can work with."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from guarded_rollout.checks.migrations import CONTRACT, MigrationPlan, Revision
from guarded_rollout.checks.schema import plan_for
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work
from guarded_rollout.rollout.steps.migrate import expand, take_back
from guarded_rollout.rollout.steps.safety_backup import SafetyBackup, keep_copy


class RestoreSchema(RolloutStep):
    name: ClassVar[str] = "schema"
    brings_schema: ClassVar[bool] = True

    def describe(self, work: Work) -> Iterator[str]:
        for revision in contracted(plan_for(work.site, work.outgoing or work.incoming), work.incoming.schema):
            yield f"take migration {revision.id} back: {work.incoming.id} needs what it took away"

    def do(self, work: Work) -> Evidence:
        """The release that brought a revision knows its way down."""
        newest = work.outgoing or work.incoming
        with ThreadPoolExecutor(2) as both:
            planned = both.submit(plan_for, work.site, work.incoming)
            plan = plan_for(work.site, newest)
        taken_back = contracted(plan, work.incoming.schema)
        if taken_back and not work.journal.rollout(work.rollout).done(SafetyBackup.name):
            keep_copy(work)  # the way down may take rows along
        for revision in taken_back:
            take_back(work.site, newest, revision, plan)
        needed = plan_for(work.site, work.incoming) if taken_back else planned.result()
        applied = expand(work.site, work.incoming, needed)
        return {"taken_back": [revision.id for revision in taken_back], "applied": applied}


def contracted(plan: MigrationPlan, needed: str | None) -> tuple[Revision, ...]:
    """Return the revisions to take back, newest first: all above the needed one, if any contracts."""
    above = plan.above(needed) if needed is not None else ()
    return above if any(revision.kind == CONTRACT for revision in above) else ()
