"""The proof that a release works: it stays healthy, stops when asked, and passes the checks it declares."""

from collections.abc import Callable
from uuid import uuid4

from guarded_rollout.checks.service_checks import ask, checks_of
from guarded_rollout.config.service_checks import When
from guarded_rollout.errors import ChecksFailedError, DoesNotStopError, NotHealthyError
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import Slot

Evidence = dict[str, object]


def require_healthy(
    site: Site,
    endpoint: Endpoint,
    *,
    interval_seconds: float,
    consecutive: int | None = None,
    seconds: float | None = None,
    require_running: Callable[[], object] = lambda: None,
) -> Evidence:
    """Wait for so many healthy answers in a row (`checks.consecutive`), this far apart.

    `require_running` raises when the process has gone, which ends the wait at once.
    Raises `NotHealthyError` with the last answer when `seconds` (`checks.start_seconds`) are over without the
    first healthy one.
    """
    checks, clock = site.environment.checks, site.clock
    started, wanted = clock.monotonic(), consecutive or checks.consecutive
    patience = checks.start_seconds if seconds is None else seconds
    in_a_row, asked, last = 0, 0, "none"
    while in_a_row < wanted:
        if in_a_row:
            clock.sleep(interval_seconds)
        require_running()
        health = site.health(endpoint)
        asked, last = asked + 1, health.said
        in_a_row = in_a_row + 1 if health.ok else 0
        if not health.ok:
            if clock.monotonic() - started > patience:
                raise NotHealthyError(endpoint=endpoint, seconds=patience, last=last)
            clock.sleep(min(0.1, interval_seconds))
    return {"healthy_checks": in_a_row, "asked": asked, "seconds": round(clock.monotonic() - started, 2)}


def require_graceful_stop(site: Site, slot: Slot, release: Release) -> Evidence:
    """Stop the release and start it again. Raises `DoesNotStopError` if it had to be killed.

    One that does not stop when asked would drop requests on the day it is replaced; now nobody is there yet.
    """
    allowed, begin = site.environment.checks.drain_seconds, site.clock.monotonic()
    site.processes.stop(slot)
    seconds = site.clock.monotonic() - begin
    if seconds >= allowed:
        raise DoesNotStopError(release=release.id, seconds=allowed)
    site.start(slot, release)
    return {"stopped_in_seconds": round(seconds, 2)}


def require_checks(
    site: Site,
    release: Release,
    when: When,
    *,
    slot: Slot | None = None,
    stable: Release | None = None,
) -> Evidence:
    """Ask a release for the checks it declares, in its slot or on the public port, the critical ones alone.

    Checks that are `by_stable` are asked as the stable release declares them too: a release that changed what
    it checks itself by would pass its own. Raises `ChecksFailedError` with what failed.
    """
    judges = {release.id: (release, checks_of(site, release, when))}
    if stable is not None and stable.id != release.id:
        judges[stable.id] = stable, [check for check in checks_of(site, stable, when) if check.by_stable]
    passed: list[str] = []
    seed = f"{release.id} {uuid4()}"  # something new: it must be able to write
    for judge, checks in judges.values():
        for result in ask(site, judge, checks, slot=slot, quick=True, seed=seed):
            if result.critical and not result.passed:
                raise ChecksFailedError(
                    release=release.id, check=result.name, judge=judge.id, reason=result.detail
                )
            passed.append(result.name)
    return {"passed": passed}
