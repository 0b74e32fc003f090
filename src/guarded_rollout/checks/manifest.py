"""The manifest of pre-merge artifacts: what was run, how it ended, and the hash of everything it left."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from guarded_rollout.config.environments import ARTIFACTS_FOLDER
from guarded_rollout.errors import ArtifactsError
from guarded_rollout.files import sha256, write_atomic

FOLDER = ARTIFACTS_FOLDER
FILE = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Ran:
    """A check that was run: the command, its exit, and the file with its output."""

    name: str
    command: str
    exit_code: int
    passed: bool
    seconds: float
    file: str


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The result of a pre-merge run. `commit` is the revision that was checked, empty outside of git."""

    environment: str
    release: str
    commit: str
    dirty: bool
    created_at: str
    checks: tuple[Ran, ...]

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)


def write(folder: Path, artifacts: Artifacts) -> None:
    """Write the manifest, with the hash of every other file in the folder."""
    files = {
        path.name: {"sha256": sha256(path), "size": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != FILE
    }
    whole = {"format": FORMAT, "passed": artifacts.passed, **asdict(artifacts), "files": files}
    write_atomic(folder / FILE, json.dumps(whole, indent=2) + "\n")


def read(folder: Path) -> Artifacts:
    """Read a manifest and hold every file against it. Raises `ArtifactsError`."""
    path = folder / FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        checks = tuple(Ran(**check) for check in found["checks"])
        fields = ("environment", "release", "commit", "dirty", "created_at")
        artifacts = Artifacts(**{name: found[name] for name in fields}, checks=checks)
        datetime.fromisoformat(artifacts.created_at)
        listed = {name: str(about["sha256"]) for name, about in found["files"].items()}
    except FileNotFoundError:
        raise ArtifactsError(path=path, problem="there is no such file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactsError(path=path, problem=f"it is no manifest: {error!r}") from None
    _require_files(folder, listed, [check.file for check in checks])
    return artifacts


def _require_files(folder: Path, listed: dict[str, str], logs: Sequence[str]) -> None:
    for name in {*listed, *logs}:
        path = folder / name
        if name not in listed or Path(name).name != name:
            raise ArtifactsError(path=folder / FILE, problem=f"it lists no hash for {name}")
        if not path.is_file():
            raise ArtifactsError(path=path, problem="it is missing")
        if sha256(path) != listed[name]:
            raise ArtifactsError(path=path, problem="it is not what was written")
