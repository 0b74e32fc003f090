"""`rollout migrate`: bring the schema up for a release, or down again."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Annotated

import typer

from guarded_rollout.checks.migrations import CONTRACT, MigrationPlan
from guarded_rollout.checks.schema import plan_for
from guarded_rollout.cli.app import AllowUnknown, Force, From, app
from guarded_rollout.cli.session import Session, built_aside, with_session
from guarded_rollout.errors import NoSuchCommandError, RolloutOpenError, UsageError
from guarded_rollout.host.release import Release
from guarded_rollout.rollout.steps.migrate import (
    describe_revisions,
    expand_beside,
    require_safe,
    take_back,
    upgrade,
)


@app.command(epilog="Example: rollout migrate --env production --dry-run --verbose")
@with_session(log="deploy")
def migrate(
    work: Session,
    direction: Annotated[str, typer.Option(help="up, down, or contract.")] = "up",
    source: From = None,
    force: Force = False,
    allow_unknown: AllowUnknown = False,
) -> None:
    """Run a release's expand migrations, which suit the release that serves now as well.

    Down takes back the newest revision. Contract runs what the serving release still has pending, for when no
    machine runs an older one any more. Production asks first, unless --force is given.
    """
    if direction not in ("up", "down", CONTRACT):
        raise UsageError(detail=f"--direction is up, down or contract, not {direction!r}.")
    if direction == CONTRACT:
        _require_accepted(work)
    if work.dry_run:
        with _meant(work, source, direction) as release:
            _rehearse(work, _plan(work, release, direction, allow_unknown), direction)
        return
    release = work.site.require_serving() if direction == CONTRACT else work.site.build(source)
    plan = _plan(work, release, direction, allow_unknown)
    if not plan.revisions:
        work.out.say(f"The schema is at {plan.current}; nothing to migrate.")
        work.out.result(environment=work.env, revision=plan.current, applied=[])
        return
    names = ", ".join(revision.id for revision in plan.revisions)
    work.confirm(f"Migrate {work.env} {direction}: {names}?", "yes", force=force)
    with work.recorded(f"migrate {direction}", "migrate", source=release.id, revisions=names) as evidence:
        evidence["applied"] = applied = _run(work, release, plan, direction)
    after = plan_for(work.site, release)
    work.out.say(f"Migrated {work.env} from {plan.current} to {after.current}: {', '.join(applied)}.")
    work.out.result(environment=work.env, revision=after.current, applied=applied)


def _require_accepted(work: Session) -> None:
    """Raise `RolloutOpenError` while a release may still be taken back: the one before needs the schema."""
    if (rollout := work.journal.open_rollout(work.env)) is not None:
        raise RolloutOpenError(environment=work.env, command=rollout.command, target=rollout.target)


def _meant(work: Session, source: str | None, direction: str) -> AbstractContextManager[Release]:
    """The release whose migrations a dry run shows."""
    return nullcontext(work.site.require_serving()) if direction == CONTRACT else built_aside(work, source)


def _plan(work: Session, release: Release, direction: str, allow_unknown: bool) -> MigrationPlan:
    if not work.site.has(release, "schema_plan"):
        raise NoSuchCommandError(name="schema_plan", release=release.id)
    plan = plan_for(work.site, release)
    if direction == "down":
        return replace(plan, revisions=plan.applied[-1:])
    if direction == CONTRACT:
        return plan
    require_safe(plan, allow_unknown)
    return replace(plan, revisions=plan.expanding())


def _run(work: Session, release: Release, plan: MigrationPlan, direction: str) -> list[str]:
    if direction == "up":
        return expand_beside(work.site, release, plan, work.site.serving(), work.out.say)
    for revision in plan.revisions:
        if direction == CONTRACT:
            upgrade(work.site, release, revision)
        else:
            take_back(work.site, release, revision, plan)
    return [revision.id for revision in plan.revisions]


def _rehearse(work: Session, plan: MigrationPlan, direction: str) -> None:
    work.out.rehearse(*describe_revisions(plan.revisions, direction))
    if not plan.revisions:
        work.out.rehearse(f"nothing to migrate: the schema is at {plan.current}")
    work.out.result(dry_run=True, direction=direction, revisions=[revision.id for revision in plan.revisions])
