"""`rollout down`: stop everything of an environment; its data stays."""

from guarded_rollout.cli.app import AsJson, DryRun, Env, Force, Verbose, app
from guarded_rollout.cli.session import session
from guarded_rollout.host.slots import SLOTS


@app.command(epilog="Example: rollout down --env development")
def down(
    env: Env = "production",
    force: Force = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Drain and stop the releases, the proxy and the supervisor. `rollout up` starts what served again."""
    with session(env, "down", as_json=as_json, verbose=verbose, exclusive=not dry_run, log="deploy") as work:
        standing = [release.id for slot in SLOTS if (release := work.site.slots.release(slot))]
        if dry_run:
            work.out.rehearse(
                f"stop {', '.join(standing) or 'nothing'}, the proxy and the supervisor of {env}"
            )
            return
        if standing:
            work.confirm(f"Stop {env}?", "yes", force=force)
        work.site.shut_down()
        work.out.say(f"{env} is stopped; its data is in {work.environment.data}.")
        work.out.result(environment=env, stopped=standing)
