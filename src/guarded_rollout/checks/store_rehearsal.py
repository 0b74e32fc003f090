"""The operator's commands of a candidate, tried on a copy of the store before it gets any traffic.

A rollback depends on them: a release whose own `db check` fails takes a sound store for damaged, and one
whose merge loses rows loses them then.
"""

import shutil
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from guarded_rollout.errors import CommandError, OperatorCommandError
from guarded_rollout.files import scratch_folder
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.sqlite import damage_of, is_sqlite, row_counts

NEEDED = ("store_check", "store_snapshot", "store_merge", "schema_plan", "schema_upgrade")
LARGE_BYTES = 512 * 1024 * 1024  # beyond it the commands are tried on an empty store: a copy takes too long


def rehearse_commands(site: Site, candidate: Release, stable: Release) -> dict[str, object]:
    """Check, plan, snapshot and merge by the candidate, on copies, and compare with what stable says.

    Raises `OperatorCommandError` with the command and what differs.
    """
    if not all(site.has(one, name) for one in (stable, candidate) for name in NEEDED):
        return {"rehearsed": False}
    with scratch_folder("commands-", site.environment.root) as scratch:
        store = _copied(site, stable, scratch)
        if store is None:
            return {"rehearsed": False}
        try:
            return _rehearsed(site, candidate, stable, store, scratch)
        except CommandError as error:
            raise OperatorCommandError(release=candidate.id, reason=error.sentence) from None
        except sqlite3.Error as error:
            reason = f"what its commands wrote cannot be read: {error}"
            raise OperatorCommandError(release=candidate.id, reason=reason) from None


def _copied(site: Site, stable: Release, scratch: Path) -> Path | None:
    """Stable's snapshot of the store, or an empty one where it is large; None if that is no SQLite file."""
    copy = scratch / "copy.db"
    live = Path(site.environment.store.reveal().partition(":///")[2])
    if live.exists() and live.stat().st_size > LARGE_BYTES:
        site.require(stable, "schema_upgrade", store=_url(copy))
    else:
        site.require(stable, "store_snapshot", str(copy))
    return copy if copy.exists() and is_sqlite(copy) else None


def _rehearsed(
    site: Site, candidate: Release, stable: Release, store: Path, scratch: Path
) -> dict[str, object]:
    upgraded, snapshot, restored_to = (
        scratch / f"{name}.db" for name in ("upgraded", "snapshot", "restored")
    )
    shutil.copyfile(store, upgraded)
    with ThreadPoolExecutor(2) as aside:  # each command takes as long as a start of Python
        sound = aside.submit(_require_found_sound, site, candidate, stable, store)
        made = aside.submit(site.require, candidate, "schema_upgrade", store=_url(restored_to))
        site.require(candidate, "schema_upgrade", store=_url(upgraded))
        planned = aside.submit(site.require, candidate, "schema_plan", store=_url(upgraded))
        site.require(candidate, "store_snapshot", str(snapshot), store=_url(upgraded))
        _require_as_many(candidate, "its snapshot", row_counts(upgraded), row_counts(snapshot))
        if problem := damage_of(snapshot):
            raise OperatorCommandError(release=candidate.id, reason=f"its snapshot is damaged: {problem}")
        made.result()
        site.require(candidate, "store_merge", str(snapshot), store=_url(restored_to))
        sound.result()
        planned.result()
    restored = row_counts(restored_to)
    wanted = {table: count for table, count in row_counts(store).items() if table in restored}
    if any(restored[table] < count for table, count in wanted.items()):  # a merge leaves some rows out
        reference = _reference(site, stable, store, scratch / "by-stable.db")
        wanted = {table: count for table, count in reference.items() if table in restored}
    _require_as_many(candidate, "what it restores by merging", wanted, restored)
    return {"rehearsed": True, "rows": sum(wanted.values())}


def _require_found_sound(site: Site, candidate: Release, stable: Release, store: Path) -> None:
    """Raise `OperatorCommandError` if the candidate takes a store for damaged that stable finds sound."""
    said = site.command(candidate, "store_check", store=_url(store))
    if not said.ok and site.command(stable, "store_check", store=_url(store)).ok:
        reason = f"its check finds a sound store damaged: {said.reason()}"
        raise OperatorCommandError(release=candidate.id, reason=reason)


def _reference(site: Site, stable: Release, store: Path, to: Path) -> Mapping[str, int]:
    """The rows of a new store into which stable has merged the old one.

    None where it cannot: the store may be migrated beyond its schema.
    """
    try:
        site.require(stable, "schema_upgrade", store=_url(to))
        site.require(stable, "store_merge", str(store), store=_url(to))
        return row_counts(to)
    except CommandError:
        return {}


def _require_as_many(
    candidate: Release, what: str, wanted: Mapping[str, int], found: Mapping[str, int]
) -> None:
    for table, count in wanted.items():
        if found.get(table, 0) < count:
            reason = f"{what} has {found.get(table, 0)} of {count} rows of {table}"
            raise OperatorCommandError(release=candidate.id, reason=reason)


def _url(path: Path) -> str:
    return f"sqlite:///{path.absolute()}"
