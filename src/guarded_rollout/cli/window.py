"""`rollout resume`, `pause`, `promote` and `abort`: what an operator does about an open rollout."""

from guarded_rollout.cli.app import AsJson, DryRun, Env, Verbose, Why, app
from guarded_rollout.cli.session import Session, configured, session, settings_file, with_session
from guarded_rollout.clock import SystemClock, duration
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.monitor.heartbeat import watched_by_another
from guarded_rollout.monitor.supervised import start_watching, stop_watching
from guarded_rollout.rollout.draining import Draining
from guarded_rollout.rollout.engine import operator
from guarded_rollout.rollout.stopping import Stopped, stop_owner
from guarded_rollout.rollout.window import accepted


@app.command(epilog="Example: rollout resume --env production")
@with_session(log="deploy")
def resume(work: Session) -> None:
    """Continue a rollout that a crash interrupted, or a window that was paused."""
    engine = work.engine(guarded=True)
    if work.dry_run:
        work.out.rehearse(*engine.rehearse_resume())
        return
    result = engine.resume()
    left = result.window.left(work.site.clock.instant()) if result.window else 0.0
    if result.window:
        if not watched_by_another(work.environment, engine.require_open().id, work.site.clock.instant()):
            start_watching(work.site, settings_file())
        work.out.say(f"{result.release.id} is watched for another {duration(left)}.")
    leave_draining(work, result.draining)
    work.out.result(environment=work.env, release=result.release.id, window_seconds_left=round(left))


@app.command(epilog="Example: rollout pause --env production")
@with_session()
def pause(work: Session) -> None:
    """Pause the window's clock; `rollout resume` continues it."""
    engine = work.engine()
    rollout = engine.require_open()
    if work.dry_run:
        work.out.rehearse(f"pause the window of {rollout.target}")
        return
    left = engine.pause().left(work.site.clock.instant())
    work.out.say(f"The window of {rollout.target} is paused with {duration(left)} left.")
    work.out.result(environment=work.env, release=rollout.target, window_seconds_left=round(left))


@app.command(epilog="Example: rollout promote --env production")
@with_session(log="deploy")
def promote(work: Session) -> None:
    """Accept the release that is being watched now, and stop the old one."""
    engine = work.engine()
    rollout = engine.require_open()
    if work.dry_run:
        work.out.rehearse(*engine.rehearse_resume())
        return
    stop_watching(work.site)
    left = engine.promote().draining
    leave_draining(work, left)
    work.out.result(
        environment=work.env,
        release=rollout.target,
        outcome="accepted" if left else "completed",
        in_flight=left.in_flight.total if left else 0,
    )


def leave_draining(work: Session, left: Draining | None) -> None:
    """Have the rest of an accepted rollout done in the background, once the old release has answered."""
    rollout = work.journal.open_rollout(work.env)
    if left is None or rollout is None:
        return
    start_watching(work.site, settings_file(), stand_by=True)
    until = f"; it is stopped then, or in {duration(left.left)}"
    work.out.say(f"{rollout.target} was accepted. {rollout.source} still answers {left.in_flight}{until}.")


@app.command(epilog='Example: rollout abort --env production --why "users see wrong matches"')
def abort(
    env: Env = "production",
    why: Why = "aborted by the operator",
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Take the open rollout back: traffic first, then the rest. An interrupted rollback is resumed.

    Another process that is verifying or shifting is asked to take its rollout back, and watched doing it.
    """
    stopped: Stopped | None = None
    if not dry_run:
        with configured(env, as_json=as_json, verbose=verbose) as (environment, out):
            stopped = stop_owner(environment, SystemClock(), out.say, by=operator(), why=why)
    with session(env, "abort", as_json=as_json, verbose=verbose, dry_run=dry_run, log="deploy") as work:
        _abort(work, why, stopped)


def _abort(work: Session, why: str, stopped: Stopped | None) -> None:
    """Take back what is open and nobody works on any more."""
    engine = work.engine()
    if work.dry_run:
        work.out.rehearse(*engine.rehearse_abort())
        return
    if stopped is not None and stopped.rollout is not None and not stopped.rollout.open:
        ended = stopped.rollout
    elif stopped is not None and work.journal.open_rollout(work.env) is None:
        work.out.say(f"`{stopped.command}` was stopped before it had changed anything.")
        work.out.result(environment=work.env, stopped=stopped.command)
        return
    else:
        ended = engine.abort(why)
    stop_watching(work.site)
    if accepted(ended) and ended.open:
        start_watching(work.site, settings_file(), stand_by=True)
    serves = ended.target if accepted(ended) or ended.outcome is RolloutOutcome.COMPLETED else ended.source
    work.out.say(f"{serves or 'Nothing'} serves {work.env}.")
    work.out.result(environment=work.env, release=serves, outcome=ended.outcome)
