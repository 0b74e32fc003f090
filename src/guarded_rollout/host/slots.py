"""The two slots of an environment, and which release stands in each.

A slot's release is a symbolic link, `slots/blue → releases/<id>`, which one atomic rename assigns. Beside it
lies a copy of its RELEASE.json, `slots/blue.json`: what runs can be returned to when somebody has lost that.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import ReleaseDamagedError, UnknownReleaseError
from guarded_rollout.files import sync_folder, write_atomic
from guarded_rollout.host.release import MANIFEST, Release
from guarded_rollout.logs import ModuleLog

log = ModuleLog()

Slot = Literal["blue", "green"]
SLOTS: tuple[Slot, Slot] = ("blue", "green")


def other(slot: Slot) -> Slot:
    return "green" if slot == "blue" else "blue"


class Slots:
    """The slots of one environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def socket(self, slot: Slot) -> Path:
        """The unix socket that the release in this slot serves on."""
        return self._environment.run / f"{slot}.sock"

    def release(self, slot: Slot) -> Release | None:
        """Return the release in this slot; None if its RELEASE.json cannot be read."""
        with suppress(UnknownReleaseError, ReleaseDamagedError):
            return self.require(slot)
        return None

    def require(self, slot: Slot) -> Release | None:
        """Return the release in this slot, whose RELEASE.json is put back if it is damaged or gone.

        Raises `UnknownReleaseError`, `ReleaseDamagedError`.
        """
        if not self.taken(slot):
            return None
        folder = Path(os.readlink(self._link(slot)))
        try:
            return Release.load(folder)
        except ReleaseDamagedError:
            if not self._put_back(slot, folder):
                raise
            return Release.load(folder)

    def taken(self, slot: Slot) -> bool:
        """True if a release stands here, whatever became of its folder."""
        return self._link(slot).is_symlink()

    def assign(self, slot: Slot, release: Release) -> None:
        write_atomic(self._copy(slot), (release.folder / MANIFEST).read_bytes())
        link, aside = self._link(slot), self._link(slot).with_suffix(".new")
        aside.unlink(missing_ok=True)
        aside.symlink_to(release.folder)
        os.replace(aside, link)
        sync_folder(link.parent)
        self.name()

    def name_file(self, slot: Slot) -> Path:
        """The file with the id of the release in this slot, which the proxy reads."""
        return self._environment.run / f"{slot}_release"

    def name(self) -> None:
        """Write the id of each slot's release where the proxy reads it."""
        self._environment.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        for slot in SLOTS:
            if self._link(slot).is_symlink():
                write_atomic(self.name_file(slot), Path(os.readlink(self._link(slot))).name)

    def clear(self, slot: Slot) -> None:
        self._link(slot).unlink(missing_ok=True)
        self._copy(slot).unlink(missing_ok=True)

    def find(self, release_id: str) -> Slot | None:
        """The slot that this release stands in."""
        for slot in SLOTS:
            link = self._link(slot)
            if link.is_symlink() and Path(os.readlink(link)).name == release_id:
                return slot
        return None

    def _put_back(self, slot: Slot, folder: Path) -> bool:
        """Write a release's RELEASE.json anew from the slot's copy; False where that cannot be done."""
        try:
            manifest = self._copy(slot).read_bytes()
            if json.loads(manifest)["id"] != folder.name:  # killed between the copy and the link
                return False
            folder.chmod(0o755)
            write_atomic(folder / MANIFEST, manifest, mode=0o444)
            folder.chmod(0o555)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        log.warning("RELEASE.json was damaged, and is put back", release=folder.name)
        return True

    def _copy(self, slot: Slot) -> Path:
        return self._environment.root / "slots" / f"{slot}.json"

    def _link(self, slot: Slot) -> Path:
        return self._environment.root / "slots" / slot
