"""Take a verified backup before anything changes, so that there is something to return to."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

from guarded_rollout.backup.archive import Subject, TakenBackup, take
from guarded_rollout.backup.guide import restore_guide
from guarded_rollout.backup.publish import BackupFolder
from guarded_rollout.checks.schema import revision_of
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.stores import store_of
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work


class TakeBackup(RolloutStep):
    name: ClassVar[str] = "backup"

    def describe(self, work: Work) -> Iterator[str]:
        release = work.outgoing or work.incoming
        folder = work.site.environment.shown(work.site.environment.backups)
        yield f"back up {work.site.environment.name} ({release.id}) to {folder}/, and verify it"

    def do(self, work: Work) -> Evidence:
        taken = take_backup(work.site)
        work.say(f"backed up to {work.site.environment.shown(taken.entry.path)}")
        return {"backup": str(taken.entry.path), "sha256": taken.sha256, "size": taken.size}


def take_backup(
    site: Site, *, release: Release | None = None, safety: bool = False, folder: Path | None = None
) -> TakenBackup:
    """Back up what serves, or another release with the data as it is.

    A safety copy goes where `ls backups/*.zip` does not look.
    Raises `NoReleaseError` and whatever taking it raises.
    """
    environment, release, store = site.environment, release or site.require_serving(), store_of(site)
    files = (environment.project / "rollout.toml", environment.gates)
    subject = Subject(
        environment=environment.name,
        release=release,
        schema_revision=revision_of(site, release),
        snapshot=partial(store.snapshot, release) if store else None,
        configuration=tuple(path for path in files if path.exists()),
        originals=environment.originals if environment.originals.exists() else None,
        restore_guide=restore_guide(site, release),
    )
    into = BackupFolder(
        folder or environment.backups,
        environment.project,
        safety,
        environment.signing_key,
        environment.service.name,
    )
    return take(subject, into, site.clock)
