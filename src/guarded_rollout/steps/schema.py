"""Give the release that is returned to a schema it can work with."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.migrations import CONTRACT, Revision, read_plan
from guarded_rollout.steps.base import Evidence, ForwardStep, Work
from guarded_rollout.steps.migrate import expand, plan_for, run


class Schema(ForwardStep):
    name: ClassVar[str] = "schema"

    def describe(self, work: Work) -> Iterator[str]:
        for revision in contracted(work):
            yield f"take migration {revision.id} back: {work.release.id} needs what it took away"

    def do(self, work: Work) -> Evidence:
        taken_back = contracted(work)
        for revision in taken_back:
            assert work.stable is not None
            run(work.site, work.stable, revision, "schema_downgrade")
        applied = expand(work.site, work.release, plan_for(work.site, work.release))
        return {"taken_back": [revision.id for revision in taken_back], "applied": applied}


def contracted(work: Work) -> tuple[Revision, ...]:
    """What to take back, newest first: all above the release's revision, if anything there contracts.

    The release that brought a revision knows its way down.
    """
    if work.stable is None or work.stable.schema == work.release.schema or work.release.schema is None:
        return ()
    result = work.site.command(work.stable, "schema_plan", "--direction", "down", "--to", work.release.schema)
    above = read_plan(result.json()).revisions if result.ok else ()
    return above if any(revision.kind == CONTRACT for revision in above) else ()
