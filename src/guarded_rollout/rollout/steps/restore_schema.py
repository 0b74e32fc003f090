"""Give the release that is returned to a schema it can work with."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.migrations import CONTRACT, Plan, Revision
from guarded_rollout.checks.schema import plan_for
from guarded_rollout.rollout.steps.base import Evidence, ForwardStep, Work
from guarded_rollout.rollout.steps.migrate import expand, take_back


class Schema(ForwardStep):
    name: ClassVar[str] = "schema"

    def describe(self, work: Work) -> Iterator[str]:
        for revision in contracted(plan_for(work.site, work.stable or work.release), work.release.schema):
            yield f"take migration {revision.id} back: {work.release.id} needs what it took away"

    def do(self, work: Work) -> Evidence:
        """The release that brought a revision knows its way down."""
        newest = work.stable or work.release
        plan = plan_for(work.site, newest)
        taken_back = contracted(plan, work.release.schema)
        for revision in taken_back:
            take_back(work.site, newest, revision, plan)
        applied = expand(work.site, work.release, plan_for(work.site, work.release))
        return {"taken_back": [revision.id for revision in taken_back], "applied": applied}


def contracted(plan: Plan, needed: str | None) -> tuple[Revision, ...]:
    """What to take back, newest first: all above the needed revision, if anything there contracts."""
    above = plan.above(needed) if needed is not None else ()
    return above if any(revision.kind == CONTRACT for revision in above) else ()
