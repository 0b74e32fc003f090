"""`rollout rollback`: return to a backup, or to a release."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.backup import copies
from guarded_rollout.backup.manifest import Manifest
from guarded_rollout.backup.verify import unpack
from guarded_rollout.cli.app import Force, Why, app
from guarded_rollout.cli.session import Session, with_session
from guarded_rollout.errors import UsageError
from guarded_rollout.files import scratch_folder
from guarded_rollout.host.release import Release, resolve
from guarded_rollout.monitor.supervised import stop_watching
from guarded_rollout.rollout.engine import Request, operator
from guarded_rollout.rollout.rollback import previous, release_of, require_environment
from guarded_rollout.rollout.steps.base import Data, Options
from guarded_rollout.rollout.steps.restore_config import preview

Backup = Annotated[
    Path | None,
    typer.Option("--backup", help="Backup to return to (a file, or restic:ID): its release and its data."),
]
To = Annotated[
    str | None,
    typer.Option("--to", help="Release to return to, or `previous`, the last good one; data is left alone."),
]
AllowOther = Annotated[bool, typer.Option("--allow-other-env", help="Accept another environment's backup.")]


@app.command(epilog="Example: rollout rollback --backup backups/dhash_production_20260101_120000.zip --force")
@with_session(log="rollback")
def rollback(
    work: Session,
    backup: Backup = None,
    to: To = None,
    data: Annotated[
        Data | None,
        typer.Option(
            help="merge keeps everything written since, exact does not, none leaves the data.",
            show_default="merge, or exact where the service cannot merge",
        ),
    ] = None,
    configuration: Annotated[
        bool,
        typer.Option(
            "--configuration", help="Also bring back rollout.toml and the gates; shows a diff first."
        ),
    ] = False,
    quarantine: Annotated[bool, typer.Option(help="Take what the bad release wrote out of search.")] = False,
    skip_validation: Annotated[
        bool, typer.Option("--skip-validation", help="Do not verify or validate.")
    ] = False,
    allow_other_env: AllowOther = False,
    why: Why = "",
    force: Force = False,
) -> None:
    """Return to a backup or a release: traffic first, then the rest. Closes the open rollout.

    Data is merged: afterwards it is the union of the backup and everything acknowledged since.
    The configuration stays as it is, unless `--configuration` asks for the backup's.
    """
    if (backup is None) == (to is None) or to == "":
        raise UsageError(detail="Say where to return: --backup FILE, or --to RELEASE.")
    if backup is None and data not in (None, Data.NONE):
        raise UsageError(detail=f"--data {data} needs --backup FILE.")
    if backup is None and configuration:
        raise UsageError(detail="--configuration needs --backup FILE.")
    engine = work.engine()
    with _brought(work, backup) as local, _target(work, local, to, allow_other_env) as (release, found):
        named = str(local.absolute()) if local else None
        wanted = data or _usual(work, release, found)
        options = Options(backup=named, data=wanted, quarantine=quarantine, configuration=configuration)
        request = Request(command="rollback", operator=operator(), why=why, options=options)
        if work.dry_run:
            work.out.rehearse(*engine.rehearse_back(release, request, validated=not skip_validation))
            work.out.result(dry_run=True, release=release.id)
            return
        if local is not None and configuration:
            for line in preview(work.site, local):
                work.out.say(line)
        work.confirm(f"Roll {work.env} back to {release.id}?", "yes", force=force)
        work.confirm("This replaces what serves now.", "ROLLBACK", force=force)
        if wanted is Data.EXACT and found:
            since = f"{found.created_at:%F %T} UTC"
            why_so = "" if data else "This release has no command that merges data. "
            lost = (
                f"{why_so}What was written since the backup of {since} leaves the store, and is kept aside."
            )
            work.out.say(lost)
            work.confirm(lost, "EXACT", force=force)
        engine.roll_back(release, request, validated=not skip_validation)
    stop_watching(work.site)
    work.out.say(f"Rollback completed: {release.id} serves {work.env}.")
    work.out.result(environment=work.env, release=release.id, backup=named, data=wanted)


@contextmanager
def _brought(work: Session, backup: Path | None) -> Iterator[Path | None]:
    """The backup on this machine; a copy is brought back first, and stays until the rollback is done."""
    if backup is None or not copies.is_reference(backup):
        yield backup
        return
    work.out.say(f"Bringing {backup} back")
    if work.dry_run:
        with scratch_folder("rollback-") as scratch:
            yield copies.fetch(work.environment, backup, scratch)
        return
    into = work.environment.root / "brought-back"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(mode=0o700)
    yield copies.fetch(work.environment, backup, into)
    shutil.rmtree(into)


@contextmanager
def _target(
    work: Session, backup: Path | None, to: str | None, allow_other: bool
) -> Iterator[tuple[Release, Manifest | None]]:
    """The release to return to, and a backup's manifest; that is verified wholly before anything changes."""
    if backup is None:
        release = previous(work.site, work.journal) if to == "previous" else _named(work, to or "")
        if to == "previous":
            work.out.say(f"The last good release before what serves is {release.id}.")
        yield release, None
        return
    with scratch_folder("rollback-") as scratch:
        found = unpack(backup, scratch, allowed_signers=work.environment.allowed_signers)
        require_environment(found.manifest, backup, work.environment.name, allow_other=allow_other)
        work.out.say(f"Using backup file: {backup}")
        for check in found.checks:
            work.out.detail(f"  {check}")
        yield release_of(work.site, scratch, found.manifest), found.manifest


def _usual(work: Session, release: Release, found: Manifest | None) -> Data:
    """What becomes of the data where nobody says so."""
    if found is None or found.snapshot is None:
        return Data.NONE
    return Data.MERGE if work.site.has(release, "store_merge") else Data.EXACT


def _named(work: Session, name: str) -> Release:
    """The release that is meant: by its id, or by what tells it from the others."""
    return work.site.release(resolve(work.environment.releases, name))
