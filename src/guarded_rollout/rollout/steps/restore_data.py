"""Data does not roll back: the backup's facts are merged into the store, which keeps everything since.

`--data exact` is the operator's explicit other choice. A damaged store is kept aside; the backup takes its
place, and what can still be read of the damaged one is merged into it.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from guarded_rollout.backup import originals
from guarded_rollout.backup.verify import unpack
from guarded_rollout.errors import ExactUnsupportedError
from guarded_rollout.files import scratch_folder, sync_folder
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.rollout.steps.base import Data, Evidence, RollbackStep, Work
from guarded_rollout.rollout.steps.stop_all import StopAll, halt

COMPANIONS = ("", "-wal", "-shm")  # SQLite keeps the newest commits beside the database file


class RestoreData(RollbackStep):
    name: ClassVar[str] = "data"

    def describe(self, work: Work) -> Iterator[str]:
        match work.options.data:
            case Data.NONE:
                yield "leave the data as it is"
            case Data.MERGE:
                yield f"merge the data of {work.options.backup} into the store, which keeps everything since"
            case Data.EXACT:
                yield f"put the data of {work.options.backup} in the store's place, and keep the store aside"
        if work.options.data is Data.MERGE and not usable(work.site, work.incoming):
            yield "keep the damaged store aside, and merge what can be read of it"

    def do(self, work: Work) -> Evidence:
        if work.options.data is Data.NONE or work.options.backup is None:
            return {"data": Data.NONE}
        site = work.site
        with scratch_folder("restore-", site.environment.root) as scratch:
            signers = site.environment.allowed_signers
            found = unpack(Path(work.options.backup), scratch, allowed_signers=signers)
            snapshot = scratch / found.manifest.snapshot
            if found.manifest.originals is not None:  # first: the store's facts may name them
                originals.restore(
                    found.archive, scratch / found.manifest.originals.list, site.environment.originals
                )
            aside = _aside(work)
            if aside is None:
                merged = site.require(work.incoming, "store_merge", str(snapshot)).json()
                return {"data": Data.MERGE, "merged": merged}
            halt(site)
            if not aside.exists():
                keep_aside(site, aside)
            put_in_place(site, snapshot)
        if work.options.data is Data.EXACT:
            work.say(f"the data is that of {work.options.backup}; the store as it was is kept as {aside}")
            return {"data": Data.EXACT, "kept_aside": str(aside)}
        if not aside.exists():
            work.say(f"there was no store; it is that of {work.options.backup} now")
            return {"data": Data.MERGE, "kept_aside": None}
        salvaged = site.require(work.incoming, "store_salvage", str(aside)).json()
        work.say(f"the damaged store is kept as {aside}; what could be read of it is merged")
        return {"data": Data.MERGE, "kept_aside": str(aside), "salvaged": salvaged}


def exchanged_first(site: Site, release: Release, data: Data, *, warm: bool) -> bool:
    """Whether the store's file has to be replaced before the release can run.

    With the release warm, traffic does not wait for a look at the store: it is looked at after.
    Raises `ExactUnsupportedError` where there is no file to exchange.
    """
    if data is Data.EXACT and store_path(site) is None:
        raise ExactUnsupportedError()
    return data is Data.EXACT or (data is Data.MERGE and not warm and not usable(site, release))


def usable(site: Site, release: Release) -> bool:
    """Whether there is a store that the release's own check accepts: then facts can be merged into it."""
    path = store_path(site)
    return path is None or (path.exists() and site.command(release, "store_check").ok)


def store_path(site: Site) -> Path | None:
    """The store's file; None for a store that is no file."""
    scheme, _, path = site.environment.store.reveal().partition(":///")
    return site.environment.project / path if scheme.startswith("sqlite") and path else None


def _aside(work: Work) -> Path | None:
    """Where this rollout keeps the store that it replaces; None if it replaces none."""
    path = store_path(work.site)
    if work.options.data is Data.EXACT and path is None:
        raise ExactUnsupportedError()
    if path is None:
        return None
    aside = path.with_name(f"{path.name}.before-{work.rollout}")
    replaced = StopAll.name in work.steps or aside.exists() or not usable(work.site, work.incoming)
    return aside if replaced else None


def keep_aside(site: Site, aside: Path) -> None:
    """Move the store's files, companions first: a database without its log would be older than it is."""
    path = store_path(site)
    assert path is not None
    for suffix in reversed(COMPANIONS):
        source = path.with_name(path.name + suffix)
        if source.exists():
            os.rename(source, aside.with_name(aside.name + suffix))
    sync_folder(path.parent)


def put_in_place(site: Site, snapshot: Path) -> None:
    """Copy beside, then rename: the store is there wholly or not at all."""
    path = store_path(site)
    assert path is not None
    for suffix in COMPANIONS[1:]:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    beside = path.with_name(path.name + ".new")
    shutil.copyfile(snapshot, beside)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync_folder(path.parent)
