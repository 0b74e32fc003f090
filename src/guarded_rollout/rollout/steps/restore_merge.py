"""A backup merged into the live store, after a rehearsal on a copy: a release's merge is as fallible as the
release."""

from pathlib import Path

from guarded_rollout.errors import (
    CommandError,
    ExactUnsupportedError,
    MergeLosesError,
    MissingProgramError,
    StoreFileError,
    StoreKeptError,
    StoreProgramError,
)
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.stores import Store
from guarded_rollout.rollout.steps.base import Data, Evidence, Work
from guarded_rollout.secret import Secret

FORGET = "store_forget"


def forgets(release: Release) -> bool:
    """True if the release says itself that it can be told of erasures; an older one knows none."""
    return release.run is not None and bool(release.run.commands.get(FORGET))


def merge(work: Work, store: Store, snapshot: Path, scratch: Path) -> Evidence:
    """Merge a snapshot into the live store, after a rehearsal where the guard can copy it.

    Raises `CommandError`, `StoreKeptError` or `MergeLosesError`, with the live store as it was.
    """
    if work.options.data is Data.EXACT:
        raise ExactUnsupportedError()
    if store.can_exchange:
        _rehearse(work.site, work.incoming, store, snapshot, scratch)
    merged = work.site.require(work.incoming, "store_merge", str(snapshot)).json()
    return {"data": Data.MERGE, "merged": merged}


def _rehearse(site: Site, release: Release, store: Store, snapshot: Path, scratch: Path) -> None:
    """Merge into a copy, which must stay sound and lose no row."""
    try:
        with store.copied(scratch) as copy:
            _merge_into(site, release, store, snapshot, copy)
    except (CommandError, MissingProgramError, StoreFileError, StoreProgramError) as error:
        raise StoreKeptError(release=release.id, reason=error.sentence) from None


def _merge_into(site: Site, release: Release, store: Store, snapshot: Path, copy: Secret) -> None:
    if forgets(release):  # what the backup's store has erased is no loss
        site.command(release, FORGET, str(snapshot), store=copy.reveal())
    before, lost = store.row_counts(copy), store.lost_rows(copy)
    site.require(release, "store_merge", str(snapshot), store=copy.reveal())
    if problem := store.damage(copy):
        raise StoreKeptError(release=release.id, reason=f"its merge damages the store: {problem}")
    after = store.row_counts(copy)
    left = {table: min(rows, after.get(table, 0)) for table, rows in before.items()}
    if left == before:
        left |= {table: before[table] - count for table, count in lost().items()}
    for table, rows in before.items():
        if left[table] < rows:
            raise MergeLosesError(release=release.id, table=table, before=rows, after=left[table])
