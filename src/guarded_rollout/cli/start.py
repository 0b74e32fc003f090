"""`rollout start`: after a reboot, start what served; nothing is built or deployed."""

from guarded_rollout.cli.app import app
from guarded_rollout.cli.session import Session, settings_file, with_session
from guarded_rollout.host.slots import SLOTS
from guarded_rollout.monitor.supervised import start_watching
from guarded_rollout.rollout.window import accepted, window


@app.command(epilog="Example: rollout start --env production")
@with_session()
def start(work: Session) -> None:
    """Start the supervisor, the proxy and the releases that should run and do not. Deploys nothing.

    A certificate whose files were renewed is read, without a request that fails: call it after renewing.
    """
    standing = [release.id for slot in SLOTS if (release := work.site.slots.release(slot))]
    if not standing:
        work.site.require_serving()
    if work.dry_run:
        work.out.rehearse(f"start {', '.join(standing)} behind the proxy, unless they run")
        return
    work.site.ensure()
    if (rollout := work.journal.open_rollout(work.env)) is not None:
        start_watching(work.site, settings_file(), stand_by=window(rollout) is None or accepted(rollout))
    serving = work.site.require_serving()
    renewed = work.site.traffic.renew_certificate()
    if renewed:
        work.out.say(f"The renewed certificate of {work.environment.tls.domain} is shown.")
    work.out.say(f"{serving.id} serves {work.env} on port {work.environment.port}.")
    work.out.result(environment=work.env, release=serving.id, standing=standing, renewed_certificate=renewed)
