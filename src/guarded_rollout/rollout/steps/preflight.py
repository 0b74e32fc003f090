"""Inspect before anything is touched."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.checks.findings import Finding, Severity
from guarded_rollout.checks.manifest import FOLDER
from guarded_rollout.checks.preflight import failures, inspect, require
from guarded_rollout.journal.model import OVERRIDDEN
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work


class Preflight(RolloutStep):
    name: ClassVar[str] = "preflight"

    def describe(self, work: Work) -> Iterator[str]:
        for finding in _inspect(work):
            yield f"preflight {finding}"

    def do(self, work: Work) -> Evidence:
        found = _inspect(work)
        for finding in found:
            if finding.level is not Severity.OK:
                work.say(f"preflight {finding}")
        if (reason := work.options.override) and (problems := failures(found)):
            operator = work.journal.rollout(work.rollout).operator
            work.note(OVERRIDDEN, operator=operator, reason=reason, problems=problems)
            work.say(f"overridden by {operator}: {reason}")
        else:
            require(found)
        return {finding.name: finding.level for finding in found}


def _inspect(work: Work) -> list[Finding]:
    """Inspect as `rollout preflight` does: what it fails, a deployment refuses."""
    environment = work.site.environment
    artifacts = environment.project / FOLDER
    return inspect(
        work.site,
        work.journal,
        work.incoming,
        health=not work.options.skip_health_check,
        allow_unknown=work.options.allow_unknown,
        reviews=environment.reviews,
        artifacts=artifacts if artifacts.is_dir() else None,
        backup=not any(step.name == "backup" for step in work.steps),
    )
