"""`rollout start`: after a reboot, start what served; nothing is built or deployed."""

from guarded_rollout.cli.app import AsJson, DryRun, Env, Verbose, app
from guarded_rollout.cli.session import session
from guarded_rollout.host.slots import SLOTS


@app.command(epilog="Example: rollout start --env production")
def start(
    env: Env = "production", dry_run: DryRun = False, verbose: Verbose = False, as_json: AsJson = False
) -> None:
    """Start the supervisor, the proxy and the releases that should run and do not. Deploys nothing."""
    with session(env, "start", as_json=as_json, verbose=verbose, exclusive=not dry_run) as work:
        standing = [release.id for slot in SLOTS if (release := work.site.slots.release(slot))]
        if not standing:
            work.site.require_serving()
        if dry_run:
            work.out.rehearse(f"start {', '.join(standing)} behind the proxy, unless they run")
            return
        work.site.ensure()
        serving = work.site.require_serving()
        work.out.say(f"{serving.id} serves {env} on port {work.environment.port}.")
        work.out.result(environment=env, release=serving.id, standing=standing)
