"""Take a verified backup before anything changes, so that there is something to return to."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

from guarded_rollout.backup.archive import Subject, TakenBackup, take
from guarded_rollout.backup.copies import CopyRecord, send_directly, start_sending
from guarded_rollout.backup.guide import restore_guide
from guarded_rollout.backup.manifest import Manifest
from guarded_rollout.backup.publish import BackupFolder
from guarded_rollout.checks.schema import revision_of
from guarded_rollout.config.copies import BackupEngine
from guarded_rollout.errors import WheelsError
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.stores import store_of
from guarded_rollout.host.wheels import wheels_of
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work

NO_LIMIT = 10**15


class TakeBackup(RolloutStep):
    name: ClassVar[str] = "backup"

    def describe(self, work: Work) -> Iterator[str]:
        release = work.outgoing or work.incoming
        if work.site.environment.backup_engine is BackupEngine.RESTIC:
            yield f"back up {work.site.environment.name} ({release.id}) to {targets(work.site)}"
            return
        folder = work.site.environment.shown(work.site.environment.backups)
        yield f"back up {work.site.environment.name} ({release.id}) to {folder}/, and verify it"

    def do(self, work: Work) -> Evidence:
        if work.site.environment.backup_engine is BackupEngine.RESTIC:
            _, records = copy_directly(work.site)
            for record in records:
                work.say(f"{record.target}: {record.problem or f'backed up as restic:{record.snapshot}'}")
            return {"backup": next(f"restic:{record.snapshot}" for record in records if record.snapshot)}
        taken = take_backup(work.site)
        start_sending(work.site.environment, taken.entry.path)
        work.say(f"backed up to {work.site.environment.shown(taken.entry.path)}")
        return {"backup": str(taken.entry.path), "sha256": taken.sha256, "size": taken.size}


def take_backup(
    site: Site,
    *,
    release: Release | None = None,
    safety: bool = False,
    folder: Path | None = None,
    with_wheels: bool | None = None,
) -> TakenBackup:
    """Back up what serves, or another release with the data as it is.

    A safety copy goes where `ls backups/*.zip` does not look, and carries no wheels unless asked to.
    `with_wheels` decides otherwise than rollout.toml; True raises `WheelsError` where there are none.
    Raises `NoReleaseError` and whatever taking it raises.
    """
    environment = site.environment
    wanted = not safety if with_wheels is None else with_wheels
    subject = _subject(site, release or site.require_serving(), wheels=wanted, strict=with_wheels is True)
    into = BackupFolder(
        folder or environment.backups,
        environment.project,
        safety,
        environment.signing_key,
        environment.service.name,
    )
    return take(subject, into, site.clock)


def copy_directly(site: Site) -> tuple[Manifest, list[CopyRecord]]:
    """Back up what serves into the repositories of copies, without an archive. Raises what that raises."""
    return send_directly(site.environment, _subject(site, site.require_serving()), site.clock)


def targets(site: Site) -> str:
    """The names of the targets of copies."""
    return " and ".join(target.name for target in site.environment.copies) or "no target, for none is named"


def _wheels(site: Site, release: Release, *, strict: bool) -> tuple[Path, ...]:
    """The wheels that an archive carries; a backup without them is better than none."""
    limit = NO_LIMIT if strict else site.environment.wheels_limit_mb * 10**6
    if not limit:
        return ()
    try:
        folder = wheels_of(release, limit)
    except WheelsError:
        if strict:
            raise
        return ()
    return tuple(sorted(folder.iterdir())) if folder else ()


def _subject(site: Site, release: Release, *, wheels: bool = True, strict: bool = False) -> Subject:
    environment, store = site.environment, store_of(site)
    carried = _wheels(site, release, strict=strict) if wheels else ()
    files = (environment.settings, environment.gates)
    return Subject(
        environment=environment.name,
        release=release,
        schema_revision=revision_of(site, release),
        snapshot=partial(store.snapshot, release) if store else None,
        configuration=tuple(path for path in files if path.exists()),
        originals=environment.originals if environment.originals.exists() else None,
        restore_guide=restore_guide(site, release, with_wheels=bool(carried)),
        wheels=carried,
    )
