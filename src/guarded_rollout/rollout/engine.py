"""The engine: the operations on an environment's rollouts. `runner` runs their steps."""

import getpass
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from uuid import UUID

from guarded_rollout.clock import duration
from guarded_rollout.config.environments import TrafficStep
from guarded_rollout.errors import (
    NothingOpenError,
    NotWatchedError,
    ReleaseDamagedError,
    RolloutError,
    SlotDrainsError,
    UnknownReleaseError,
    WindowOpenError,
)
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import other
from guarded_rollout.host.stores import store_of
from guarded_rollout.journal.model import INTERRUPTED, SUPERSEDED, UNDOING, Rollout, RolloutOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.rollback import plan_rollback
from guarded_rollout.rollout.runner import DeployResult, advance, decided, take_back
from guarded_rollout.rollout.steps import STEPS
from guarded_rollout.rollout.steps.base import Options, RolloutStep, Work
from guarded_rollout.rollout.steps.shift import candidate_is_alive
from guarded_rollout.rollout.window import PAUSED, PROMOTED, RESUMED, Window, accepted, mark, window

DEFAULTS = Options()
MONITOR = "the monitor"
"""The operator of an automatic rollback."""
NO_ROLLOUT = UUID(int=0)  # of a rehearsal, which writes nothing
PATIENCE_SECONDS = 3.0
"""An accepted rollout waits for so long at once for what the old release answers: most requests take less."""


@dataclass(frozen=True, slots=True)
class Request:
    """The operator's request."""

    command: str
    operator: str
    why: str = ""
    backup: bool = False
    migrate: bool = False
    restart: bool = False
    supersede: bool = False
    options: Options = DEFAULTS


class Engine:
    """Rolls out in one environment. The caller holds the environment's lock."""

    def __init__(
        self,
        site: Site,
        journal: Journal,
        say: Callable[[str], None],
        *,
        guard: Callable[[Work], None] | None = None,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self.site = site
        self.journal = journal
        self.say = say
        self._guard = guard or candidate_is_alive
        self._begun = begun  # called once a deployment is in the journal

    # ---- rolling out

    def deploy(self, release: Release, request: Request) -> DeployResult:
        """Replace what serves by this release, up to the open window. Raises what stopped it, taken back."""
        self.clear_previous(request)
        self.site.ensure()
        stable = self.site.serving()
        if stable is not None and stable.id == release.id and not request.restart:
            return DeployResult(release, serving_already=True)
        work = self._begin(self._work(release, stable, request), request)
        self._begun()
        self.say(f"rolling out {release.title} in {self.site.environment.name}")
        return advance(work)

    def rehearse(self, release: Release, request: Request) -> Iterator[str]:
        """Yield the steps of `deploy` without doing any."""
        stable = self.site.serving()
        if stable is not None and stable.id == release.id and not request.restart:
            yield f"nothing: {release.id} serves already"
            return
        work = self._work(release, stable, request)
        for step in work.steps:
            yield from step.describe(work)

    def roll_back(self, release: Release, request: Request, *, validated: bool = True) -> DeployResult:
        """Return to a release, and to a backup's data if the options name one; the open rollout is closed.

        A warm release gets its traffic before anything is started or waited for.
        Raises `RollbackFailedError`; run again, it resumes there.
        """
        work, closes = self._way_back(release, request, validated=validated)
        if work.steps[0] is not STEPS["shift"]:
            self.site.start_all()
        self.say(f"rolling {self.site.environment.name} back to {release.id}")
        return advance(self._begin(work, request, closes=closes))

    def rehearse_back(self, release: Release, request: Request, *, validated: bool = True) -> Iterator[str]:
        """Yield the steps of `roll_back` without doing any."""
        work, _ = self._way_back(release, request, validated=validated)
        for step in work.steps:
            yield from step.describe(work)

    def resume(self, *, patience: float = PATIENCE_SECONDS, hurry: bool = False) -> DeployResult:
        """Resume a rollout that a crash interrupted or `pause` held. Raises `NothingOpenError`.

        An accepted one is finished once its old release has ended what it answers; `hurry` stops that now.
        """
        rollout, work = self._open()
        work = replace(work, patience=patience, hurry=hurry)
        if begun := rollout.note(UNDOING):
            take_back(work, begun.data["cause"])
            if work.outgoing is not None:
                self.site.ensure()
            return DeployResult(work.incoming)
        self.site.start_all() if rollout.is_rollback else self.site.ensure()
        found = window(rollout)
        if found is not None and found.paused:
            work.note(RESUMED, **mark(self.site.clock))
        return advance(work)

    def rehearse_resume(self) -> Iterator[str]:
        """Yield the steps that `resume` would still do. Raises `NothingOpenError`."""
        rollout, work = self._open()
        for step in work.steps:
            if not rollout.done(step.name):
                yield from step.describe(work)

    def require_open(self) -> Rollout:
        """Return the open rollout. Raises `NothingOpenError`."""
        return self._open()[0]

    def clear_previous(self, request: Request) -> None:
        """Deal with a rollout that is open: refuse while it is watched, take back what was interrupted."""
        rollout = self.journal.open_rollout(self.site.environment.name)
        if rollout is None:
            return
        found = window(rollout)
        if found is not None and not rollout.undoing:
            left = found.left(self.site.clock.instant())
            if left > 0 and not request.supersede:
                raise WindowOpenError(
                    release=rollout.target,
                    environment=rollout.environment,
                    left=duration(left),
                    operator=rollout.operator,
                )
            if left <= 0:
                self._finish_previous(rollout, hurry=request.supersede)
                return
        self.abort(f"{SUPERSEDED} {request.command}" if found else INTERRUPTED)

    def _finish_previous(self, rollout: Rollout, *, hurry: bool) -> None:
        """Finish an accepted rollout: its old release stands in the slot that is needed now."""
        left = self.resume(hurry=hurry).draining
        if left is not None and left.asked:
            left = self.resume(hurry=True).draining
        if left is not None:
            raise SlotDrainsError(
                release=rollout.source,
                in_flight=left.in_flight,
                left=duration(left.left),
                environment=rollout.environment,
            )

    # ---- the window

    def promote(self) -> DeployResult:
        """Close the window early and accept the release. Raises `NothingOpenError`, `NotWatchedError`.

        `draining` of the result is left to whoever calls `resume` once that has ended.
        """
        _, work, _ = self._watched()
        work.note(PROMOTED, operator=operator())
        return advance(replace(work, patience=PATIENCE_SECONDS))

    def pause(self) -> Window:
        """Let the window's clock stand still. Raises `NothingOpenError`, `NotWatchedError`."""
        rollout, work, found = self._watched()
        if not found.paused:
            work.note(PAUSED, operator=operator(), **mark(self.site.clock))
        paused = window(self.journal.rollout(rollout.id))
        assert paused is not None
        return paused

    def abort(self, cause: str) -> Rollout:
        """Take the open rollout back. A rollback, or a release that was accepted, is resumed instead: the
        release it replaced may not run any more. Where nobody can tell what the candidate was, a rollback
        leaves it: that asks nothing of it.

        Raises `NothingOpenError`, `RollbackFailedError`.
        """
        try:
            rollout, work = self._open()
        except (ReleaseDamagedError, UnknownReleaseError) as error:
            rollout, stable = self._left_by_rollback(error)
            self.say(f"{error.sentence} Rolling back to {stable.id} leaves it as it is.")
            self.roll_back(stable, Request(command="abort", operator=operator(), why=cause))
            return self.journal.rollout(rollout.id)
        if reason := decided(rollout, work):
            self.say(f"{reason}; resuming that")
            self.site.start_all()
            advance(work)
            return self.journal.rollout(rollout.id)
        take_back(work, cause)
        if work.outgoing is not None:
            self.site.ensure()  # nothing may have been running when this was asked
        return self.journal.rollout(rollout.id)

    def rehearse_abort(self) -> Iterator[str]:
        """Yield the steps of `abort`. Raises `NothingOpenError`."""
        try:
            rollout, work = self._open()
        except (ReleaseDamagedError, UnknownReleaseError) as error:
            _, before = self._left_by_rollback(error)
            yield from self.rehearse_back(before, Request(command="abort", operator=operator()))
            return
        if decided(rollout, work):
            yield from self.rehearse_resume()
        else:
            stable = work.outgoing.id if work.outgoing else "nothing"
            yield f"give {stable} all of the traffic and stop {work.incoming.id}"

    # ---- inside

    def _left_by_rollback(self, damage: RolloutError) -> tuple[Rollout, Release]:
        """The open rollout whose candidate cannot be read, and the release before it.

        Raises the damage where it is that release's, or one of a release that was accepted.
        """
        rollout = self.journal.open_rollout(self.site.environment.name)
        if rollout is None or rollout.source is None or rollout.is_rollback or accepted(rollout):
            raise damage
        return rollout, self.site.release(rollout.source)

    def _begin(self, work: Work, request: Request, closes: UUID | None = None) -> Work:
        if closes is not None and accepted(self.journal.rollout(closes)):  # it was good once
            self.journal.end(
                closes, RolloutOutcome.COMPLETED, f"left by {request.command} before it had finished"
            )
            closes = None
        rollout = self.journal.begin(
            self.site.environment.name,
            request.command,
            operator=request.operator,
            source=work.outgoing.id if work.outgoing else None,
            target=work.incoming.id,
            why=request.why,
            plan={
                "slot": work.slot,
                "steps": [step.name for step in work.steps],
                "options": asdict(work.options),
                "back": work.is_rollback,
            },
            closes=closes,
        )
        return replace(work, rollout=rollout)

    def _way_back(self, release: Release, request: Request, *, validated: bool) -> tuple[Work, UUID | None]:
        plan = plan_rollback(self.site, self.journal, release, request.options, validated=validated)
        work = replace(
            self._work(release, plan.outgoing, request),
            slot=plan.slot,
            steps=steps_named(plan.steps),
            traffic=(TrafficStep(100, 0.0),),
            is_rollback=True,
        )
        return work, plan.closes.id if plan.closes else None

    def _work(self, release: Release, stable: Release | None, request: Request) -> Work:
        serving = self.site.traffic.serving()
        steps = ["preflight"]
        store = store_of(self.site)
        if request.backup and stable is not None and store is not None and store.can_copy(stable):
            steps.append("backup")
        # an empty machine has no old release to break
        if (request.migrate or stable is None) and self.site.has(release, "schema_plan"):
            steps.append("migrate")
        steps += ["stage", "verify", "shift"]
        if stable is not None:
            steps.append("watch")
        steps.append("finish")
        return Work(
            site=self.site,
            journal=self.journal,
            rollout=NO_ROLLOUT,
            incoming=release,
            outgoing=stable,
            slot=other(serving) if stable is not None else serving,
            steps=steps_named(steps),
            traffic=self.site.environment.traffic,
            is_rollback=False,
            options=request.options,
            say=self.say,
            guard=self._guard,
        )

    def _open(self) -> tuple[Rollout, Work]:
        """Return the open rollout as the journal has it."""
        environment = self.site.environment.name
        rollout = self.journal.open_rollout(environment)
        if rollout is None or rollout.target is None:
            raise NothingOpenError(environment=environment)
        return rollout, Work(
            site=self.site,
            journal=self.journal,
            rollout=rollout.id,
            incoming=self.site.release(rollout.target),
            outgoing=self.site.release(rollout.source) if rollout.source else None,
            slot=rollout.slot,
            steps=steps_named(rollout.plan.get("steps", ())),
            traffic=(TrafficStep(100, 0.0),) if rollout.is_rollback else self.site.environment.traffic,
            is_rollback=rollout.is_rollback,
            options=Options(**rollout.plan.get("options", {})),
            say=self.say,
            guard=self._guard,
        )

    def _watched(self) -> tuple[Rollout, Work, Window]:
        """Return the open rollout and its window, which ends for good when it begins to be taken back."""
        rollout, work = self._open()
        found = window(rollout)
        if found is None or rollout.undoing:
            raise NotWatchedError(release=rollout.target)
        return rollout, work, found


def steps_named(names: Iterable[str]) -> tuple[RolloutStep, ...]:
    return tuple(STEPS[name] for name in names)


ACTORS = ("ROLLOUT_OPERATOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR")
"""Variables that name who is at work: given by hand, then by the CI systems."""
LONGEST_NAME = 100


def operator(variables: Mapping[str, str] = os.environ) -> str:
    """Return who is at work: as the environment says, who called sudo, else user@host.

    A user that has no name here, as in containers, is its number.
    """
    for name in ACTORS:
        given = "".join(filter(str.isprintable, variables.get(name, "").strip()))[:LONGEST_NAME]
        if given:
            return f"{given}@{platform.node()}" if given == MONITOR else given
    try:
        user = variables.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # as Python up to 3.12 says it, and since
        user = str(os.getuid())
    return f"{user}@{platform.node()}"
