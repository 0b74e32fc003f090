"""`rollout wait`: until the open rollout has ended, whoever does it."""

from typing import Annotated

import typer

from guarded_rollout.cli.app import AsJson, Env, Verbose, app
from guarded_rollout.cli.session import Session, session
from guarded_rollout.clock import duration
from guarded_rollout.errors import NotOverError, StuckError
from guarded_rollout.interrupts import interruptible
from guarded_rollout.journal.model import Rollout, RolloutOutcome
from guarded_rollout.monitor.heartbeat import MISSED_SECONDS
from guarded_rollout.status.snapshot import Phase, Reader, Snapshot

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 5.0
"""Between a deployment and its watcher, or a watcher and who finishes, nobody is at work for a moment."""
ROLLED_BACK = 2


@app.command(epilog="Example: rollout wait --env production --timeout 5400 --json")
def wait(
    env: Env = "production",
    timeout: Annotated[float, typer.Option(min=0.0, help="Seconds to wait at most; 0: no limit.")] = 0.0,
    release: Annotated[
        str, typer.Option(help="What should serve then, by its whole id: it may have been taken back before.")
    ] = "",
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Wait until the open rollout has ended. Changes nothing; Ctrl-C stops the waiting alone.

    Exit codes: 0 accepted, or none was open; 2 rolled back, or --release does not serve; 1 it does not go on,
    or the time is over.
    """
    wait_for_end(env, timeout=timeout, release=release, verbose=verbose, as_json=as_json)


def wait_for_end(
    env: str, *, timeout: float = 0.0, release: str = "", verbose: bool = False, as_json: bool = False
) -> None:
    """Wait, and end with the exit code that says how the rollout ended. Raises `typer.Exit`."""
    with session(env, "wait", as_json=as_json, verbose=verbose, read_only=True) as work:
        with interruptible():
            rollout, serving = _wait(work, timeout)
        if rollout is None and release not in ("", serving):
            ended = (one for one in work.journal.deployments(env) if one.target == release)
            rollout = next(ended, None)
        outcome, reason = (rollout.outcome, rollout.reason) if rollout else (None, "")
        work.out.say(_sentence(env, serving, rollout))
        work.out.result(environment=env, release=serving, outcome=outcome, reason=reason)
    if outcome not in (None, RolloutOutcome.COMPLETED) or release not in ("", serving):
        raise typer.Exit(ROLLED_BACK)


def _wait(work: Session, timeout: float) -> tuple[Rollout | None, str | None]:
    """The rollout that was waited for, as it ended (None if none was open), and the release that serves.

    Raises `StuckError`, `NotOverError`.
    """
    reader, clock, waited = Reader(work.environment, work.site.clock), work.site.clock, None
    begun = moved = clock.monotonic()
    try:
        while (seen := reader.read()).rollout is not None or seen.at_work is not None:
            if waited is None and seen.rollout is not None:  # its rollback, a rollout too, is only waited for
                waited = seen.rollout
                work.out.say(f"Waiting for {waited.target}, rolled out by {waited.operator}")
            problem, now = standstill(seen), clock.monotonic()
            moved = moved if problem else now
            if waited is not None and now - moved >= PATIENCE_SECONDS:
                raise StuckError(target=waited.target, environment=work.env, problem=problem)
            if timeout and now - begun >= timeout:
                target = waited.target if waited else "the next release"
                raise NotOverError(target=target, environment=work.env, seconds=duration(timeout))
            clock.sleep(POLL_SECONDS)
    finally:
        reader.close()
    return work.journal.rollout(waited.id) if waited else None, seen.serving


def standstill(seen: Snapshot) -> str:
    """Say why an open rollout does not go on by itself; empty if it does. Pure."""
    if seen.rollout is None or seen.at_work is not None:
        return ""
    if seen.phase is Phase.INTERRUPTED:
        return "it was interrupted"
    if seen.phase in (Phase.WATCHING, Phase.CLOSING) and seen.unwatched_seconds >= MISSED_SECONDS:
        return f"nobody has watched it for {duration(seen.unwatched_seconds)}"
    return ""


def _sentence(env: str, serving: str | None, rollout: Rollout | None) -> str:
    """Say what serves, and how the rollout ended."""
    if rollout is None:
        return f"{serving or 'Nothing'} serves {env}."
    ended = "accepted" if rollout.outcome is RolloutOutcome.COMPLETED else f"taken back: {rollout.reason}"
    return f"{serving or 'Nothing'} serves {env}; {rollout.target} was {ended.rstrip('.')}."
