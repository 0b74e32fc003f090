"""`rollout down`: stop everything of an environment; its data stays."""

from guarded_rollout.cli.app import Force, app
from guarded_rollout.cli.session import Session, with_session
from guarded_rollout.host.slots import SLOTS


@app.command(epilog="Example: rollout down --env development")
@with_session(log="deploy")
def down(work: Session, force: Force = False) -> None:
    """Drain and stop the releases, the proxy and the supervisor. `rollout up` starts what served again."""
    standing = [release.id for slot in SLOTS if (release := work.site.slots.release(slot))]
    if work.dry_run:
        work.out.rehearse(
            f"stop {', '.join(standing) or 'nothing'}, the proxy and the supervisor of {work.env}"
        )
        return
    if standing:
        work.confirm(f"Stop {work.env}?", "yes", force=force)
    work.site.shut_down()
    work.out.say(f"{work.env} is stopped; its data is in {work.environment.data}.")
    work.out.result(environment=work.env, stopped=standing)
