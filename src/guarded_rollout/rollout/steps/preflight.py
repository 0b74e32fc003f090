"""Inspect before anything is touched."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.findings import Severity
from guarded_rollout.checks.preflight import inspect, require
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work


class Preflight(RolloutStep):
    name: ClassVar[str] = "preflight"

    def describe(self, work: Work) -> Iterator[str]:
        for finding in inspect(
            work.site, work.journal, work.incoming, health=not work.options.skip_health_check
        ):
            yield f"preflight {finding}"

    def do(self, work: Work) -> Evidence:
        found = inspect(work.site, work.journal, work.incoming, health=not work.options.skip_health_check)
        for finding in found:
            if finding.level is not Severity.OK:
                work.say(f"preflight {finding}")
        require(found)
        return {finding.name: finding.level for finding in found}
