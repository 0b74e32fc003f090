"""After a rollback, on the public port: healthy for a while, and a picture submitted and found again."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.verify import require_healthy, require_round_trip
from guarded_rollout.errors import RoundTripError
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work


class Validate(RolloutStep):
    name: ClassVar[str] = "validate"

    def describe(self, work: Work) -> Iterator[str]:
        checks = work.site.environment.checks
        yield (
            f"validate on the public port: {checks.consecutive} healthy checks in a row, "
            f"{checks.validation_interval_seconds:g} s apart, then a picture submitted and found again"
        )

    def do(self, work: Work) -> Evidence:
        """Wait for processes that died to be started again; the proxy may die once in the middle."""
        try:
            return self._validate(work)
        except RoundTripError:
            return self._validate(work)

    def _validate(self, work: Work) -> Evidence:
        site, checks = work.site, work.site.environment.checks
        healthy = require_healthy(
            site.public(),
            checks,
            site.clock,
            interval_seconds=checks.validation_interval_seconds,
            require_running=site.processes.ensure,
        )
        seed = f"after {work.rollout}"
        round_trip = require_round_trip(site.public(), seed, site.clock, token=site.token())
        return {"health": healthy, "round_trip": round_trip}
