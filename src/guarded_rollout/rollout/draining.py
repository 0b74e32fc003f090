"""The old release of an accepted rollout, while it ends what it is answering. Nobody holds the lock for that.

Requests have their time first. Then the release is asked to stop: a service ends its event streams and
closes its WebSockets on SIGTERM, so their clients come again, to the new release. What has not ended within
the drain time is cut. Like the window this is a fold over the rollout's notes: whoever comes next goes on.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from guarded_rollout.clock import Clock, Instant, duration
from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import RolloutEndedError
from guarded_rollout.host.processes import KILL_SECONDS
from guarded_rollout.host.proxy import InFlight
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import Slot, other
from guarded_rollout.journal.model import Rollout
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.window import instant_of, mark, window_seconds

DRAINING, ASKED, CUT = "draining", "asked to stop", "cut"
"""The notes: requests have their time from here on, the release was asked to stop, so much of it was cut."""

MOST_SECONDS = 600.0
POLL_SECONDS = 0.2
LAST_SECONDS = 1.0
"""What is in flight so late in the drain time counts as cut, unless the release ends in time after all."""
OTHERS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Draining:
    """What the old release still answers. `left` seconds until it is asked to stop, or, `asked`, is killed.

    `waits` is False once there is something to do: to ask it, or to go on without it.
    """

    slot: Slot
    in_flight: InFlight
    left: float
    asked: bool
    waits: bool


class Drain:
    """Looks at the old release of an accepted rollout, and takes the steps to its end."""

    def __init__(self, site: Site, journal: Journal) -> None:
        self._site = site
        self._journal = journal

    def begin(self, rollout: Rollout) -> bool:
        """Note that requests have their time from now on; False if nothing is in flight."""
        site = self._site
        in_flight = site.traffic.in_flight(other(rollout.slot))
        if in_flight.total:
            seconds = finish_seconds(site.environment)
            self._journal.note(
                rollout.id, DRAINING, seconds=seconds, in_flight=str(in_flight), **mark(site.clock)
            )
        return bool(in_flight.total)

    def look(self, rollout: Rollout) -> Draining | None:
        """Return what drains now; None if nothing does."""
        began, asked = rollout.note(DRAINING), rollout.note(ASKED)
        if began is None or not rollout.open:
            return None
        site, slot, now = self._site, other(rollout.slot), self._site.clock.instant()
        in_flight = site.traffic.in_flight(slot)
        if asked is None:
            left = max(0.0, float(str(began.data["seconds"])) - now.since(instant_of(began)))
            return Draining(slot, in_flight, left, asked=False, waits=bool(in_flight.requests and left))
        allowed, passed = site.environment.checks.drain_seconds, now.since(instant_of(asked))
        left = max(0.0, allowed + KILL_SECONDS - passed)
        waits = site.processes.runs(slot) and left > 0
        if waits and in_flight.total and passed > allowed - LAST_SECONDS:
            self.note_cut(rollout, in_flight.total)
        elif passed < allowed:  # all is answered in time
            self.note_cut(rollout, 0)
        return Draining(slot, in_flight, left, asked=True, waits=waits)

    def ask(self, rollout: Rollout, found: Draining) -> None:
        """Ask the old release to stop, without waiting for it. The caller holds the environment's lock."""
        in_flight = str(found.in_flight)
        self._journal.note(rollout.id, ASKED, in_flight=in_flight, **mark(self._site.clock))
        self._site.ask_to_stop(found.slot)

    def note_cut(self, rollout: Rollout, requests: int) -> None:
        """Note what is being cut, if that is news."""
        known = rollout.note(CUT)
        if requests != (known.data["requests"] if known else 0):
            with suppress(RolloutEndedError):  # somebody else has finished it meanwhile
                self._journal.note(rollout.id, CUT, requests=requests)


def evidence_of(rollout: Rollout, now: Instant) -> dict[str, object]:
    """Return how long requests had, and how many were cut. Pure."""
    began, asked, cut = rollout.note(DRAINING), rollout.note(ASKED), rollout.note(CUT)
    ended = instant_of(asked) if asked else now
    waited = ended.since(instant_of(began)) if began else 0.0
    return {"waited_seconds": round(waited, 1), "cut_requests": cut.data["requests"] if cut else 0}


def finish_seconds(environment: Environment) -> float:
    """Return how long requests in flight may take before the old release is asked to stop."""
    given = environment.checks.finish_seconds
    return given if given >= 0 else min(window_seconds(environment), MOST_SECONDS)


def await_slot(environment: Environment, clock: Clock, say: Callable[[str], None]) -> None:
    """Wait, without the lock, until the old release of an accepted rollout has ended what it answers.

    Whoever finishes that rollout gets some seconds more to do it; then it is left to the caller.
    """
    with Journal.open(environment.journal, clock=clock, create=False) as journal:
        drain, until, said = Drain(Site(environment, clock), journal), math.inf, False
        while (rollout := journal.open_rollout(environment.name)) is not None and clock.monotonic() < until:
            if (found := drain.look(rollout)) is None:
                return
            if not found.waits:
                until = min(until, clock.monotonic() + OTHERS_SECONDS)
            elif not said:
                said = True
                say(f"{rollout.source} still answers {found.in_flight}: waiting up to {duration(found.left)}")
            clock.sleep(POLL_SECONDS)
