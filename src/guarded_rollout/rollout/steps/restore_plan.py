"""Decide what a restore of data will do, before anything is changed."""

from pathlib import Path

from guarded_rollout.errors import (
    CommandError,
    ExactUnsupportedError,
    MergeUnsupportedError,
    MissingProgramError,
    NoDataError,
    StoreKeptError,
    StoreProgramError,
)
from guarded_rollout.files import scratch_folder
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.stores import PostgresqlStore, store_of
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.journal.store import ALL, Journal
from guarded_rollout.rollout.steps.base import Data, Options

REUNITED = "store_reunited"
"""A note in the journal: what is in a store that was set aside is merged."""


def exchanged_first(site: Site, release: Release, data: Data, *, warm: bool) -> bool:
    """True if the store's file has to be replaced before the release can run.

    With the release warm, traffic does not wait for a check of the store: that comes after.
    """
    return data is Data.EXACT or (data is Data.MERGE and not warm and bool(damage(site, release)))


def require_possible(site: Site, release: Release, options: Options) -> None:
    """Refuse, before anything is changed, data that this release cannot bring back.

    Raises `NoDataError`, `ExactUnsupportedError`, `MergeUnsupportedError`, `StoreKeptError`.
    """
    if options.data is Data.NONE:
        return
    store = store_of(site)
    if store is None:
        raise NoDataError(path=options.backup)
    if options.data is Data.EXACT and not store.can_exchange:
        raise ExactUnsupportedError()
    if options.data is Data.MERGE and not site.has(release, "store_merge"):
        raise MergeUnsupportedError(release=release.id)
    if options.data is Data.MERGE and isinstance(store, PostgresqlStore):
        _require_dumps_merged(site, release, store)


def _require_dumps_merged(site: Site, release: Release, store: PostgresqlStore) -> None:
    """Have the release merge a dump into a copy, both of the schema alone: traffic may be waiting.

    A merge that was written for other snapshots, a user who may not create databases and missing programs
    show here. Raises `StoreKeptError`.
    """
    with scratch_folder("merge-", site.environment.root) as scratch:
        try:
            with store.copied(scratch, rows=False) as copy:
                site.require(release, "store_merge", str(scratch / "live.dump"), store=copy.reveal())
        except (CommandError, MissingProgramError, StoreProgramError) as error:
            raise StoreKeptError(release=release.id, reason=error.sentence) from None


def damage(site: Site, release: Release) -> str:
    """Say what makes the store unusable; empty if facts can be merged into it, or if it is no file.

    SQLite decides. A release that calls the store damaged is a reason to look thoroughly, and no more.
    """
    store = store_of(site)
    if store is None or store.file is None:
        return ""
    found = store.file.damage()
    if found or not site.has(release, "store_check") or site.command(release, "store_check").ok:
        return found
    return store.file.damage(thorough=True)


def left_aside(site: Site, journal: Journal, release: Release) -> list[Path]:
    """Stores that a failed rollback set aside, that nothing was merged from since, and that this release can
    merge."""
    kept = store_of(site)
    store = kept.file if kept else None
    found = store.set_aside() if store is not None and site.has(release, "store_salvage") else []
    if store is None or not found:
        return []  # without reading the journal: traffic may be waiting
    rollouts = journal.history(site.environment.name, limit=ALL)
    failed = {store.aside(rollout.id) for rollout in rollouts if rollout.outcome is RolloutOutcome.FAILED}
    reunited = {
        note.data.get("aside") for rollout in rollouts for note in rollout.notes if note.name == REUNITED
    }
    return [path for path in found if path in failed and str(path) not in reunited]
