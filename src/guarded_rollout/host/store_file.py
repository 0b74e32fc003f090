"""The store's file, where the store is one: judged by SQLite itself, exchanged wholly or not at all."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from guarded_rollout.files import sync_folder
from guarded_rollout.host.site import Site
from guarded_rollout.sqlite import close_up, damage_of

COMPANIONS = ("-wal", "-shm")  # SQLite keeps the newest commits beside the database file


@dataclass(frozen=True, slots=True)
class StoreFile:
    """An SQLite store."""

    path: Path

    @property
    def beside(self) -> Path:
        """The path at which its successor is made ready."""
        return self.path.with_name(self.path.name + ".new")

    def aside(self, rollout: object) -> Path:
        """The path at which a rollout keeps the store that it replaces."""
        return self.path.with_name(f"{self.path.name}.before-{rollout}")

    def set_aside(self) -> list[Path]:
        """Every store that was ever set aside, the oldest first."""
        found = self.path.parent.glob(f"{self.path.name}.before-*")
        mains = (path for path in found if not path.name.endswith(COMPANIONS))
        return sorted(mains, key=lambda path: path.stat().st_mtime)

    def damage(self, *, thorough: bool = False) -> str:
        """Describe what SQLite finds wrong with it; empty if it is sound."""
        return damage_of(self.path, thorough=thorough)

    def move(self, source: Path, target: Path) -> None:
        """Rename a database, its companions first: without its log it would be older than it is."""
        for suffix in (*reversed(COMPANIONS), ""):
            part = source.with_name(source.name + suffix)
            if part.exists():
                os.rename(part, target.with_name(target.name + suffix))
        sync_folder(target.parent)

    def prepare(self, snapshot: Path) -> str:
        """Copy a snapshot beside the store; returns the copy's URL, for the service's own commands."""
        self.discard()
        shutil.copyfile(snapshot, self.beside)
        return f"sqlite:///{self.beside.absolute()}"

    def publish(self) -> None:
        """Put what was prepared in the store's place: it is there wholly or not at all."""
        close_up(self.beside)
        with self.beside.open("rb") as file:
            os.fsync(file.fileno())
        for suffix in COMPANIONS:
            self.beside.with_name(self.beside.name + suffix).unlink(missing_ok=True)
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        os.replace(self.beside, self.path)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove what was prepared."""
        for suffix in ("", *COMPANIONS):
            self.beside.with_name(self.beside.name + suffix).unlink(missing_ok=True)


def store_file(site: Site) -> StoreFile | None:
    """The environment's store, if it is an SQLite file."""
    scheme, _, path = site.store_url.partition(":///")
    return StoreFile(site.environment.project / path) if scheme.startswith("sqlite") and path else None
