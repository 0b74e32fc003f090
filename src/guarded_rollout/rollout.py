"""The engine: runs a rollout's steps, journals each before and after, undoes them on failure.

Whatever a step is interrupted by, the journal says what was begun, and every step can be done twice and
undone from any state. So after kill -9 a rollout is either gone on with (`resume`) or taken back.
"""

import getpass
import math
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from guarded_rollout.config.environments import TrafficStep
from guarded_rollout.errors import (
    FirstDeploymentError,
    NothingOpenError,
    NotWatchedError,
    RollbackFailedError,
    RolledBackError,
    RolloutError,
    WindowOpenError,
)
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import Slot, other
from guarded_rollout.interrupts import interruptible, shielded
from guarded_rollout.journal import PLAN, Journal
from guarded_rollout.record import Outcome, Rollout, StepOutcome
from guarded_rollout.rollback import find_way
from guarded_rollout.steps import STEPS
from guarded_rollout.steps.base import Options, Work
from guarded_rollout.steps.finish import Finish
from guarded_rollout.steps.stage import Stage
from guarded_rollout.steps.watch import PAUSED, PROMOTED, RESUMED, Watch, Window, mark, window, window_seconds

DEFAULTS = Options()
UNDOING = "undoing"
NO_ROLLOUT = UUID(int=0)  # of a rehearsal, which writes nothing


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asked for."""

    command: str
    operator: str
    why: str = ""
    backup: bool = False
    migrate: bool = False
    restart: bool = False
    supersede: bool = False
    options: Options = DEFAULTS


@dataclass(frozen=True, slots=True)
class Outlook:
    """Where a rollout stands when the engine returns. `window` is open if someone must watch it."""

    release: Release
    serving_already: bool = False
    window: Window | None = None


class Engine:
    """Rolls out in one environment. Whoever calls it holds the environment's lock."""

    def __init__(
        self,
        site: Site,
        journal: Journal,
        say: Callable[[str], None],
        *,
        guard: Callable[[Work], None] | None = None,
    ) -> None:
        self.site = site
        self.journal = journal
        self.say = say
        self._guard = guard or candidate_is_alive

    # ---- rolling out

    def deploy(self, release: Release, request: Request) -> Outlook:
        """Replace what serves by this release, up to the open window. Raises what stopped it, taken back."""
        self.make_way(request)
        self.site.ensure()
        stable = self.site.serving()
        if stable is not None and stable.id == release.id and not request.restart:
            return Outlook(release, serving_already=True)
        work = self._begin(self._work(release, stable, request), request)
        self.say(f"rolling out {release.id} in {self.site.environment.name}")
        return self._advance(work)

    def rehearse(self, release: Release, request: Request) -> Iterator[str]:
        """What `deploy` would do, step by step, and nothing of it done."""
        stable = self.site.serving()
        if stable is not None and stable.id == release.id and not request.restart:
            yield f"nothing: {release.id} serves already"
            return
        work = self._work(release, stable, request)
        for name in work.steps:
            yield from STEPS[name].describe(work)

    def roll_back(self, release: Release, request: Request, *, validated: bool = True) -> Outlook:
        """Return to a release, and to a backup's data if the options name one. Closes the open rollout.

        Raises `RollbackFailedError`; run again, it goes on from there.
        """
        self.site.ensure()
        work, closes = self._way_back(release, request, validated=validated)
        self.say(f"rolling {self.site.environment.name} back to {release.id}")
        return self._advance(self._begin(work, request, closes=closes))

    def rehearse_back(self, release: Release, request: Request, *, validated: bool = True) -> Iterator[str]:
        """What `roll_back` would do, step by step, and nothing of it done."""
        work, _ = self._way_back(release, request, validated=validated)
        for name in work.steps:
            yield from STEPS[name].describe(work)

    def resume(self) -> Outlook:
        """Go on with what a crash interrupted or `pause` held. Raises `NothingOpenError`."""
        rollout, work = self._open()
        self.site.ensure()
        found = window(rollout)
        if found is not None and found.paused:
            work.note(RESUMED, **mark(self.site.clock))
        if begun := rollout.note(UNDOING):
            self._take_back(work, begun.data["cause"])
            return Outlook(work.release)
        return self._advance(work)

    def rehearse_resume(self) -> Iterator[str]:
        """What `resume` would still do. Raises `NothingOpenError`."""
        rollout, work = self._open()
        for name in work.steps:
            if not rollout.done(name):
                yield from STEPS[name].describe(work)

    def require_open(self) -> Rollout:
        """The open rollout. Raises `NothingOpenError`."""
        return self._open()[0]

    def make_way(self, request: Request) -> None:
        """Deal with a rollout that is open: refuse while it is watched, take back what was interrupted."""
        rollout = self.journal.open_rollout(self.site.environment.name)
        if rollout is None:
            return
        found = window(rollout)
        if found is not None and not undoing(rollout):
            left = found.left(self.site.clock.instant())
            if left > 0 and not request.supersede:
                raise WindowOpenError(
                    release=rollout.target,
                    environment=rollout.environment,
                    left=in_words(left),
                    operator=rollout.operator,
                )
            if left <= 0:
                self.resume()
                return
        self.abort(f"superseded by {request.command}" if found else "it was interrupted")

    # ---- the window

    def promote(self) -> Outlook:
        """Close the window early and accept the release. Raises `NothingOpenError`, `NotWatchedError`."""
        rollout, work = self._open()
        if window(rollout) is None:
            raise NotWatchedError(release=rollout.target)
        work.note(PROMOTED, operator=operator())
        return self._advance(work)

    def pause(self) -> Window:
        """Let the window's clock stand still. Raises `NothingOpenError`, `NotWatchedError`."""
        rollout, work = self._open()
        found = window(rollout)
        if found is None:
            raise NotWatchedError(release=rollout.target)
        if not found.paused:
            work.note(PAUSED, operator=operator(), **mark(self.site.clock))
        paused = window(self.journal.rollout(rollout.id))
        assert paused is not None
        return paused

    def abort(self, cause: str) -> Rollout:
        """Take the open rollout back, unless there is no way: a rollback, or a release that was accepted, is
        gone on with, for what it replaced may not run any more.

        Raises `NothingOpenError`, `RollbackFailedError`.
        """
        rollout, work = self._open()
        if decided := _decided(rollout, work):
            self.say(f"{decided}; going on with that")
            self.site.ensure()
            self._advance(work)
            return self.journal.rollout(rollout.id)
        self._take_back(work, cause)
        if work.stable is not None:
            self.site.ensure()  # nothing may have been running when this was asked
        return self.journal.rollout(rollout.id)

    def rehearse_abort(self) -> Iterator[str]:
        """What `abort` would do. Raises `NothingOpenError`."""
        rollout, work = self._open()
        if _decided(rollout, work):
            yield from self.rehearse_resume()
        else:
            stable = work.stable.id if work.stable else "nothing"
            yield f"give {stable} all of the traffic and stop {work.release.id}"

    # ---- inside

    def _begin(self, work: Work, request: Request, closes: UUID | None = None) -> Work:
        rollout = self.journal.begin(
            self.site.environment.name,
            request.command,
            operator=request.operator,
            source=work.stable.id if work.stable else None,
            target=work.release.id,
            why=request.why,
            plan={
                "slot": work.slot,
                "steps": work.steps,
                "options": asdict(work.options),
                "back": work.back,
            },
            closes=closes,
        )
        return replace(work, rollout=rollout)

    def _way_back(self, release: Release, request: Request, *, validated: bool) -> tuple[Work, UUID | None]:
        way = find_way(self.site, self.journal, release, request.options, validated=validated)
        work = replace(
            self._work(release, way.bad, request),
            slot=way.slot,
            steps=way.steps,
            traffic=(TrafficStep(100, 0.0),),
            back=True,
        )
        return work, way.closes.id if way.closes else None

    def _work(self, release: Release, stable: Release | None, request: Request) -> Work:
        serving = self.site.traffic.serving()
        steps = ["preflight"]
        if request.backup and stable is not None:
            steps.append("backup")
        if request.migrate or stable is None:  # an empty machine has no old release to break
            steps.append("migrate")
        steps += ["stage", "verify", "shift"]
        if stable is not None:
            steps.append("watch")
        steps.append("finish")
        return Work(
            site=self.site,
            journal=self.journal,
            rollout=NO_ROLLOUT,
            release=release,
            stable=stable,
            slot=other(serving) if stable is not None else serving,
            steps=tuple(steps),
            traffic=self.site.environment.traffic,
            back=False,
            options=request.options,
            say=self.say,
            guard=self._guard,
        )

    def _open(self) -> tuple[Rollout, Work]:
        """The open rollout as the journal tells it."""
        environment = self.site.environment.name
        rollout = self.journal.open_rollout(environment)
        if rollout is None or rollout.target is None:
            raise NothingOpenError(environment=environment)
        planned = rollout.note(PLAN)
        plan: Mapping[str, Any] = (
            planned.data if planned else {"slot": "blue", "steps": [], "options": {}, "back": False}
        )
        slot: Slot = "green" if plan["slot"] == "green" else "blue"
        return rollout, Work(
            site=self.site,
            journal=self.journal,
            rollout=rollout.id,
            release=self.site.release(rollout.target),
            stable=self.site.release(rollout.source) if rollout.source else None,
            slot=slot,
            steps=tuple(plan["steps"]),
            traffic=(TrafficStep(100, 0.0),) if plan["back"] else self.site.environment.traffic,
            back=plan["back"],
            options=Options(**plan["options"]),
            say=self.say,
            guard=self._guard,
        )

    def _advance(self, work: Work) -> Outlook:
        """Do the steps that are not done; stop where the window is open, or take all back on failure."""
        for name in work.steps:
            rollout = self.journal.rollout(work.rollout)
            if rollout.done(name):
                continue
            if name == Watch.name and (found := self._watch(work)):
                return Outlook(work.release, window=found)
            self._do(work, name)
        self.journal.end(work.rollout, Outcome.COMPLETED)
        self.say(f"{work.release.id} serves {self.site.environment.name}")
        return Outlook(work.release)

    def _do(self, work: Work, name: str) -> None:
        try:
            with interruptible(), self._journalled(work, name) as evidence:
                evidence.update(STEPS[name].do(work))
        except BaseException as error:
            if name == Finish.name:
                raise  # it is accepted; what is left to clear away is done by `resume`
            if work.back:
                raise self._failed_back(work, name, error) from error
            self._take_back(work, cause_of(error))
            self._keep_supervised(work)
            if not isinstance(error, RolloutError):
                raise
            if work.stable is None:
                raise FirstDeploymentError(cause=error.sentence, next=error.hint) from error
            raise RolledBackError(cause=error.sentence, next=error.hint, stable=work.stable.id) from error

    def _keep_supervised(self, work: Work) -> None:
        """What ended the rollout may have ended the supervisor: the release that serves needs one."""
        if work.stable is not None:
            self._in_passing(self.site.ensure)

    def _in_passing(self, tidy: Callable[[], None]) -> None:
        """Put something right after a failure, of which the cause is what the operator has to hear."""
        try:
            tidy()
        except RolloutError as error:
            self.say(f"{error.sentence} {error.hint}")

    def _failed_back(self, work: Work, name: str, error: BaseException) -> BaseException:
        """A rollback is not taken back: it is said loudly, and stays to be run again."""
        if not isinstance(error, Exception):
            return error  # interrupted: `resume` goes on
        self._unstage(work)
        self.journal.end(work.rollout, Outcome.FAILED, f"{name}: {error}")
        return RollbackFailedError(
            reason=f"{name}: {error}", release=work.release.id, environment=self.site.environment.name
        )

    def _unstage(self, work: Work) -> None:
        """What a rollback started and never gave traffic to would look verified to the next one."""
        started = self.journal.rollout(work.rollout).last(Stage.name) is not None
        if started and self.site.traffic.serving() != work.slot:
            self._in_passing(lambda: STEPS[Stage.name].undo(work))

    @contextmanager
    def _journalled(self, work: Work, name: str) -> Iterator[dict[str, object]]:
        if name == Watch.name:  # its intent was the opening of the window
            evidence: dict[str, object] = {}
            yield evidence
            self.journal.settle(work.rollout, name, StepOutcome.DONE, **evidence)
        else:
            with self.journal.step(work.rollout, name) as evidence:
                yield evidence

    def _watch(self, work: Work) -> Window | None:
        """Open the window unless it is; None when it is over."""
        found = window(self.journal.rollout(work.rollout))
        if found is None:
            seconds = window_seconds(self.site.environment)
            self.journal.intend(work.rollout, Watch.name, seconds=seconds, **mark(self.site.clock))
            found = window(self.journal.rollout(work.rollout))
            assert found is not None
        return found if found.left(self.site.clock.instant()) > 0 else None

    def _take_back(self, work: Work, cause: object) -> None:
        """Undo the steps that were begun, newest first. Raises `RollbackFailedError` if one cannot be."""
        with shielded():
            self.say(f"taking {work.release.id} back: {cause}")
            work.note(UNDOING, cause=str(cause))
            rollout = self.journal.rollout(work.rollout)
            for name in reversed(work.steps):
                step = rollout.last(name)
                if step is None or step.outcome is StepOutcome.UNDONE:
                    continue
                try:
                    STEPS[name].undo(work)
                except Exception as error:
                    self.journal.end(work.rollout, Outcome.FAILED, f"{cause} / undoing {name}: {error}")
                    raise RollbackFailedError(
                        reason=f"undoing {name}: {error} (it was to be taken back because: {cause})",
                        release=work.stable.id if work.stable else "previous",
                        environment=self.site.environment.name,
                    ) from error
                self.journal.settle(work.rollout, name, StepOutcome.UNDONE)
            if work.stable is None:
                self.site.shut_down()  # there is nothing to serve
            outcome = Outcome.ROLLED_BACK if work.stable is not None else Outcome.FAILED
            self.journal.end(work.rollout, outcome, str(cause))


def _decided(rollout: Rollout, work: Work) -> str:
    """Why an open rollout cannot be taken back any more; empty if it can."""
    if work.back:
        return f"a rollback is not taken back, and this one goes to {work.release.id}"
    if rollout.done(Watch.name) and not undoing(rollout):
        return f"{work.release.id} was accepted, and is left by `rollout rollback --to previous`"
    return ""


def undoing(rollout: Rollout) -> bool:
    """Whether its undoing has begun: then there is no way but back."""
    return rollout.note(UNDOING) is not None


def candidate_is_alive(work: Work) -> None:
    """The least a guard asks: the candidate runs and says that it is well."""
    work.site.processes.require_running(work.slot)


def operator() -> str:
    """Who is at work: user@host."""
    return f"{getpass.getuser()}@{platform.node()}"


def in_words(seconds: float) -> str:
    """A time left, for people."""
    whole = math.ceil(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def cause_of(error: BaseException) -> str:
    """One sentence for the journal."""
    if isinstance(error, RolloutError):
        return error.sentence
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted by the operator."
    return str(error) or type(error).__name__
