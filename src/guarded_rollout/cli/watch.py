"""`rollout watch`: keep the time of an open window; what `rollout up` leaves in the background."""

import os
import sys
from functools import partial

import typer

from guarded_rollout.cli.app import Env, app, session, settings_file
from guarded_rollout.host.processes import WATCHER, Spec
from guarded_rollout.host.site import Site, base_variables
from guarded_rollout.lock import hold
from guarded_rollout.record import Outcome
from guarded_rollout.rollout import Engine
from guarded_rollout.watch.keeper import keep

SUPERVISED = "ROLLOUT_SUPERVISED"


@app.command(hidden=True, epilog="Example: rollout watch --env production")
def watch(env: Env = "production") -> None:
    """Watch the open rollout until it is accepted or taken back."""
    with session(env, "watch", exclusive=False) as work:
        engine = Engine(work.site, work.journal, work.out.say)
        exclusively = partial(hold, work.environment.lock, environment=env, command="rollout watch")
        ended = keep(engine, exclusively)
        if ended is not None:
            work.out.say(f"{ended.target}: {ended.outcome} {ended.reason}".rstrip())
        work.site.processes.forget(WATCHER)  # nothing is left to watch: not started again
    if ended is not None and ended.outcome is not Outcome.COMPLETED and not supervised():
        raise typer.Exit(2)


def stop_watching(site: Site) -> None:
    """Take the watcher away, before something is done to what it watches."""
    site.processes.stop(WATCHER)


def supervised() -> bool:
    """Whether the supervisor started this process: it takes any code but 0 for a crash."""
    return SUPERVISED in os.environ


def start_watching(site: Site) -> None:
    """Leave a watcher with the supervisor."""
    site.processes.start(
        WATCHER,
        Spec(
            command=[sys.executable, "-m", "guarded_rollout.cli", "watch", "--env", site.environment.name],
            environment=base_variables() | {"ROLLOUT_TOML": str(settings_file()), SUPERVISED: "1"},
            folder=str(site.environment.project),
            drain_seconds=60,
        ),
    )
