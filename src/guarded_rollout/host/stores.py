"""The data of an environment, by the kind of its store: copied, checked, and made to serve from elsewhere."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from guarded_rollout.config.service import StoreKind
from guarded_rollout.errors import BackupFormatError, CommandError, StoreFileError
from guarded_rollout.host.postgresql import PostgresqlDatabase
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.store_file import StoreFile, store_file
from guarded_rollout.secret import Secret
from guarded_rollout.sqlite import copy, damage_of, is_sqlite, keep_keys, lost_keys, row_counts


class Store:
    """A store that the service's own commands copy and check."""

    kind: ClassVar[StoreKind] = StoreKind.COMMANDS

    def __init__(self, site: Site) -> None:
        self.site = site

    @property
    def file(self) -> StoreFile | None:
        """The file that holds all of it, if there is one."""
        return store_file(self.site)

    @property
    def can_exchange(self) -> bool:
        """True if it can be replaced wholly by what a backup has."""
        return self.file is not None

    def can_copy(self, release: Release) -> bool:
        """True if a backup can be taken."""
        return self.site.has(release, "store_snapshot")

    def snapshot(self, release: Release, to: Path) -> None:
        """Write one moment of the data to a path, a file or a folder. Raises what says why it cannot."""
        self.site.require(release, "store_snapshot", str(to))
        if not to.exists():
            command = " ".join(self.site.plan(release).commands["store_snapshot"])
            raise CommandError(
                name="store_snapshot", command=command, release=release.id, reason=f"it wrote no {to}"
            )

    def require_sound(self, release: Release) -> None:
        """Raise what the service's own check says against the data."""
        if self.site.has(release, "store_check"):
            self.site.require(release, "store_check")

    @contextmanager
    def restored(self, snapshot: Path, folder: Path) -> Iterator[Secret]:
        """The URL of a store made of a snapshot, for as long as the block lasts."""
        if not is_sqlite(snapshot):
            raise BackupFormatError(
                path=snapshot.name, problem="its snapshot is no database that can be served from"
            )
        target = folder / "restored.db"
        shutil.copyfile(snapshot, target)
        yield Secret(f"sqlite:///{target}")

    @contextmanager
    def copied(self, folder: Path) -> Iterator[Secret]:
        """The URL of a copy of the live file, for as long as the block lasts. Raises `StoreFileError`."""
        assert self.file is not None  # what no file holds cannot be copied by the guard
        target = folder / "copied.db"
        with _readable(self.file.path) as path:
            copy(path, target)
        yield Secret(f"sqlite:///{target.absolute()}")

    def row_counts(self, url: Secret) -> Mapping[str, int]:
        """Return the rows of each table of a copy. Raises `StoreFileError`."""
        with _readable(_path(url)) as path:
            return row_counts(path)

    def damage(self, url: Secret) -> str:
        """Say what is damaged in a copy; empty if it is sound."""
        return damage_of(_path(url))

    def lost_rows(self, url: Secret) -> Callable[[], Mapping[str, int]]:
        """Return a question for later: how many rows each table of a copy has lost by then, others or not
        in their place. Both raise `StoreFileError`."""
        with _readable(_path(url)) as path:
            kept = path.with_name("keys.db")
            keep_keys(path, kept)

        def lost() -> Mapping[str, int]:
            with _readable(_path(url)) as path:
                return lost_keys(path, kept)

        return lost


class SqliteStore(Store):
    """A SQLite file, copied by SQLite's backup API while the service writes to it."""

    kind = StoreKind.SQLITE

    def can_copy(self, release: Release) -> bool:
        return True

    def snapshot(self, release: Release, to: Path) -> None:
        """Raises `StoreFileError`."""
        file = self.file
        assert file is not None  # the configuration asks for such a URL
        with _readable(file.path) as path:
            copy(path, to)

    def require_sound(self, release: Release) -> None:
        file = self.file
        if file is not None and (damage := file.damage()):
            raise StoreFileError(path=file.path, reason=damage)
        super().require_sound(release)


class PostgresqlStore(Store):
    """A PostgreSQL database, dumped and restored by PostgreSQL's own programs."""

    kind = StoreKind.POSTGRESQL

    @property
    def database(self) -> PostgresqlDatabase:
        service = self.site.environment.service
        return PostgresqlDatabase(Secret(self.site.store_url), service.store_programs)

    @property
    def can_exchange(self) -> bool:
        return True

    def can_copy(self, release: Release) -> bool:
        return True

    def snapshot(self, release: Release, to: Path) -> None:
        self.database.dump(to)

    @contextmanager
    def restored(self, snapshot: Path, folder: Path) -> Iterator[Secret]:
        database = self.database
        name = database.beside(f"rehearsal_{folder.name[-8:]}")
        try:
            database.restore(snapshot, name)
            yield database.at(name)
        finally:
            database.drop(name)

    @contextmanager
    def copied(self, folder: Path, *, rows: bool = True) -> Iterator[Secret]:
        """The URL of a copy of the live database, or of its schema, for as long as the block lasts.

        What it is made of is the dump `live.dump` in the folder.
        """
        self.database.dump(folder / "live.dump", rows=rows)
        with self.restored(folder / "live.dump", folder) as url:
            yield url

    def row_counts(self, url: Secret) -> Mapping[str, int]:
        return PostgresqlDatabase(url, self.site.environment.service.store_programs).row_counts()

    def damage(self, url: Secret) -> str:
        return ""  # the server keeps its files itself

    def lost_rows(self, url: Secret) -> Callable[[], Mapping[str, int]]:
        copy = PostgresqlDatabase(url, self.site.environment.service.store_programs)
        kept = copy.keep_keys()
        return lambda: copy.gone(kept)


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """Raises `StoreFileError` for what SQLite finds wrong meanwhile."""
    try:
        yield path
    except sqlite3.Error as error:
        raise StoreFileError(path=path, reason=error) from error


def _path(url: Secret) -> Path:
    return Path(url.reveal().partition(":///")[2])


KINDS: dict[StoreKind, type[Store]] = {store.kind: store for store in (Store, SqliteStore, PostgresqlStore)}


def store_of(site: Site) -> Store | None:
    """The environment's store; None for a service that keeps no data."""
    kind = site.environment.service.store
    return KINDS[kind](site) if kind in KINDS else None
