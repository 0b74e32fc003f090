"""`rollout ack`: acknowledge the open incidents, which ends their escalation."""

from typing import Annotated

import typer

from guarded_rollout.cli.app import AsJson, DryRun, Env, Verbose, app
from guarded_rollout.cli.session import configured
from guarded_rollout.clock import SystemClock
from guarded_rollout.notify.events import Facts, Kind, event
from guarded_rollout.notify.notifier import Notifier
from guarded_rollout.rollout.engine import operator


@app.command(epilog='Example: rollout ack --env production --note "looking at the extraction failures"')
def ack(
    env: Env = "production",
    note: Annotated[str, typer.Option(help="What you are doing about it; sent to the others.")] = "",
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Acknowledge every open incident of an environment. Its end is still notified."""
    with configured(env, as_json=as_json, verbose=verbose) as (environment, out):
        facts = Facts(operator=operator(), reason=note) if note else Facts(operator=operator())
        taken = event(Kind.ACKNOWLEDGED, env, SystemClock().now(), **facts)
        with Notifier.of(environment) as notifier:
            if dry_run:
                keys = tuple(one.key for one in notifier.outbox.incidents() if not one.acknowledged)
                out.rehearse(f"would acknowledge {', '.join(keys) or 'nothing'}")
            else:
                keys = notifier.acknowledge(taken)
                out.say(f"Acknowledged: {', '.join(keys)}." if keys else f"Nothing is open in {env}.")
        out.result(environment=env, acknowledged=keys)
