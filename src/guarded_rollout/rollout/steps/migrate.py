"""Bring the schema to what the candidate needs: expand revisions only, while two releases share the store."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.migrations import MigrationPlan, Revision, lint
from guarded_rollout.checks.schema import plan_for, revision_of
from guarded_rollout.errors import (
    MigrationFailedError,
    MigrationRefusedError,
    SchemaMissingError,
    SchemaNotBroughtError,
)
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work


class Migrate(RolloutStep):
    name: ClassVar[str] = "migrate"
    brings_schema: ClassVar[bool] = True

    def describe(self, work: Work) -> Iterator[str]:
        plan = plan_for(work.site, work.incoming)
        require_safe(plan)
        yield from describe_revisions(plan.expanding())
        if not plan.expanding():
            yield f"leave the schema at {plan.current}: nothing to migrate"

    def do(self, work: Work) -> Evidence:
        plan = plan_for(work.site, work.incoming)
        require_safe(plan)
        applied = expand(work.site, work.incoming, plan)
        after = plan_for(work.site, work.incoming) if applied else plan
        require_schema(work.incoming, after)
        return {"from": plan.current, "to": after.current, "applied": applied}


def require_safe(plan: MigrationPlan) -> None:
    """Raise `MigrationRefusedError` if an expand revision would break the release that runs."""
    if plan.current is not None and (problems := lint(plan.expanding())):
        raise MigrationRefusedError(problems="; ".join(problems))


def require_schema(release: Release, plan: MigrationPlan) -> None:
    """Raise `SchemaMissingError` unless the store has what this release can start with."""
    if left := plan.expanding():
        raise SchemaMissingError(release=release.id, needed=left[-1].id)
    known = {revision.id for revision in (*plan.applied, *plan.revisions)}
    if plan.head is not None and plan.head not in known:
        raise SchemaNotBroughtError(release=release.id, needed=plan.head)


def expand(site: Site, release: Release, plan: MigrationPlan) -> list[str]:
    """Run the expand revisions one by one; a failing one leaves the schema at the one before it."""
    applied: list[str] = []
    for revision in plan.expanding():
        upgrade(site, release, revision)
        applied.append(revision.id)
    return applied


def upgrade(site: Site, release: Release, revision: Revision) -> None:
    """Run one revision. Raises `MigrationFailedError` with the revision that the schema is left at."""
    _run(site, release, "schema_upgrade", revision, to=revision.id)


def take_back(site: Site, release: Release, revision: Revision, plan: MigrationPlan) -> None:
    """Take one revision back, the newest. Raises `MigrationFailedError`."""
    below = [applied.id for applied in plan.applied]
    index = below.index(revision.id)
    _run(site, release, "schema_downgrade", revision, to=below[index - 1] if index else "base")


def _run(site: Site, release: Release, command: str, revision: Revision, *, to: str) -> None:
    result = site.command(release, command, to)
    if not result.ok:
        at = revision_of(site, release)
        reason = result.reason()
        raise MigrationFailedError(revision=revision.id, name=command, reason=reason, current=at)


def describe_revisions(revisions: tuple[Revision, ...], direction: str = "up") -> Iterator[str]:
    """Each revision with the SQL it runs."""
    verb = "run" if direction == "up" else "take back"
    for revision in revisions:
        yield f"{verb} migration {revision.id} ({revision.kind}) {revision.summary}".rstrip()
        for statement in revision.sql:
            yield f"  {statement}"
