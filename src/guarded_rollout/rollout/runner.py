"""Runs a rollout's steps: journals each before and after, and undoes them, the newest first, when one fails.

Whatever a step is interrupted by, the journal says what was begun, and every step can be done twice and
undone from any state. So after kill -9 a rollout is either gone on with or taken back.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from guarded_rollout.errors import FirstDeploymentError, RollbackFailedError, RolledBackError, RolloutError
from guarded_rollout.host.release import Release
from guarded_rollout.interrupts import interruptible, shielded
from guarded_rollout.journal.model import UNDOING, Rollout, RolloutOutcome, StepOutcome
from guarded_rollout.rollout.steps import STEPS
from guarded_rollout.rollout.steps.base import Work
from guarded_rollout.rollout.steps.finish import Finish
from guarded_rollout.rollout.steps.stage import StageRelease
from guarded_rollout.rollout.window import WATCH, Window, mark, window, window_seconds


@dataclass(frozen=True, slots=True)
class DeployResult:
    """Where a rollout stands when the engine returns. `window` is open if someone must watch it."""

    release: Release
    serving_already: bool = False
    window: Window | None = None


def advance(work: Work) -> DeployResult:
    """Do the steps that are not done; stop where the window is open, or take all back on failure."""
    for name in work.steps:
        rollout = work.journal.rollout(work.rollout)
        if rollout.done(name):
            continue
        if name == WATCH and (found := _watch(work)):
            return DeployResult(work.incoming, window=found)
        _do(work, name)
    work.journal.end(work.rollout, RolloutOutcome.COMPLETED)
    work.say(f"{work.incoming.id} serves {work.site.environment.name}")
    return DeployResult(work.incoming)


def _do(work: Work, name: str) -> None:
    try:
        with interruptible(), _journalled(work, name) as evidence:
            evidence.update(STEPS[name].do(work))
    except BaseException as error:
        if name == Finish.name:
            raise  # it is accepted; what is left to clear away is done by `resume`
        if work.is_rollback:
            raise _failed_back(work, name, error) from error
        take_back(work, cause_of(error))
        _keep_supervised(work)
        if not isinstance(error, RolloutError):
            raise
        if work.outgoing is None:
            raise FirstDeploymentError(cause=error.sentence, next=error.hint) from error
        raise RolledBackError(cause=error.sentence, next=error.hint, stable=work.outgoing.id) from error


def _keep_supervised(work: Work) -> None:
    """What ended the rollout may have ended the supervisor: the release that serves needs one."""
    if work.outgoing is not None:
        _in_passing(work, work.site.ensure)


def _in_passing(work: Work, tidy: Callable[[], None]) -> None:
    """Put something right after a failure, of which the cause is what the operator has to hear."""
    try:
        tidy()
    except RolloutError as error:
        work.say(f"{error.sentence} {error.hint}")


def _failed_back(work: Work, name: str, error: BaseException) -> BaseException:
    """A rollback is not taken back: it is said loudly, and stays to be run again."""
    if not isinstance(error, Exception):
        return error  # interrupted: `resume` goes on
    _unstage(work)
    work.journal.end(work.rollout, RolloutOutcome.FAILED, f"{name}: {error}")
    return RollbackFailedError(
        reason=f"{name}: {error}", release=work.incoming.id, environment=work.site.environment.name
    )


def _unstage(work: Work) -> None:
    """What a rollback started and never gave traffic to would look verified to the next one."""
    started = work.journal.rollout(work.rollout).last(StageRelease.name) is not None
    if started and work.site.traffic.serving() != work.slot:
        _in_passing(work, lambda: STEPS[StageRelease.name].undo(work))


@contextmanager
def _journalled(work: Work, name: str) -> Iterator[dict[str, object]]:
    if name == WATCH:  # its intent was the opening of the window
        evidence: dict[str, object] = {}
        yield evidence
        work.journal.settle(work.rollout, name, StepOutcome.DONE, **evidence)
    else:
        with work.journal.step(work.rollout, name) as evidence:
            yield evidence


def _watch(work: Work) -> Window | None:
    """Open the window unless it is; None when it is over."""
    found = window(work.journal.rollout(work.rollout))
    if found is None:
        seconds = window_seconds(work.site.environment)
        work.journal.intend(work.rollout, WATCH, seconds=seconds, **mark(work.site.clock))
        found = window(work.journal.rollout(work.rollout))
        assert found is not None
    return found if found.left(work.site.clock.instant()) > 0 else None


def take_back(work: Work, cause: object) -> None:
    """Undo the steps that were begun, newest first. Raises `RollbackFailedError` if one cannot be."""
    with shielded():
        work.say(f"taking {work.incoming.id} back: {cause}")
        work.note(UNDOING, cause=str(cause))
        rollout = work.journal.rollout(work.rollout)
        for name in reversed(work.steps):
            step = rollout.last(name)
            if step is None or step.outcome is StepOutcome.UNDONE:
                continue
            try:
                STEPS[name].undo(work)
            except Exception as error:
                work.journal.end(work.rollout, RolloutOutcome.FAILED, f"{cause} / undoing {name}: {error}")
                raise RollbackFailedError(
                    reason=f"undoing {name}: {error} (it was to be taken back because: {cause})",
                    release=work.outgoing.id if work.outgoing else "previous",
                    environment=work.site.environment.name,
                ) from error
            work.journal.settle(work.rollout, name, StepOutcome.UNDONE)
        if work.outgoing is None:
            work.site.shut_down()  # there is nothing to serve
        outcome = RolloutOutcome.ROLLED_BACK if work.outgoing is not None else RolloutOutcome.FAILED
        work.journal.end(work.rollout, outcome, str(cause))


def decided(rollout: Rollout, work: Work) -> str:
    """Why an open rollout cannot be taken back any more; empty if it can."""
    if work.is_rollback:
        return f"a rollback is not taken back, and this one goes to {work.incoming.id}"
    if rollout.done(WATCH) and not rollout.undoing:
        return f"{work.incoming.id} was accepted, and is left by `rollout rollback --to previous`"
    return ""


def cause_of(error: BaseException) -> str:
    """One sentence for the journal."""
    if isinstance(error, RolloutError):
        return error.sentence
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted by the operator."
    return str(error) or type(error).__name__
