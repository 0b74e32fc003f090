"""`rollout resume`, `pause`, `promote` and `abort`: what an operator does about an open rollout."""

from guarded_rollout.cli.app import Why, app
from guarded_rollout.cli.session import Session, settings_file, with_session
from guarded_rollout.clock import duration
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.monitor.supervised import start_watching, stop_watching


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
        start_watching(work.site, settings_file())
        work.out.say(f"{result.release.id} is watched for another {duration(left)}.")
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
    engine.promote()
    work.out.result(environment=work.env, release=rollout.target, outcome="completed")


@app.command(epilog='Example: rollout abort --env production --why "users see wrong matches"')
@with_session(log="deploy")
def abort(work: Session, why: Why = "aborted by the operator") -> None:
    """Take the open rollout back: traffic first, then the rest. An interrupted rollback is resumed."""
    engine = work.engine()
    if work.dry_run:
        work.out.rehearse(*engine.rehearse_abort())
        return
    ended = engine.abort(why)
    stop_watching(work.site)
    serves = ended.target if ended.outcome is RolloutOutcome.COMPLETED else ended.source
    work.out.say(f"{serves or 'Nothing'} serves {work.env}.")
    work.out.result(environment=work.env, release=serves, outcome=ended.outcome)
