"""After a rollback, on the public port: healthy for a while, and the declared checks pass."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.verify import require_checks, require_healthy
from guarded_rollout.config.service_checks import When
from guarded_rollout.errors import ChecksFailedError
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work
from guarded_rollout.rollout.steps.migrate import require_works


class Validate(RolloutStep):
    name: ClassVar[str] = "validate"

    def describe(self, work: Work) -> Iterator[str]:
        checks = work.site.environment.checks
        yield (
            f"validate on the public port: {checks.consecutive} healthy checks in a row, "
            f"{checks.validation_interval_seconds:g} s apart, then the checks that the release declares"
        )

    def do(self, work: Work) -> Evidence:
        """Wait for processes that died to be started again; the proxy may die once in the middle."""
        try:
            return self._validate(work)
        except ChecksFailedError:
            if work.outgoing is not None:
                require_works(work, work.incoming, work.outgoing)
            return self._validate(work)

    def _validate(self, work: Work) -> Evidence:
        site, checks = work.site, work.site.environment.checks
        healthy = require_healthy(
            site,
            site.public(),
            interval_seconds=checks.validation_interval_seconds,
            require_running=site.processes.ensure,
        )
        return {"health": healthy, "checks": require_checks(site, work.incoming, When.ROLLBACK)}
