"""The proof of a backup: restore it aside, start the release from it, ask it for what it must know."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from guarded_rollout.backup.verify import Verified, is_sqlite, unpack
from guarded_rollout.checks.verify import require_checks, require_healthy
from guarded_rollout.config.service_checks import When
from guarded_rollout.errors import BackupFormatError
from guarded_rollout.host.release import Release, remove
from guarded_rollout.host.site import Site
from guarded_rollout.secret import Secret


def rehearse_restore(archive: Path, site: Site) -> Verified:
    """Verify an archive, and serve from it on a private socket in a scratch folder, which is removed again.

    The release is built from the archive's own wheel, the store is a copy of the archive's snapshot.
    Raises what `unpack` raises, `BuildError`, `CommandError`, `NotHealthyError` and `ChecksFailedError`.
    """
    with tempfile.TemporaryDirectory(prefix="deep-") as name:
        scratch = Path(name)
        signers = site.environment.allowed_signers
        found = unpack(archive, scratch / "archive", allowed_signers=signers, originals_too=True)
        snapshot = scratch / "archive" / found.manifest.snapshot
        if not is_sqlite(snapshot):
            raise BackupFormatError(
                path=archive, problem="its snapshot is no database that can be served from"
            )
        store = scratch / "data" / "restored.db"
        aside = Site(
            replace(
                site.environment,
                root=scratch,
                other_roots=(),
                releases=scratch / "releases",
                store=Secret(f"sqlite:///{store}"),
            ),
            site.clock,
        )
        aside.prepare()
        shutil.copyfile(snapshot, store)
        release = aside.rebuild(scratch / "archive" / Path(found.manifest.release_json).parent)
        try:
            checks = _serve(aside, release)
        finally:
            remove(release)
    return replace(found, checks=(*found.checks, *checks))


def _serve(aside: Site, release: Release) -> tuple[str, ...]:
    """Start it, ask it, stop it; what was found, in sentences."""
    aside.require(release, "store_check")
    try:
        aside.start("blue", release)
        healthy = require_healthy(
            aside.private("blue"),
            aside.environment.checks,
            aside.clock,
            interval_seconds=aside.environment.checks.interval_seconds,
            require_running=lambda: aside.processes.require_running("blue"),
        )
        require_checks(aside, release, When.VERIFY, slot="blue")
    finally:
        aside.processes.shut_down()
    return (
        "its release was built from it",
        "the service's own check accepts its data",
        f"it started from it and was healthy {healthy['healthy_checks']} times in a row",
        "the checks that it declares pass",
    )
