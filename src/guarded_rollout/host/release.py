"""Releases: immutable builds, each a wheel, its locked requirements and a virtual environment of its own.

    releases/<id>/  RELEASE.json  <name>.whl  requirements.txt  venv/

`build.py` makes them.
"""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from guarded_rollout.errors import ReleaseDamagedError, UnknownReleaseError
from guarded_rollout.files import sha256

MANIFEST = "RELEASE.json"
REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True, slots=True)
class Release:
    """A build in its folder. `schema` is the store revision it needs, None if it has no migrations."""

    id: str
    folder: Path
    version: str
    commit: str | None
    dirty: bool
    built_at: datetime
    wheel: str
    wheel_sha256: str
    lock_sha256: str
    schema: str | None

    @property
    def programs(self) -> Path:
        """Its own commands."""
        return self.folder / "venv" / "bin"

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read RELEASE.json. Raises `UnknownReleaseError` or `ReleaseDamagedError`."""
        try:
            raw = json.loads((folder / MANIFEST).read_text())
            return cls(
                id=raw["id"],
                folder=folder,
                version=raw["version"],
                commit=raw["commit"],
                dirty=raw["dirty"],
                built_at=datetime.fromisoformat(raw["built_at"]),
                wheel=raw["wheel"]["name"],
                wheel_sha256=raw["wheel"]["sha256"],
                lock_sha256=raw["lock"]["sha256"],
                schema=raw["schema"],
            )
        except FileNotFoundError:
            known = ", ".join(release.id for release in releases(folder.parent)) or "none"
            raise UnknownReleaseError(id=folder.name, known=known) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ReleaseDamagedError(id=folder.name, problem=f"{MANIFEST}: {error!r}") from None

    def require_intact(self) -> None:
        """Raise `ReleaseDamagedError` unless wheel and lock are the files that were built."""
        for name, expected in ((self.wheel, self.wheel_sha256), (REQUIREMENTS, self.lock_sha256)):
            path = self.folder / name
            if not path.is_file() or sha256(path) != expected:
                raise ReleaseDamagedError(id=self.id, problem=f"{name} is missing or was changed")
        if not os.access(self.programs / "python", os.X_OK):
            raise ReleaseDamagedError(id=self.id, problem="its virtual environment is gone")


def releases(folder: Path) -> list[Release]:
    """All complete releases, oldest first; one that cannot be read is not among them."""
    found = []
    for path in folder.glob(f"[!.]*/{MANIFEST}"):
        with suppress(ReleaseDamagedError):
            found.append(Release.load(path.parent))
    return sorted(found, key=lambda release: (release.built_at, release.id))


def remove(release: Release) -> None:
    """Delete a release's folder."""
    make_writable(release.folder)
    shutil.rmtree(release.folder)


def make_writable(folder: Path) -> None:
    """Let a release's folders be changed again."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o755)
