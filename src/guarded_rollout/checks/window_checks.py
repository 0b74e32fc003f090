"""Checks all through the window: what a release declares for it, asked of either side as clients come."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from guarded_rollout.checks.service_checks import CheckResult, ask, checks_of
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import EnvironmentGates, GlobalSettings
from guarded_rollout.config.service_checks import CommandCheck, HttpCheck, ServiceCheck, When
from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.host.site import Site
from guarded_rollout.monitor.ports import OpenWindow
from guarded_rollout.monitor.sources import Sampler
from guarded_rollout.monitor.targets import samplers_of, sides_of

Asking = Callable[[Sequence[ServiceCheck]], Iterable[CheckResult]]


@dataclass(slots=True)
class WindowChecks:
    """Asks each check as often as it wants (`every_seconds`); a sample is the newest result of all of them.

    A check that uses what others captured must want to be asked as often as they.
    """

    checks: Sequence[ServiceCheck]
    asking: Asking
    side: Side = Side.CANDIDATE
    source: Source = Source.CHECKS
    clock: Callable[[], float] = time.monotonic
    _results: dict[str, tuple[CheckResult, ...]] = field(default_factory=dict, init=False)
    _asked: dict[str, float] = field(default_factory=dict, init=False)

    def sample(self) -> Sample:
        begun = self.clock()
        due = [check for check in self.checks if self._due(check, begun)]
        self._asked |= {check.name: begun for check in due}
        for result in self.asking([check for check in due if isinstance(check, HttpCheck)]):
            self._results[result.name] = (result,)
        for check in due:
            if isinstance(check, CommandCheck):
                self._results[check.name] = tuple(self.asking([check]))
        failed = [
            result
            for results in self._results.values()
            for result in results
            if result.critical and not result.passed
        ]
        problem = "; ".join(f"the check {one.name} failed: {one.detail}" for one in failed)
        return Sample(self.source, 0.0, self.side, problem=problem, seconds=self.clock() - begun)

    def _due(self, check: ServiceCheck, now: float) -> bool:
        """A check that failed is asked again at once."""
        asked = self._asked.get(check.name)
        failed = any(not result.passed for result in self._results.get(check.name, ()))
        return asked is None or failed or now - asked >= check.every_seconds


def all_samplers(
    environment: Environment, window: OpenWindow | None, config: EnvironmentGates, settings: GlobalSettings
) -> list[Sampler]:
    """The sources of an environment, and the checks that its releases declare for the window."""
    samplers = samplers_of(environment, window, config, settings)
    site = Site(environment)
    for side, slot in sides_of(site, window).items():
        release = site.slots.release(slot)
        checks = checks_of(site, release, When.WINDOW) if release else []
        if release and checks:
            asking = partial(ask, site, release, slot=slot, pinned=True, quick=True)
            samplers.append(WindowChecks(checks, asking, side))
    return samplers
