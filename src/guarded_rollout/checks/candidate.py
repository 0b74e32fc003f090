"""Rows of the pre-deployment checklist on the release that is to be deployed."""

from collections.abc import Iterator
from pathlib import Path

from guarded_rollout.checks import manifest
from guarded_rollout.checks.findings import Finding, failed, ok, warning
from guarded_rollout.checks.migrations import lint
from guarded_rollout.checks.reviews import judge
from guarded_rollout.checks.reviews import read as read_reviews
from guarded_rollout.checks.schema import plan_for
from guarded_rollout.checks.variables import variable_changes
from guarded_rollout.config.service import StoreKind
from guarded_rollout.host.git import revision
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.stores import PostgresqlStore, store_of
from guarded_rollout.journal.record import records
from guarded_rollout.journal.store import Journal

ABILITIES = {
    "schema_plan": "there is no migration plan, and nothing is migrated",
    "schema_downgrade": "no migration is taken back",
    "store_merge": "nothing is merged on a rollback to a backup: data comes back exact,"
    " without what was written since",
    "store_salvage": "nothing is read out of a damaged store",
    "store_forget": "`--data exact` brings back what was erased since the backup",
    "store_quarantine": "what a bad release wrote is not taken out of use",
}
"""What is not done without a command of the service."""


def about_release(release: Release, journal: Journal) -> Iterator[Finding]:
    """Say whether it was left as bad before, or is built from what is committed nowhere."""
    record = records(journal.deployments()).get(release.id)
    if record is not None and record.bad:
        yield warning(f"{release.id} was left as bad: {record.why}", "See `rollout releases`.")
    elif release.dirty:
        yield warning(f"{release.id} is built from uncommitted changes", "Commit them.")
    else:
        yield ok(release.id)


def data(site: Site, release: Release) -> Iterator[Finding]:
    """Say who copies the data, and whether it could be brought back."""
    store = store_of(site)
    if store is None:
        yield ok("the service keeps none: nothing is backed up, and a rollback brings none back")
    elif not store.can_copy(release):
        advice = "Write service.commands.store_snapshot in rollout.toml."
        yield warning("nothing copies it: no backup can be taken", advice)
    elif isinstance(store, PostgresqlStore):
        if store.database.may_create():
            yield ok(f"the database {store.database.name} is dumped and restored by pg_dump and pg_restore")
        else:
            advice = "Let an administrator run ALTER ROLE … CREATEDB, to bring data back by --data exact."
            yield warning(
                f"its user may not make the database that {store.database.name} is restored in", advice
            )
    else:
        by = "SQLite" if store.kind is StoreKind.SQLITE else "the service's own commands"
        yield ok(f"{store.file.path if store.file else 'it'} is copied and checked by {by}")


def left_out(site: Site, release: Release) -> Iterator[Finding]:
    """List what cannot be done because rollout.toml has no command for it."""
    store = store_of(site)
    missing = {
        name: loss
        for name, loss in ABILITIES.items()
        if not site.has(release, name) and (store is not None or not name.startswith("store_"))
    }
    for name, loss in missing.items():
        yield ok(f"{name}: {loss}")
    if not missing:
        yield ok("none")


def variables(site: Site, release: Release) -> Iterator[Finding]:
    """List what would change in the service's environment variables."""
    for change in variable_changes(site, release) or ["as those of what serves"]:
        yield ok(change)


def migrations(site: Site, release: Release, allow_unknown: bool) -> Iterator[Finding]:
    plan = plan_for(site, release)
    problems = [] if plan.current is None else lint(plan.expanding(), allow_unknown=allow_unknown)
    if problems:
        yield failed("; ".join(problems), "Split it into expand and contract.")
    elif plan.revisions:
        yield ok("to run: " + ", ".join(f"{r.id} ({r.kind})" for r in plan.revisions))
    else:
        yield ok("nothing to migrate")


def artifacts(site: Site, folder: Path, release: Release | None) -> Iterator[Finding]:
    """Require what `rollout premerge` left: whole, passed, and about the commit that is deployed."""
    if not (folder / manifest.FILE).exists():
        yield warning(f"there are none in {folder.name}/", "`rollout premerge` makes them.")
        return
    found = manifest.read(folder)
    commit = _commit(site, release)
    bad = [check.name for check in found.checks if not check.passed]
    if bad or not found.passed:
        yield failed(f"failed: {', '.join(bad) or 'nothing was run'}", "See its report.md.")
    elif found.commit != commit:
        made, here = found.commit[:12] or "no commit", commit[:12] or "no commit"
        about = f"they are about {made}, and {here} is to be deployed"
        yield failed(about, "Run `rollout premerge` on this commit.")
    elif found.dirty:
        advice = "Commit, and run `rollout premerge` again."
        yield warning("they were made with uncommitted changes", advice)
    else:
        yield ok(f"{len(found.checks)} checks passed at {found.commit[:12]}")


def reviews(site: Site, path: Path, release: Release | None) -> Iterator[Finding]:
    """Require enough approvals of what is deployed, one of them by ops."""
    reviews, asked_for = read_reviews(path)
    commit = _commit(site, release)
    approval = judge(reviews, asked_for or commit)
    problems = approval.problems(site.environment.approvals, site.environment.ops)
    if asked_for and commit and asked_for != commit:
        problems.append(f"they are about {asked_for[:12]}, and {commit[:12]} is to be deployed")
    if problems:
        yield failed("; ".join(problems), "Ask for the reviews that are missing.")
    else:
        yield ok(f"approved by {', '.join(approval.approved)}")


def _commit(site: Site, release: Release | None) -> str:
    """The commit that is to be deployed: the release's own, else the one that is checked out."""
    if release is not None and release.commit:
        return release.commit
    commit, _ = revision(site.environment.service.source)
    return commit
