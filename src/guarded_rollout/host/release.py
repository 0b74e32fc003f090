"""Releases: immutable builds, each in a folder of its own.

    releases/<id>/  RELEASE.json  <name>.whl  requirements.txt  venv/     a wheel
    releases/<id>/  RELEASE.json  source.tar.gz  app/                     a directory, or what a command made

`build.py` makes them.
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from guarded_rollout.config.recipe import BuildKind
from guarded_rollout.errors import ReleaseDamagedError, UnknownReleaseError
from guarded_rollout.files import scratch_folder, sha256

MANIFEST = "RELEASE.json"
REQUIREMENTS = "requirements.txt"
ID = re.compile(
    r"(?P<version>.+?)-(?P<commit>[0-9a-f]{8}|wheel|files)(?P<dirty>-dirty)?-(?P<content>[0-9a-f]{8})"
)
IN_PROSE = re.compile(
    r'`[^`]*`|(?<![\w./+"-])[\w.+!]+-(?:[0-9a-f]{8}|wheel|files)(?:-dirty)?-[0-9a-f]{8}(?![\w/+-])'
)
"""An id among words; paths, answers that are cited and commands stay as they are."""
APP = "app"  # the files of a release that is no wheel


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The way a release is run, frozen into it when it was built: it is returned to as it was.

    Commands and variables are templates, and secrets stand in them as `$NAME`.
    """

    python: str
    prepare: tuple[tuple[str, ...], ...] = ()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return {
            "python": self.python,
            "prepare": [list(command) for command in self.prepare],
            "commands": {name: list(words) for name, words in self.commands.items()},
            "variables": dict(self.variables),
            "checks": {name: dict(table) for name, table in self.checks.items()},
        }

    @classmethod
    def of_json(cls, raw: Mapping[str, Any]) -> Self:
        """Raises `KeyError` or `TypeError` for anything but what `as_json` gives."""
        return cls(
            python=str(raw["python"]),
            prepare=tuple(tuple(map(str, command)) for command in raw["prepare"]),
            commands={name: tuple(map(str, words)) for name, words in raw["commands"].items()},
            variables={name: str(text) for name, text in raw["variables"].items()},
            checks={name: dict(table) for name, table in raw["checks"].items()},
        )


@dataclass(frozen=True, slots=True)
class Release:
    """One build in its folder. `schema` is the store revision it needs, None if it has no migrations.

    `artifact` is the one file it was built from: a wheel, or an archive of files. A release of an older
    version of the guard has no `run`: it is run as rollout.toml says today.
    """

    id: str
    folder: Path
    version: str
    commit: str | None
    dirty: bool
    built_at: datetime
    build: BuildKind
    artifact: str
    artifact_sha256: str
    lock_sha256: str
    schema: str | None
    run: RunPlan | None
    subject: str = ""  # of its commit

    @property
    def title(self) -> str:
        """Its id and what its commit says; `shorten` makes `f7a389c · Answer HEAD` of it."""
        return f"{self.id} · {self.subject}" if self.subject else self.id

    @property
    def programs(self) -> Path:
        """Its own commands."""
        return self.folder / "venv" / "bin"

    @property
    def app(self) -> Path:
        """The files of a release that is no wheel."""
        return self.folder / APP

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
                build=BuildKind(raw.get("build", BuildKind.WHEEL)),
                artifact=raw["wheel"]["name"],
                artifact_sha256=raw["wheel"]["sha256"],
                lock_sha256=raw["lock"]["sha256"],
                schema=raw["schema"],
                run=RunPlan.of_json(raw["run"]) if "run" in raw else None,
                subject=str(raw.get("subject", "")),
            )
        except FileNotFoundError:
            if folder.is_dir():
                raise ReleaseDamagedError(id=folder.name, problem=f"{folder / MANIFEST} is gone") from None
            known = ", ".join(release.id for release in releases(folder.parent)) or "none"
            raise UnknownReleaseError(id=folder.name, known=known) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{folder / MANIFEST}: {error!r}"
            raise ReleaseDamagedError(id=folder.name, problem=problem) from None

    def require_intact(self) -> None:
        """Raise `ReleaseDamagedError` unless artifact and lock are the files that were built."""
        files = {self.artifact: self.artifact_sha256, REQUIREMENTS: self.lock_sha256}
        for name, expected in files.items():
            path = self.folder / name
            if not path.is_file() or sha256(path) != expected:
                raise ReleaseDamagedError(id=self.id, problem=f"{name} is missing or was changed")
        if self.build is not BuildKind.WHEEL:
            if not self.app.is_dir():
                raise ReleaseDamagedError(id=self.id, problem="its files are gone")
        elif not os.access(self.programs / "python", os.X_OK):
            raise ReleaseDamagedError(id=self.id, problem="its virtual environment is gone")


def releases(folder: Path) -> list[Release]:
    """All complete releases, oldest first; one that cannot be read is not among them."""
    found = []
    for path in folder.glob(f"[!.]*/{MANIFEST}"):
        with suppress(ReleaseDamagedError):
            found.append(Release.load(path.parent))
    return sorted(found, key=lambda release: (release.built_at, release.id))


def size(release: Release) -> tuple[int, int]:
    """Bytes of its files, and of those alone that no other release or cache shares."""
    whole = own = 0
    for path, _, names in os.walk(release.folder):
        for name in names:
            found = (Path(path) / name).lstat()
            whole += found.st_size
            own += found.st_size if found.st_nlink == 1 else 0
    return whole, own


def remove(release: Release) -> None:
    """Delete a release's folder, at once by its name: half of a release would be a damaged one."""
    make_writable(release.folder)
    with scratch_folder(".removing-", release.folder.parent) as aside:
        release.folder.rename(aside / release.id)


def make_writable(folder: Path) -> None:
    """Let a release's folders be changed again."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o755)


def short(identity: str) -> str:
    """Return a release's name for people: its commit, or its version and the beginning of its digest."""
    found = ID.fullmatch(identity)
    if found is None:
        return identity
    if found["commit"] in ("wheel", "files"):
        return f"{found['version']}+{found['content'][:4]}"
    return found["commit"][:7] + (f"+{found['content'][:4]}" if found["dirty"] else "")


def shorten(text: str) -> str:
    """Return a text for people with the short name of every release in it."""
    return IN_PROSE.sub(lambda found: found[0] if found[0][0] == "`" else short(found[0]), text)


def resolve(folder: Path, name: str) -> str:
    """Return the id of the release that a short name or the beginning of an id means, if it is one alone."""
    if (folder / name / MANIFEST).exists():
        return name
    found = [
        one.id for one in releases(folder) if short(one.id) == name or (name and one.id.startswith(name))
    ]
    return found[0] if len(found) == 1 else name
