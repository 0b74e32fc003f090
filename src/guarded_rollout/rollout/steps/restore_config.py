"""Bring back the configuration that a backup holds; what stood there is kept beside it."""

import tomllib
from collections.abc import Iterator
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
        for path in changed(work):
            yield f"bring {path.name} back from the backup, and keep the present one beside it"

    def do(self, work: Work) -> Evidence:
        restored, kept = [], []
        for path, content in changed(work).items():
            if problem := problem_of(path, content):
                work.say(f"{path.name} stays as it is: the backup's is not valid any more ({problem})")
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


def changed(work: Work) -> dict[Path, bytes]:
    """Return the backup's configuration files that differ from those here."""
    if work.options.backup is None:
        return {}
    manifest, files = read_files(Path(work.options.backup), lambda manifest: manifest.configuration)
    if manifest.environment != work.site.environment.name:
        return {}  # another environment's data may be wanted; its settings are not
    here = places(work.site)
    found = {here[Path(name).name]: content for name, content in files.items() if Path(name).name in here}
    return {path: content for path, content in found.items() if not _same(path, content)}


def places(site: Site) -> dict[str, Path]:
    """Return the path of each configuration file, by its name."""
    paths = (site.environment.project / "rollout.toml", site.environment.gates)
    return {path.name: path for path in paths}


def problem_of(path: Path, content: bytes) -> str | None:
    """Say why this content would be refused; None if it would not."""
    try:
        text = content.decode()
        if path.suffix == ".toml":
            environments.parse(tomllib.loads(text), path)
            return None
        _, problems = gates.parse(text)
    except (ValueError, RolloutError) as error:
        return str(error)
    return "; ".join(f"{problem.where}: {problem.sentence}" for problem in problems) or None


def _same(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False
