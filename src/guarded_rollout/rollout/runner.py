"""Runs a rollout's steps: journals each before and after, and undoes them, the newest first, when one fails.

However a step is interrupted, the journal says what was begun, and every step can be done twice and
undone from any state. So after kill -9 a rollout is either resumed or taken back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from guarded_rollout.errors import FirstDeploymentError, RollbackFailedError, RolledBackError, RolloutError
from guarded_rollout.host.release import Release
from guarded_rollout.interrupts import interruptible, shielded
from guarded_rollout.journal.model import INTERRUPTED, UNDOING, Rollout, RolloutOutcome, StepOutcome
from guarded_rollout.lock import StopRequest, stop_request
from guarded_rollout.rollout.draining import Draining
from guarded_rollout.rollout.steps.base import RolloutStep, Work
from guarded_rollout.rollout.steps.migrate import require_works
from guarded_rollout.rollout.steps.quarantine import Quarantine
from guarded_rollout.rollout.window import Window, accepted

TOUCHING = ("migrate", "shift")
"""The steps after which the release that serves may not work as before."""


@dataclass(frozen=True, slots=True)
class DeployResult:
    """A rollout as the engine leaves it. `window` is open if someone must watch it.

    `draining` is what the old release of an accepted one still answers: someone must come back for it.
    """

    release: Release
    serving_already: bool = False
    window: Window | None = None
    draining: Draining | None = None


def advance(work: Work) -> DeployResult:
    """Do the steps that are not done; stop where somebody has to watch or wait, take all back on failure."""
    for step in work.steps:
        if work.journal.rollout(work.rollout).done(step.name):
            continue
        if (window := step.open_window(work)) is not None:
            return DeployResult(work.incoming, window=window)
        if (draining := step.drain(work)) is not None:
            return DeployResult(work.incoming, draining=draining)
        _do(work, step)
    work.journal.end(work.rollout, RolloutOutcome.COMPLETED)
    work.say(f"{work.incoming.id} serves {work.site.environment.name}")
    return DeployResult(work.incoming)


def _do(work: Work, step: RolloutStep) -> None:
    try:
        with interruptible(), step.recorded(work) as evidence:
            evidence.update(step.do(work))
    except BaseException as error:
        if not step.undoes_on_failure:
            raise
        if work.is_rollback:
            raise _failed_rollback(work, step, error) from error
        take_back(work, cause_of(error, stop_request(work.site.environment.lock)))
        if work.outgoing is not None:  # what ended the rollout may have ended the supervisor as well
            _tidy(work, work.site.ensure)
        if not isinstance(error, RolloutError):
            raise
        if work.outgoing is None:
            raise FirstDeploymentError(cause=error.sentence, next=error.hint) from error
        raise RolledBackError(cause=error.sentence, next=error.hint, stable=work.outgoing.id) from error


def _tidy(work: Work, tidy: Callable[[], None]) -> None:
    """Put something right after a failure; the operator has to hear of that failure's own cause."""
    try:
        tidy()
    except RolloutError as error:
        work.say(f"{error.sentence} {error.hint}")


def _failed_rollback(work: Work, step: RolloutStep, error: BaseException) -> BaseException:
    """A rollback is not taken back: it fails loudly, and stays to be run again."""
    if not isinstance(error, Exception):
        return error  # interrupted: `resume` takes it up
    rollout = work.journal.rollout(work.rollout)
    for begun in work.steps:
        if rollout.last(begun.name) is not None:
            _tidy(work, partial(begun.abandon, work))
    reason = f"{step.name}: {error}"
    work.journal.end(work.rollout, RolloutOutcome.FAILED, reason)
    return RollbackFailedError(
        reason=reason, release=work.incoming.id, environment=work.site.environment.name
    )


def take_back(work: Work, cause: object) -> None:
    """Undo the steps that were begun, newest first. Raises `RollbackFailedError` if one cannot be."""
    with shielded():
        work.say(f"taking {work.incoming.id} back: {cause}")
        work.note(UNDOING, cause=str(cause))
        rollout = work.journal.rollout(work.rollout)
        for step in reversed(work.steps):
            name, run = step.name, rollout.last(step.name)
            if run is None or run.outcome is StepOutcome.UNDONE:
                continue
            try:
                step.undo(work)
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
        elif any(rollout.last(name) is not None for name in TOUCHING):
            _require_stable_works(work, work.outgoing, cause)
        Quarantine().after_undoing(work, str(cause))
        outcome = RolloutOutcome.ROLLED_BACK if work.outgoing is not None else RolloutOutcome.FAILED
        work.journal.end(work.rollout, outcome, str(cause))


def _require_stable_works(work: Work, stable: Release, cause: object) -> None:
    """Clients are served as before: told by their own port, not by what was undone.

    Raises `RollbackFailedError`.
    """
    _tidy(work, work.site.ensure)  # what ended the rollout may have ended the supervisor as well
    try:
        require_works(work, stable, work.incoming)
    except RolloutError as error:
        reason = f"{error.sentence} ({work.incoming.id} was taken back because: {cause})"
        work.journal.end(work.rollout, RolloutOutcome.FAILED, reason)
        environment = work.site.environment.name
        raise RollbackFailedError(reason=reason, release=stable.id, environment=environment) from error


def decided(rollout: Rollout, work: Work) -> str:
    """Say why an open rollout cannot be taken back any more; empty if it can."""
    if work.is_rollback:
        return f"a rollback is not taken back, and this one goes to {work.incoming.id}"
    if accepted(rollout):
        return f"{work.incoming.id} was accepted, and is left by `rollout rollback --to previous`"
    return ""


def cause_of(error: BaseException, asked: StopRequest | None = None) -> str:
    """Say in one sentence for the journal why a rollout ended."""
    if isinstance(error, RolloutError):
        return error.sentence
    if isinstance(error, KeyboardInterrupt):
        return f"{asked.why} (asked by {asked.by})" if asked else f"{INTERRUPTED} by the operator."
    return str(error) or type(error).__name__
