"""What a fleet is given: one wheel and its locked requirements, made once and sent to every host."""

import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from guarded_rollout.config.environments import Environment
from guarded_rollout.config.recipe import BuildKind
from guarded_rollout.errors import BuildError
from guarded_rollout.files import sha256
from guarded_rollout.host.programs import program
from guarded_rollout.host.release import REQUIREMENTS


@dataclass(frozen=True, slots=True)
class Artifact:
    """`wheel` and `lock` are the controller's files; or `source` is what each host has itself."""

    name: str
    wheel: str = ""
    lock: str = ""
    source: str = ""


def prepare(source: str | None, environment: Environment, folder: Path) -> Artifact:
    """Keep in `folder` what is to be sent, named by its content. Raises `BuildError`.

    A wheel is taken as it is, with `requirements.txt` beside it or else the project's lock; a folder becomes
    a wheel; `git:REVISION` is left to the hosts, which then have a checkout each.
    """
    if source == "":
        raise BuildError(source="an empty --from", problem="it names no folder, wheel or revision")
    if source is not None and source.startswith("git:"):
        return Artifact(source, source=source)
    recipe = environment.service.recipe
    if recipe.kind is not BuildKind.WHEEL:
        raise BuildError(
            source=source or "the checkout",
            problem="only wheels are sent; name a revision that the hosts have, with --from git:REVISION",
        )
    tree = Path(source or environment.service.source)
    with tempfile.TemporaryDirectory(prefix="fleet-") as scratch:
        wheel = tree if tree.suffix == ".whl" else _built(tree, Path(scratch))
        beside = wheel.parent / REQUIREMENTS
        lock = beside if tree == wheel and beside.exists() else _lock(tree, wheel, environment)
        for file in (wheel, lock):
            if not file.is_file():
                raise BuildError(source=str(tree), problem=f"{file} is missing")
        kept = folder / "artifacts" / f"{sha256(wheel)[:12]}-{sha256(lock)[:12]}"
        kept.mkdir(parents=True, exist_ok=True)
        for file, name in ((wheel, wheel.name), (lock, REQUIREMENTS)):
            with suppress(shutil.SameFileError):  # one that was kept is rolled out again
                shutil.copyfile(file, kept / name)
        name = f"{wheel.name} ({sha256(wheel)[:12]})"
        return Artifact(name, str(kept / wheel.name), str(kept / REQUIREMENTS))


def _lock(tree: Path, wheel: Path, environment: Environment) -> Path:
    service = environment.service
    return (service.source if tree == wheel else tree) / service.recipe.lock


def _built(tree: Path, out: Path) -> Path:
    done = subprocess.run(
        [program("uv"), "build", "--quiet", "--wheel", "--out-dir", str(out), str(tree)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(source=str(tree), problem=done.stderr.strip()[-1000:])
    return next(out.glob("*.whl"))
