"""Verify the candidate on its private socket, before any client meets it."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.verify import (
    require_golden,
    require_graceful_stop,
    require_healthy,
    require_round_trip,
)
from guarded_rollout.steps.base import Evidence, Work


class Verify:
    name: ClassVar[str] = "verify"

    def describe(self, work: Work) -> Iterator[str]:
        checks = work.site.environment.checks
        stops = "" if work.back else "that it stops when asked, "
        yield (
            f"verify {work.release.id} on its private socket: {stops}{checks.consecutive} healthy checks"
            " in a row, its golden fingerprints, a picture submitted and found again"
        )

    def do(self, work: Work) -> Evidence:
        """A release that is returned to has stopped and started before: it is not made to wait for that."""
        site, release = work.site, work.release
        evidence: Evidence = {}
        if not work.back:
            self._healthy(work, consecutive=1)
            evidence["stop"] = require_graceful_stop(site, work.slot, release)
        evidence["health"] = self._healthy(work)
        evidence["golden"] = require_golden(site, work.slot, release, work.stable)
        evidence["round_trip"] = require_round_trip(
            site.private(work.slot), release.id, site.clock, token=site.token()
        )
        return evidence

    def _healthy(self, work: Work, consecutive: int | None = None) -> Evidence:
        site, checks = work.site, work.site.environment.checks
        return require_healthy(
            site.private(work.slot),
            checks,
            site.clock,
            interval_seconds=checks.interval_seconds,
            consecutive=consecutive,
            require_running=lambda: site.processes.require_running(work.slot),
        )

    def undo(self, work: Work) -> None:
        """Nothing to take back: the picture it submitted is a fact like any other."""
