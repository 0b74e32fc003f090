"""Verify the candidate on its private socket, before any client meets it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from guarded_rollout.checks.store_rehearsal import rehearse_commands
from guarded_rollout.checks.verify import require_checks, require_graceful_stop, require_healthy
from guarded_rollout.config.service_checks import When
from guarded_rollout.errors import NotHealthyError, ProcessError, RolloutError, SupervisorError
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work

RETRIES = 3
"""The times a release is verified again because it ended meanwhile."""


class Verify(RolloutStep):
    name: ClassVar[str] = "verify"

    def describe(self, work: Work) -> Iterator[str]:
        checks = work.site.environment.checks
        stops = "" if work.is_rollback else "that it stops when asked, "
        yield (
            f"verify {work.incoming.id} on its private socket: {stops}{checks.consecutive} healthy checks"
            " in a row, the checks that it declares, and its commands on a copy of the store"
        )

    def do(self, work: Work) -> Evidence:
        """A candidate that ends meanwhile is not given a second chance: the outgoing release goes on serving.

        A release that is returned to is what is left. The supervisor has it back, and if it ended after its
        first healthy answers, it is verified again.
        """
        for _ in range(RETRIES if work.is_rollback else 0):
            process = _process(work)
            try:
                return self._verify(work)
            except RolloutError as error:
                if isinstance(error, NotHealthyError | ProcessError) or _process(work) == process:
                    raise
                work.say(f"{work.incoming.id} ended while it was verified; verifying it again")
        return self._verify(work)

    def _verify(self, work: Work) -> Evidence:
        """A release that is returned to has stopped and started before: it is not made to wait for that.

        One that served well before gets its traffic with its first healthy answer, if it is validated then.
        """
        if work.is_rollback and _validated_later(work) and _served_well(work):
            return {
                "health": self._healthy(work, consecutive=1),
                "checks": "after the shift, on the public port",
            }
        self._healthy(work, consecutive=1)
        aside = ThreadPoolExecutor(2)
        try:
            return self._stops_and_stays_healthy(work, aside)
        finally:
            aside.shutdown(wait=False, cancel_futures=True)  # an interruption waits for no check

    def _stops_and_stays_healthy(self, work: Work, aside: ThreadPoolExecutor) -> Evidence:
        """Try its commands meanwhile, and its declared checks while healthy answers are counted."""
        site, release = work.site, work.incoming
        stable = None if work.is_rollback else work.outgoing
        trying = aside.submit(rehearse_commands, site, release, stable) if stable else None
        evidence: Evidence = {}
        if not work.is_rollback:
            evidence["stop"] = require_graceful_stop(site, work.slot, release)
            self._healthy(work, consecutive=1)
        checking = aside.submit(require_checks, site, release, When.VERIFY, slot=work.slot, stable=stable)
        evidence |= {"health": self._healthy(work), "checks": checking.result()}
        return evidence | ({"commands": trying.result()} if trying else {})

    def _healthy(self, work: Work, consecutive: int | None = None) -> Evidence:
        site, checks = work.site, work.site.environment.checks

        def require_running() -> None:
            site.processes.require_running(work.slot)

        awaited = site.processes.ensure if work.is_rollback else require_running
        try:
            return require_healthy(
                site,
                site.private(work.slot),
                interval_seconds=checks.interval_seconds,
                consecutive=consecutive,
                require_running=awaited,
            )
        except NotHealthyError:
            require_running()  # the last words of one that ended say more
            raise


def _validated_later(work: Work) -> bool:
    names = [step.name for step in work.steps]
    return "validate" in names and "data" not in names  # data that is exchanged may not suit it


def _served_well(work: Work) -> bool:
    """Return True if the incoming release was accepted here before."""
    past = work.journal.history(work.site.environment.name, limit=200)
    return any(
        one.target == work.incoming.id and one.outcome is RolloutOutcome.COMPLETED and not one.is_rollback
        for one in past
    )


def _process(work: Work) -> int:
    """Return the process in the incoming release's slot, 0 if there is none or nobody knows."""
    try:
        return work.site.processes.state(work.slot).pid
    except SupervisorError:
        return 0
