"""`rollout verify BACKUP`: check an archive without restoring it."""

from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.backup import copies
from guarded_rollout.backup.verify import Verified
from guarded_rollout.backup.verify import verify as verify_archive
from guarded_rollout.checks.restore_rehearsal import rehearse_restore
from guarded_rollout.cli.app import AsJson, DryRun, Env, Verbose, app
from guarded_rollout.cli.session import Session, session
from guarded_rollout.files import scratch_folder


@app.command(epilog="Example: rollout verify backups/dhash_production_20260601_120000.zip --deep")
def verify(
    backup: Annotated[
        Path, typer.Argument(help="The archive, its .sha256 beside it; or restic:ID, a copy at a target.")
    ],
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also restore it aside, start it, and ask it for the checks that it declares."
        ),
    ] = False,
    env: Env = "production",
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Check an archive without restoring it: checksum, signature, manifest, every file, the snapshot.

    Of a copy all of the target's repository is read.
    """
    with session(env, "verify", as_json=as_json, verbose=verbose, read_only=True) as work:
        if dry_run:
            work.out.rehearse(f"read all of {backup}" + ", and start it aside" * deep)
            return
        if copies.is_reference(backup):
            repository, _ = copies.locate(work.environment, backup)
            repository.check()
            work.out.detail(f"  ok: all data of {repository.target.name} is as it was written")
            with scratch_folder("rollout-verify-") as scratch:
                found = _examined(work, copies.fetch(work.environment, backup, scratch), deep=deep)
        else:
            found = _examined(work, backup, deep=deep)
        for check in found.checks:
            work.out.detail(f"  ok: {check}")
        manifest = found.manifest
        work.out.say(
            f"{backup} is whole: {manifest.environment}, release {manifest.release}, "
            f"schema {manifest.schema_revision or 'none'}, taken {manifest.created_at:%F %T} UTC"
        )
        work.out.result(
            backup=str(backup),
            sha256=found.sha256,
            environment=manifest.environment,
            release=manifest.release,
            schema_revision=manifest.schema_revision,
            created_at=manifest.created_at.isoformat(),
            checks=found.checks,
        )


def _examined(work: Session, backup: Path, *, deep: bool) -> Verified:
    if deep:
        return rehearse_restore(backup, work.site)
    signers = work.environment.allowed_signers
    return verify_archive(backup, allowed_signers=signers, originals_too=True)
