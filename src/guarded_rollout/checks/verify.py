"""Verifies a running release: healthy for a while, golden fingerprints, a picture kept and found again."""

import hashlib
import time
from collections.abc import Callable

from guarded_rollout.checks.pictures import draw, find_again, submit
from guarded_rollout.checks.probe import SmokeFailure, SmokeProbe
from guarded_rollout.clock import Clock
from guarded_rollout.config.environments import Checks
from guarded_rollout.errors import (
    DoesNotStopError,
    GoldenRejectedError,
    NoAnswerError,
    NotHealthyError,
    RoundTripError,
)
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import Slot
from guarded_rollout.secret import Secret

Evidence = dict[str, object]


def require_healthy(
    endpoint: Endpoint,
    checks: Checks,
    clock: Clock,
    *,
    interval_seconds: float,
    consecutive: int | None = None,
    require_running: Callable[[], object] = lambda: None,
) -> Evidence:
    """Wait for so many healthy answers in a row (`checks.consecutive`), this far apart.

    `require_running` raises when the process has gone, which ends the wait at once.
    Raises `NotHealthyError` with the last answer when `start_seconds` are over without the first healthy one.
    """
    started, wanted = clock.monotonic(), consecutive or checks.consecutive
    in_a_row, asked, last = 0, 0, "none"
    while in_a_row < wanted:
        if in_a_row:
            clock.sleep(interval_seconds)
        require_running()
        try:
            answer = endpoint.ask("GET", "/health")
            healthy, last = answer.ok, answer.summary()
        except NoAnswerError as error:
            healthy, last = False, f"none, it {error.data['problem']}"
        asked += 1
        in_a_row = in_a_row + 1 if healthy else 0
        if not healthy:
            if clock.monotonic() - started > checks.start_seconds:
                raise NotHealthyError(endpoint=endpoint, seconds=checks.start_seconds, last=last)
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


def require_golden(site: Site, slot: Slot, release: Release, stable: Release | None) -> Evidence:
    """Ask the running release for its golden fingerprints, by its own record and by the stable release's.

    A release that moved the bits and recorded them again would pass its own. Raises `GoldenRejectedError`.
    """
    judges = {judge.id: judge for judge in (release, stable) if judge is not None}
    for judge in judges.values():
        result = site.command(judge, "golden", slot=slot)
        if not result.ok:
            raise GoldenRejectedError(release=release.id, judge=judge.id, reason=result.reason())
    return {"golden_by": list(judges)}


def require_round_trip(
    endpoint: Endpoint, seed: str, clock: Clock, *, token: Secret | None = None
) -> Evidence:
    """Submit a picture drawn from this seed and find it again by its fingerprint. Raises `RoundTripError`."""
    probe, picture = SmokeProbe(endpoint, token=token), draw(seed)
    started = time.perf_counter()
    try:
        find_again(probe, submit(probe, picture), picture, clock)
    except SmokeFailure as failure:
        raise RoundTripError(endpoint=endpoint, problem=str(failure)) from None
    seconds = round(time.perf_counter() - started, 3)
    return {"submitted": hashlib.sha256(picture).hexdigest(), "found": True, "seconds": seconds}
