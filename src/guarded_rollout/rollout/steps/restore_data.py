"""Data does not roll back: the backup's facts are merged into the store, which keeps everything since.

`--data exact` is the operator's explicit other choice. A live store is never replaced on the word of a
release: only where SQLite itself finds it damaged, or there is none. Then the backup, together with all that
can still be read of the damaged store, is made ready beside it before it takes its place.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from guarded_rollout.backup import originals
from guarded_rollout.backup.verify import unpack
from guarded_rollout.errors import CommandError, NoDataError, StoreKeptError, StoreProgramError
from guarded_rollout.files import scratch_folder
from guarded_rollout.host.site import CommandResult
from guarded_rollout.host.store_file import StoreFile
from guarded_rollout.host.stores import PostgresqlStore, store_of
from guarded_rollout.rollout.steps.base import Data, Evidence, RolloutStep, Work
from guarded_rollout.rollout.steps.restore_merge import FORGET, forgets, merge
from guarded_rollout.rollout.steps.restore_plan import REUNITED, damage, left_aside
from guarded_rollout.rollout.steps.stop_all import StopAll, halt
from guarded_rollout.secret import Secret

SET_ASIDE = "store_set_aside"
"""A note in the journal: a store was moved aside."""


class RestoreData(RolloutStep):
    name: ClassVar[str] = "data"

    def describe(self, work: Work) -> Iterator[str]:
        match work.options.data:
            case Data.NONE:
                yield "leave the data as it is"
            case Data.MERGE:
                yield f"merge the data of {work.options.backup} into the store, which keeps everything since"
            case Data.EXACT:
                yield f"put the data of {work.options.backup} in the store's place, and keep the store aside"
        if work.options.data is Data.MERGE and damage(work.site, work.incoming):
            yield "keep the damaged store aside, and merge what can be read of it"
        for aside in left_aside(work.site, work.journal, work.incoming):
            yield f"merge what is in {aside}, which an earlier rollback set aside"

    def do(self, work: Work) -> Evidence:
        evidence = {"data": Data.NONE} if work.options.backup is None else self._restore(work)
        return evidence | self._reunite(work)

    def _restore(self, work: Work) -> Evidence:
        if work.options.data is Data.NONE:
            return {"data": Data.NONE}
        site = work.site
        with scratch_folder("restore-", site.environment.root) as scratch:
            signers = site.environment.allowed_signers
            found = unpack(Path(str(work.options.backup)), scratch, allowed_signers=signers)
            store = store_of(site)
            if store is None or found.manifest.snapshot is None:
                raise NoDataError(path=work.options.backup)
            snapshot = scratch / found.manifest.snapshot
            if found.manifest.originals is not None:  # first: the store's facts may name them
                listed = scratch / found.manifest.originals.list
                originals.restore(found.archive, listed, site.environment.originals)
            if isinstance(store, PostgresqlStore) and work.options.data is Data.EXACT:
                return _exchange_database(work, store, snapshot, scratch)
            if store.file is None or not _replaced(work, store.file):
                return merge(work, store, snapshot, scratch)
            return _exchange(work, store.file, snapshot)

    def _reunite(self, work: Work) -> Evidence:
        """Merge what a failed rollback set aside and never brought together again."""
        reunited = []
        for aside in left_aside(work.site, work.journal, work.incoming):
            result = work.site.command(work.incoming, "store_salvage", str(aside))
            if result.ok:
                work.note(REUNITED, aside=str(aside))
                work.say(f"what {aside} has is merged into the store")
                reunited.append(str(aside))
            else:
                work.say(f"{aside} could not be merged and is kept: {result.reason()}")
        return {"reunited": reunited} if reunited else {}


def _replaced(work: Work, store: StoreFile) -> bool:
    """True if the file itself is to be replaced; once a rollout has begun with that it goes on."""
    stopped = any(isinstance(step, StopAll) for step in work.steps)
    begun = stopped or store.aside(work.rollout).exists()
    return begun or work.options.data is Data.EXACT or bool(damage(work.site, work.incoming))


def _exchange(work: Work, store: StoreFile, snapshot: Path) -> Evidence:
    """Replace the store's file by the backup and, unless the data is to be exact, all that can be salvaged.

    The successor is complete before it takes its place; if it cannot be made, the store comes back.
    Raises `StoreKeptError`.
    """
    site, aside = work.site, store.aside(work.rollout)
    exact = work.options.data is Data.EXACT
    if aside.exists() and store.path.exists():  # exchanged before; what was written since is not replaced
        return {"data": work.options.data, "kept_aside": str(aside), **_union(work, snapshot, aside, exact)}
    halt(site)
    if store.path.exists():
        work.note(SET_ASIDE, store=str(store.path), aside=str(aside))
        store.move(store.path, aside)
    url = store.prepare(snapshot)
    told = _told_by(work, aside, url, exact) if aside.exists() else None
    if told is not None and not told.ok:
        what = (
            "what was erased since the backup would be back"
            if exact
            else "what is left of the damaged one cannot be merged into the backup"
        )
        store.discard()
        store.move(aside, store.path)
        site.ensure()
        raise StoreKeptError(release=work.incoming.id, reason=f"{what}: {told.reason()}")
    salvaged = {"forgotten" if exact else "salvaged": told.json()} if told else {}
    store.publish()
    say_what_became(work, aside, exact)
    return {"data": work.options.data, "kept_aside": str(aside) if aside.exists() else None, **salvaged}


def _told_by(work: Work, aside: Path, url: str | None, exact: bool) -> CommandResult | None:
    """Tell a store what the one set aside has: all that can be read of it, or only what it has erased."""
    name = FORGET if exact else "store_salvage"
    if forgets(work.incoming) if exact else work.site.has(work.incoming, name):
        return work.site.command(work.incoming, name, str(aside), store=url)
    if exact and FORGET in work.site.environment.service.commands:
        work.say(f"{work.incoming.id} knows no erasures: what was erased since the backup is back")
    return None


def _exchange_database(work: Work, store: PostgresqlStore, snapshot: Path, scratch: Path) -> Evidence:
    """Restore a dump beside the database, and give it the database's name once it is whole.

    Raises `StoreKeptError`, with the database as it was.
    """
    database, site = store.database, work.site
    aside = database.beside(f"before_{str(work.rollout)[-12:]}")
    evidence: Evidence = {"data": Data.EXACT, "kept_aside": aside}
    if database.exists(aside):
        return evidence  # exchanged before; what was written since is not replaced
    halt(site)
    new = database.beside(f"new_{str(work.rollout)[-12:]}")
    try:
        database.restore(snapshot, new)
        evidence |= _forgotten(work, database.at(new), scratch / "before.db")
        work.note(SET_ASIDE, store=database.name, aside=aside)
        database.exchange(new, aside)
    except (StoreProgramError, CommandError) as error:
        with suppress(StoreProgramError):
            database.drop(new)
        site.ensure()
        raise StoreKeptError(release=work.incoming.id, reason=error.sentence) from None
    work.say(f"the data is that of {work.options.backup}; the database as it was is kept as {aside}")
    return evidence


def _forgotten(work: Work, new: Secret, before: Path) -> Evidence:
    """Tell a new database what the one that it replaces has erased, by a copy of that.

    Raises `CommandError`.
    """
    release = work.incoming
    if not forgets(release) or not work.site.has(release, "store_snapshot"):
        if FORGET in work.site.environment.service.commands:
            work.say(f"{release.id} cannot be told of erasures: what was erased since the backup is back")
        return {}
    work.site.require(release, "store_snapshot", str(before))
    return {"forgotten": work.site.require(release, FORGET, str(before), store=new.reveal()).json()}


def _union(work: Work, snapshot: Path, aside: Path, exact: bool) -> Evidence:
    """Backup, store and what was set aside, together in the store."""
    if exact and not forgets(work.incoming):
        return {}
    if exact:
        return {"forgotten": work.site.require(work.incoming, FORGET, str(aside)).json()}
    work.site.require(work.incoming, "store_merge", str(snapshot))
    return {"salvaged": work.site.require(work.incoming, "store_salvage", str(aside)).json()}


def say_what_became(work: Work, aside: Path, exact: bool) -> None:
    """Say where the data came from, and where what was there before is kept."""
    backup = work.options.backup
    if exact and aside.exists():
        work.say(f"the data is that of {backup}; the store as it was is kept as {aside}")
    elif aside.exists():
        work.say(f"the damaged store is kept as {aside}; what could be read of it is merged")
    else:
        work.say(f"there was no store; it is that of {backup} now")
