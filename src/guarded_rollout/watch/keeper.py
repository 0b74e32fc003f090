"""Keeps the time of an open window in the background: probes the candidate, finishes or takes it back."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from guarded_rollout.config import gates
from guarded_rollout.errors import LockHeldError
from guarded_rollout.record import Rollout
from guarded_rollout.rollout import Engine
from guarded_rollout.steps.watch import window

RETRY_SECONDS = 1.0


def keep(engine: Engine, exclusively: Callable[[], AbstractContextManager[object]]) -> Rollout | None:
    """Watch the open rollout until it has ended; None if none is open.

    `exclusively` takes the environment's lock, held only while something is done.
    """
    site, clock = engine.site, engine.site.clock
    environment = site.environment
    health = gates.load(environment.gates).environment(environment.name).quality_gates.health
    interval = health.threshold.check_interval_seconds if health else 30.0
    allowed = health.threshold.limit if health else None
    failures = 0
    while rollout := engine.journal.open_rollout(environment.name):
        found = window(rollout)
        left = found.left(clock.now()) if found else interval
        slot = site.slots.find(rollout.target or "")
        well = found is None or slot is None or site.answers(slot)
        failures = 0 if well else failures + 1
        try:
            if failures and allowed is not None and failures > allowed:
                with exclusively():
                    return engine.abort(f"Health check failed ({failures} consecutive)")
            if found and left <= 0:
                with exclusively():
                    engine.resume()
                return engine.journal.rollout(rollout.id)
        except LockHeldError:  # an operator is at work: let them, and look again
            clock.sleep(RETRY_SECONDS)
            continue
        clock.sleep(min(left, interval))
    return None
