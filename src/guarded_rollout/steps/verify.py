"""Verify the candidate on its private socket, before any client meets it."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.verify import require_golden, require_healthy, require_round_trip
from guarded_rollout.steps.base import Evidence, Work


class Verify:
    name: ClassVar[str] = "verify"

    def describe(self, work: Work) -> Iterator[str]:
        checks = work.site.environment.checks
        yield (
            f"verify {work.release.id} on its private socket: {checks.consecutive} healthy checks in a row, "
            "its golden fingerprints, a picture submitted and found again"
        )

    def do(self, work: Work) -> Evidence:
        site, checks = work.site, work.site.environment.checks
        endpoint = site.private(work.slot)
        healthy = require_healthy(
            endpoint,
            checks,
            site.clock,
            interval_seconds=checks.interval_seconds,
            require_running=lambda: site.processes.require_running(work.slot),
        )
        golden = require_golden(site, work.slot, work.release, work.stable)
        round_trip = require_round_trip(endpoint, work.release.id, site.clock, token=site.token())
        return {"health": healthy, "golden": golden, "round_trip": round_trip}

    def undo(self, work: Work) -> None:
        """Nothing to take back: the picture it submitted is a fact like any other."""
