"""What a release is built from: a wheel, a checkout, a revision, or what a command makes, as one file.

A folder is packed as an archive that has the same bytes for the same files, whoever packs them and when.
"""

import gzip
import json
import os
import subprocess
import tarfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guarded_rollout.config.recipe import BuildKind, Recipe
from guarded_rollout.errors import BuildError
from guarded_rollout.host.git import git, refusal
from guarded_rollout.host.programs import program
from guarded_rollout.host.release import REQUIREMENTS
from guarded_rollout.secret import filled

ARCHIVE = "source.tar.gz"
LONGEST_SUBJECT = 72
NEVER_PACKED = {".git", "__pycache__", "node_modules", ".venv"}


@dataclass(frozen=True, slots=True)
class BuildSource:
    """The input of a build: one file, the requirements it was locked with, and its origin."""

    artifact: Path
    lock: Path
    commit: str | None
    dirty: bool
    version: str


def source_of(spec: str, checkout: Path, recipe: Recipe, work: Path, left_out: Sequence[str]) -> BuildSource:
    """Resolve a spec to one file to build from, made in `work` if need be. Raises `BuildError`."""
    path = Path(spec).absolute()
    if path.suffix == ".whl" and recipe.kind is BuildKind.WHEEL:
        beside = path.parent / REQUIREMENTS
        lock = beside if beside.exists() else checkout / recipe.lock
        return BuildSource(_require_file(path, spec), _require_file(lock, spec), None, False, _version(path))
    if spec.startswith("git:"):
        commit, dirty = _commit(checkout, spec), False
        tree = _checked_out(commit, checkout, spec, work)
    else:
        tree, commit = path, git(path, "rev-parse", "--verify", "--quiet", "HEAD") if path.is_dir() else ""
        dirty = bool(commit and git(path, "status", "--porcelain", "--", ".", *_without(left_out)))
    if recipe.kind is BuildKind.WHEEL:
        if not (tree / "pyproject.toml").is_file():
            raise BuildError(source=spec, problem="it is neither a wheel nor a folder with a pyproject.toml")
        wheel = _wheel(tree, spec, work)
        lock = _require_file(tree / recipe.lock, spec)
        return BuildSource(wheel, lock, commit or None, dirty, _version(wheel))
    if not tree.is_dir():
        raise BuildError(source=spec, problem="it is no folder")
    lock = _require_file(tree / recipe.lock, spec) if recipe.lock else _nothing_locked(work)
    archive = work / ARCHIVE
    try:
        if recipe.kind is BuildKind.COMMAND:
            made = _made(tree, recipe, spec, work)
            _pack(made, _files(made), archive, spec)
        else:
            names = _files(tree, left_out) if spec.startswith("git:") else _names(tree, left_out, spec)
            _pack(tree, names, archive, spec)
    except OSError as error:  # a file that this user cannot read, or that went meanwhile
        problem = f"{error.filename or archive}: {error.strerror}"
        raise BuildError(source=spec, problem=problem) from None
    return BuildSource(archive, lock, commit or None, dirty, _declared_version(tree))


def subject_of(checkout: Path, commit: str | None) -> str:
    """The first line of what a commit says, for people."""
    said = git(checkout, "log", "-1", "--format=%s", commit) if commit else ""
    return "".join(filter(str.isprintable, said))[:LONGEST_SUBJECT]


def _commit(checkout: Path, spec: str) -> str:
    revision = spec.removeprefix("git:")
    commit = git(checkout, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if not commit:
        raise BuildError(source=spec, problem=f"{checkout} has no revision {revision!r}")
    return commit


def _checked_out(commit: str, checkout: Path, spec: str, work: Path) -> Path:
    """The files of a revision, in a folder of their own."""
    tree = work / "tree"
    tree.mkdir()
    run_step(["git", "-C", str(checkout), "archive", "-o", str(work / "tree.tar"), commit], spec)
    unpack(work / "tree.tar", tree, spec)
    return tree


def unpack(archive: Path, folder: Path, source: str) -> None:
    """Unpack an archive of files that stay in the folder. Raises `BuildError`."""
    if hasattr(tarfile, "data_filter"):
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        except tarfile.TarError as error:  # such as a link that leads out of the folder
            raise BuildError(source=source, problem=str(error)) from None
    else:  # Python before 3.11.4, as Debian 12 has it; tar itself leaves nothing outside of the folder either
        words = ["tar", "--extract", "--no-same-owner", "--no-same-permissions"]
        run_step([*words, "--file", str(archive), "--directory", str(folder)], source)


def _wheel(tree: Path, spec: str, work: Path) -> Path:
    out = work / "dist"
    run_step([program("uv"), "build", "--quiet", "--wheel", "--out-dir", str(out), str(tree)], spec)
    return next(out.glob("*.whl"))


def _made(tree: Path, recipe: Recipe, spec: str, work: Path) -> Path:
    """The folder that the build's own command fills."""
    out = work / "out"
    out.mkdir()
    key = "service.build_command"
    run_step([filled(word, {"out": str(out)}) for word in recipe.command], spec, cwd=tree, key=key)
    if not any(out.iterdir()):
        problem = f"{key}: `{' '.join(recipe.command)}` put nothing into {{out}}"
        raise BuildError(source=spec, problem=problem)
    return out


def _pack(tree: Path, names: list[str], archive: Path, spec: str) -> None:
    """A folder as one archive: the same bytes for the same files, whoever packs them and when."""
    if not names:
        raise BuildError(source=spec, problem="there is no file in it")
    with (
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(names):
            info = tar.gettarinfo(str(tree / name), arcname=name)
            info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
            info.mode = 0o755 if info.mode & 0o100 else 0o644
            if info.isreg():
                with (tree / name).open("rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)


def _names(tree: Path, left_out: Sequence[str], spec: str) -> list[str]:
    """The files of a source: those git knows or would add; outside of a checkout all but the usual litter.

    Raises `BuildError` where git refuses the checkout: what it ignores, secrets too, would be packed.
    """
    if problem := refusal(tree):
        raise BuildError(source=spec, problem=f"git refuses this checkout: {problem}")
    listed = git(
        tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".", *_without(left_out)
    )
    if listed:
        return [name for name in listed.split("\0") if name and _is_packed(tree / name)]
    return _files(tree, left_out, NEVER_PACKED)


def _files(tree: Path, left_out: Sequence[str] = (), litter: Collection[str] = ()) -> list[str]:
    """All files of a folder, and its links to folders, but for what is left out and for litter."""
    found = []
    for folder, folders, files in os.walk(tree):
        here = Path(folder).relative_to(tree)
        folders[:] = [name for name in folders if name not in litter and str(here / name) not in left_out]
        links = [name for name in folders if (tree / here / name).is_symlink()]
        names = [str(here / name) for name in (*files, *links)]
        found += [name for name in names if name not in left_out and _is_packed(tree / name)]
    return found


def _is_packed(path: Path) -> bool:
    """True for a file or a link; what is neither, such as a socket, is nobody's source."""
    return path.is_symlink() or path.is_file()


def _without(left_out: Sequence[str]) -> list[str]:
    return [f":(exclude){name}" for name in left_out]


def _nothing_locked(work: Path) -> Path:
    """An empty list of requirements: archives carry one for every release."""
    path = work / "nothing-locked.txt"
    path.touch()
    return path


def _declared_version(tree: Path) -> str:
    """The version in package.json or pyproject.toml, for people; 0 where there is none."""
    import tomllib

    try:
        if (tree / "package.json").is_file():
            version = json.loads((tree / "package.json").read_text())["version"]
        else:
            version = tomllib.loads((tree / "pyproject.toml").read_text())["project"]["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return "0"
    plain = "".join(sign for sign in str(version) if sign.isalnum() or sign in ".+_")
    return plain[:32] or "0"


def _version(wheel: Path) -> str:
    return wheel.name.split("-")[1]


def _require_file(path: Path, spec: str) -> Path:
    if not path.is_file():
        raise BuildError(source=spec, problem=f"{path} is missing")
    return path


def run_step(
    command: Sequence[str],
    source: str,
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    key: str = "",
) -> str:
    """Run a command of the build; `key` is where rollout.toml has it. Raises `BuildError` with its words."""
    where = f"{key}: " if key else ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)
    except OSError as error:
        raise BuildError(source=source, problem=f"{where}{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        ran = " ".join(command if key else [Path(command[0]).name, *command[1:2]])
        raise BuildError(source=source, problem=f"{where}`{ran}` failed: " + " ".join(said[-5:]))
    return done.stdout
