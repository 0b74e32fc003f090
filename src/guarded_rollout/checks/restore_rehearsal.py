"""The proof of a backup: restore it aside, start the release from it, ask it for what it must know."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from guarded_rollout.backup.verify import Verified, unpack
from guarded_rollout.checks.verify import require_checks, require_healthy
from guarded_rollout.config.service_checks import When
from guarded_rollout.host.release import Release, remove
from guarded_rollout.host.site import Site
from guarded_rollout.host.stores import store_of
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
        with _restored(found, site, scratch) as url:
            environment = replace(
                site.environment,
                root=scratch,
                other_roots=(),
                stream=None,
                copies=(),
                releases=scratch / "releases",
                store=url,
                store_is_known=True,
            )
            aside = Site(environment, site.clock)
            aside.prepare()
            release = aside.rebuild(scratch / "archive" / Path(found.manifest.release_json).parent)
            try:
                checks = _serve(aside, release)
            finally:
                remove(release)
    return replace(found, checks=(*found.checks, *checks))


@contextmanager
def _restored(found: Verified, site: Site, scratch: Path) -> Iterator[Secret]:
    """The URL of a store made of an archive's snapshot; empty if the service keeps no data."""
    store = store_of(site)
    if store is None or found.manifest.snapshot is None:
        yield Secret("")
        return
    with store.restored(scratch / "archive" / found.manifest.snapshot, scratch) as url:
        yield url


def _serve(aside: Site, release: Release) -> tuple[str, ...]:
    """Start it, ask it, stop it; what was found, in sentences."""
    store = store_of(aside)
    if store is not None:
        store.require_sound(release)
    try:
        aside.start("blue", release)
        healthy = require_healthy(
            aside,
            aside.private("blue"),
            interval_seconds=aside.environment.checks.interval_seconds,
            require_running=lambda: aside.processes.require_running("blue"),
        )
        require_checks(aside, release, When.VERIFY, slot="blue")
    finally:
        aside.processes.shut_down()
    return (
        "its release was built from it",
        *(["the service's own check accepts its data"] if store is not None else []),
        f"it started from it and was healthy {healthy['healthy_checks']} times in a row",
        "the checks that it declares pass",
    )
