"""Asks the service's own commands for the state of the store's schema."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from guarded_rollout.checks.migrations import MigrationPlan, read_plan
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site


def plan_for(site: Site, release: Release, *, known: bool = False) -> MigrationPlan:
    """Plan this release's migrations from the store's present revision; of one that cannot tell, nothing.

    `known` takes what it told this program before, if nothing has changed the schema since.
    """
    ask = site.remembered if known else site.require
    if not site.has(release, "schema_current"):
        return MigrationPlan(applied=(), head=None, revisions=())
    if not site.has(release, "schema_plan"):
        standing = ask(release, "schema_current").json()
        return replace(read_plan(standing, ()), head=None)
    with ThreadPoolExecutor(2) as both:  # each takes as long as a start of Python
        told = both.submit(ask, release, "schema_current")
        pending = both.submit(ask, release, "schema_plan")
        return read_plan(told.result().json(), pending.result().lines())


def revision_of(site: Site, release: Release) -> str | None:
    """The store's revision; None if there is no store, or nobody who could tell."""
    if not site.has(release, "schema_current"):
        return None
    return read_plan(site.require(release, "schema_current").json(), ()).current
