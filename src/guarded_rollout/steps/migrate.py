"""Bring the schema to what the candidate needs: expand revisions only, while two releases share the store."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.migrations import Plan, Revision, lint, read_plan
from guarded_rollout.errors import MigrationFailedError, MigrationRefusedError, SchemaMissingError
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.steps.base import Evidence, Work


class Migrate:
    name: ClassVar[str] = "migrate"

    def describe(self, work: Work) -> Iterator[str]:
        plan = plan_for(work.site, work.release)
        require_safe(plan)
        yield from describe_revisions(plan.expanding())
        if not plan.expanding():
            yield f"leave the schema at {plan.current}: nothing to migrate"

    def do(self, work: Work) -> Evidence:
        plan = plan_for(work.site, work.release)
        require_safe(plan)
        applied = expand(work.site, work.release, plan)
        after = plan_for(work.site, work.release)
        require_schema(work.release, after)
        return {"from": plan.current, "to": after.current, "applied": applied}

    def undo(self, work: Work) -> None:
        """Nothing to take back: what only expands suits the old release too, and may hold facts by now."""


def plan_for(site: Site, release: Release, *arguments: str) -> Plan:
    """What this release would do to the store as it is."""
    return read_plan(site.require(release, "schema_plan", *arguments).json())


def revision_of(site: Site, release: Release) -> str | None:
    """Where the store's schema stands; None if there is no store."""
    revision = site.require(release, "schema_current").json().get("revision")
    return None if revision is None else str(revision)


def require_safe(plan: Plan) -> None:
    """Raise `MigrationRefusedError` if an expand revision would break the release that runs."""
    if not plan.creates and (problems := lint(plan.expanding())):
        raise MigrationRefusedError(problems="; ".join(problems))


def require_schema(release: Release, plan: Plan) -> None:
    """Raise `SchemaMissingError` unless the store has what this release can start with."""
    left = plan.expanding()
    if left or (release.schema is not None and plan.current is None):
        raise SchemaMissingError(release=release.id, needed=left[-1].id if left else release.schema)


def expand(site: Site, release: Release, plan: Plan) -> list[str]:
    """Run the expand revisions one by one; a failing one leaves the schema at the one before it."""
    applied: list[str] = []
    for revision in plan.expanding():
        run(site, release, revision, "schema_upgrade")
        applied.append(revision.id)
    return applied


def run(site: Site, release: Release, revision: Revision, command: str) -> None:
    """Run one revision. Raises `MigrationFailedError` with the revision that the schema is left at."""
    result = site.command(release, command, "--to", revision.id)
    if not result.ok:
        at = read_plan(site.command(release, "schema_plan").json()).current
        raise MigrationFailedError(revision=revision.id, reason=result.reason(), current=at)


def describe_revisions(revisions: tuple[Revision, ...]) -> Iterator[str]:
    """Each revision with the SQL it runs."""
    for revision in revisions:
        yield f"run migration {revision.id} ({revision.kind}) {revision.summary}".rstrip()
        for statement in revision.sql:
            yield f"  {statement}"
