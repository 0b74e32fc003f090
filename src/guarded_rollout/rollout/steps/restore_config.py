"""Bring back the configuration that a backup holds, where asked; what stood there is kept beside it.

rollout.toml and the gates file are shared by all environments: one that would change for another environment
of this machine stays as it is.
"""

import difflib
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from guarded_rollout.backup.verify import read_files
from guarded_rollout.config import environments, gates
from guarded_rollout.errors import RolloutError
from guarded_rollout.files import write_atomic
from guarded_rollout.host.site import Site
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work


class RestoreConfiguration(RolloutStep):
    name: ClassVar[str] = "configuration"

    def describe(self, work: Work) -> Iterator[str]:
        if work.options.backup is not None:
            yield from preview(work.site, Path(work.options.backup))

    def do(self, work: Work) -> Evidence:
        restored, kept = [], []
        backup = work.options.backup
        found = changed(work.site, Path(backup)) if backup is not None else {}
        for path, content in found.items():
            if problem := problem_of(work.site, path, content):
                work.say(f"{path.name} stays as it is: {problem}")
                kept.append(path.name)
                continue
            aside = path.with_name(f"{path.name}.before-{work.rollout}")
            if path.exists() and not aside.exists():
                write_atomic(aside, path.read_bytes(), mode=0o600)
            write_atomic(path, content)
            work.say(f"{path.name} is the backup's; the one before is kept as {aside.name}")
            restored.append(path.name)
        if restored:
            work.site.reload()
        return {"restored": restored, "left": kept}


def preview(site: Site, backup: Path) -> Iterator[str]:
    """Yield what bringing the configuration back would change, as unified diffs."""
    found = changed(site, backup)
    if not found:
        yield "the configuration is the backup's, or the backup has none of this environment"
    for path, content in found.items():
        if problem := problem_of(site, path, content):
            yield f"leave {path.name} as it is: {problem}"
        else:
            yield f"bring {path.name} back from the backup, and keep the present one beside it"
        present = path.read_text(errors="replace") if path.exists() else ""
        lines = present.splitlines(), content.decode(errors="replace").splitlines()
        yield from difflib.unified_diff(*lines, path.name, f"{backup.name}/{path.name}", lineterm="")


def changed(site: Site, backup: Path) -> dict[Path, bytes]:
    """Return the backup's configuration files that differ from those here."""
    manifest, files = read_files(backup, lambda manifest: manifest.configuration)
    if manifest.environment != site.environment.name:
        return {}  # another environment's data may be wanted; its settings are not
    here = places(site)
    found = {here[Path(name).name]: content for name, content in files.items() if Path(name).name in here}
    return {path: content for path, content in found.items() if _read(path) != content}


def places(site: Site) -> dict[str, Path]:
    """Return the path of each configuration file, by its name."""
    paths = (site.environment.settings, site.environment.gates)
    return {path.name: path for path in paths}


def problem_of(site: Site, path: Path, content: bytes) -> str | None:
    """Say why this content cannot take the file's place; None if it can."""
    try:
        wanted = _meaning(path, content)
    except (ValueError, RolloutError) as error:
        return f"the backup's is not valid any more ({error})"
    try:
        present = _meaning(path, _read(path) or b"")
    except (ValueError, RolloutError):
        return None  # what stands here is of no use to any environment
    others = [name for name in _others(site) if _settings_of(present, name) != _settings_of(wanted, name)]
    if others:
        shared = f"{' and '.join(others)} would change too"
        return f"{shared}; `unzip -p BACKUP configuration/{path.name}` prints it, to take over by hand"
    return None


Meaning = environments.Project | gates.GatesFile


def _meaning(path: Path, content: bytes) -> Meaning:
    """The settings in a configuration file. Raises `ValueError` or `RolloutError`."""
    text = content.decode()
    if path.suffix == ".toml":
        return environments.parse(tomllib.loads(text), path)
    found, problems = gates.parse(text)
    if found is None:
        raise ValueError("; ".join(f"{problem.where}: {problem.sentence}" for problem in problems))
    return found


def _settings_of(meaning: Meaning, name: str) -> object:
    """What a configuration file says about one environment; None if nothing."""
    try:
        if isinstance(meaning, environments.Project):
            return replace(meaning.environment(name), other_roots=())
        return meaning.environment(name), meaning.global_settings
    except RolloutError:
        return None


def _others(site: Site) -> list[str]:
    """The other environments of this machine."""
    project = environments.load(site.environment.settings)
    return [
        name
        for name, other in project.environments.items()
        if name != site.environment.name and other.root.exists()
    ]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
