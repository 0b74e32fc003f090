"""Where a store's schema stands, asked of the service's own commands."""

from concurrent.futures import ThreadPoolExecutor

from guarded_rollout.checks.migrations import Plan, read_plan
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site


def plan_for(site: Site, release: Release) -> Plan:
    """Where the store stands and what this release would still do to it."""
    with ThreadPoolExecutor(2) as both:  # each takes as long as a start of Python
        standing = both.submit(site.require, release, "schema_current")
        pending = both.submit(site.require, release, "schema_plan")
        return read_plan(standing.result().json(), pending.result().lines())


def revision_of(site: Site, release: Release) -> str | None:
    """The store's revision; None if there is no store."""
    return read_plan(site.require(release, "schema_current").json(), ()).current
