"""Bring the schema to what the candidate needs: expand revisions only, while two releases share the store."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import ClassVar

from guarded_rollout.checks.migrations import MigrationPlan, Revision, lint
from guarded_rollout.checks.schema import plan_for, revision_of
from guarded_rollout.checks.verify import require_checks, require_healthy
from guarded_rollout.config.service_checks import When
from guarded_rollout.errors import (
    ChecksFailedError,
    MigrationBrokeStableError,
    MigrationFailedError,
    MigrationRefusedError,
    NotHealthyError,
    SchemaMissingError,
    SchemaNotBroughtError,
)
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work

BACK_SECONDS = 10.0  # within which the supervisor has started again what died


class Migrate(RolloutStep):
    name: ClassVar[str] = "migrate"
    brings_schema: ClassVar[bool] = True

    def describe(self, work: Work) -> Iterator[str]:
        plan = plan_for(work.site, work.incoming)
        require_safe(plan, work.options.allow_unknown)
        yield from describe_revisions(plan.expanding())
        if not plan.expanding():
            yield f"leave the schema at {plan.current}: nothing to migrate"

    def do(self, work: Work) -> Evidence:
        plan = plan_for(work.site, work.incoming, known=True)
        require_safe(plan, work.options.allow_unknown)
        applied = expand_beside(work.site, work.incoming, plan, work.outgoing, work.say)
        after = plan_for(work.site, work.incoming) if applied else plan
        require_schema(work.incoming, after)
        return {"from": plan.current, "to": after.current, "applied": applied}


def require_safe(plan: MigrationPlan, allow_unknown: bool = False) -> None:
    """Raise `MigrationRefusedError` if an expand revision would, or may, break the release that runs."""
    problems = lint(plan.expanding(), allow_unknown=allow_unknown) if plan.current is not None else []
    if problems:
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


def expand_beside(
    site: Site, release: Release, plan: MigrationPlan, stable: Release | None, say: Callable[[str], None]
) -> list[str]:
    """Expand, and ask what serves for what it declares to be checked then; it has to work as before.

    Raises `MigrationBrokeStableError` after the migrations were taken back, as far as they can be.
    """
    applied = expand(site, release, plan)
    if not applied or stable is None:
        return applied
    try:
        require_checks(site, stable, When.MIGRATE)
    except ChecksFailedError as error:
        say(f"{error.sentence} Taking {', '.join(applied)} back")
        raise MigrationBrokeStableError(
            revisions=", ".join(applied),
            stable=stable.id,
            cause=error.data["reason"],
            state=_without(site, release, plan, stable),
        ) from error
    return applied


def _without(site: Site, release: Release, plan: MigrationPlan, stable: Release) -> str:
    """Take revisions back that stable does not work with, and say what became of it."""
    try:
        take_back_above(site, release, plan.current)
    except MigrationFailedError as error:
        return f"It could not be taken back: {error.sentence}"
    try:
        require_checks(site, stable, When.MIGRATE)
    except ChecksFailedError as error:
        return f"It was taken back, and {stable.id} fails all the same: {error.data['reason']}."
    return f"It was taken back; {stable.id} works as before."


def take_back_above(site: Site, release: Release, revision: str | None) -> list[str]:
    """Take back all that came after a revision, by a release that knows the way; return their ids.

    Raises `MigrationFailedError`.
    """
    plan = plan_for(site, release)
    above = plan.above(revision)
    for newer in above:
        take_back(site, release, newer, plan)
    return [newer.id for newer in above]


def require_works(work: Work, stable: Release, newer: Release) -> None:
    """Ask the release that was returned to, on the public port, for what it declares to be checked then.

    It, or the proxy, may die once in the middle. If it fails when it is back, and there are migrations of the
    newer one, these are taken back: they may be why. Raises `ChecksFailedError`, `MigrationFailedError`.
    """
    try:
        require_checks(work.site, stable, When.ROLLBACK)
        return
    except ChecksFailedError:
        _wait_for_what_died(work.site)
    try:
        require_checks(work.site, stable, When.ROLLBACK)
    except ChecksFailedError as error:
        if work.options.no_contract or stable.schema is None:  # other machines may need what was migrated
            raise
        back = take_back_above(work.site, newer, stable.schema)
        if not back:
            raise
        names = ", ".join(back)
        work.say(f"{error.sentence} Migration {names} came with {newer.id} and was taken back")
        work.note("migration_taken_back", revisions=back, reason=error.sentence)
        require_checks(work.site, stable, When.ROLLBACK)


def _wait_for_what_died(site: Site) -> None:
    with suppress(NotHealthyError):  # then the checks say what is wrong
        require_healthy(
            site,
            site.public(),
            interval_seconds=0.1,
            consecutive=1,
            seconds=BACK_SECONDS,
            require_running=site.processes.ensure,
        )


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
