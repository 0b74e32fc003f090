"""The pre-merge validation: a whole system from the checkout, deployed aside, and every check run on it.

It is set up in a scratch folder on a free port, so it neither needs nor touches what runs on the machine.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from guarded_rollout.checks.manifest import Artifacts, Ran
from guarded_rollout.checks.report import line
from guarded_rollout.checks.service_checks import ask, checks_of
from guarded_rollout.config.environments import SETTINGS_FILE, Environment, load
from guarded_rollout.config.service_checks import When
from guarded_rollout.host.git import revision
from guarded_rollout.host.site import Site
from guarded_rollout.host.stores import PostgresqlStore, store_of
from guarded_rollout.notify.settings import SETTINGS

PATIENCE_SECONDS = 600
REPORT = "report.md"
TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class PremergeStep:
    """A command of the validation; exit codes in `passing` are a pass."""

    name: str
    file: str
    words: tuple[str, ...]
    passing: tuple[int, ...] = (0,)


def steps(environment: str, folder: Path, gates: Path, *, migrates: bool = True) -> tuple[PremergeStep, ...]:
    """List the commands in order, with the guide's names of their files.

    A service that never `migrates` is not asked what it would.
    """
    env = ("--env", environment)
    junit = ("--junit", str(folder / "smoke.xml"))
    migrate = PremergeStep(
        "migrate, dry run", "migrate-dryrun.log", ("migrate", *env, "--dry-run", "--verbose")
    )
    return (
        PremergeStep("gates check", "gates-check.log", ("gates", "check", str(gates), *env)),
        PremergeStep("deploy", "deploy.log", ("deploy", *env, "--verbose")),
        PremergeStep("backup, dry run", "backup-dryrun.log", ("backup", *env, "--dry-run", "--verbose")),
        *([migrate] if migrates else []),
        PremergeStep(
            "deploy, dry run", "deploy-dryrun.log", ("deploy", *env, "--dry-run", "--restart", "--verbose")
        ),
        PremergeStep("smoke tests", "postdeploy-smoketests.log", ("smoke", *env, "--verbose", *junit)),
        PremergeStep("logging", "test_logging.log", ("validate-logging", *env, "--verbose"), passing=(0, 2)),
    )


def validate(
    project: Environment, folder: Path, scratch: Path, tell: Callable[[Ran], None], *, at: datetime
) -> Artifacts:
    """Run everything, and write what each printed into `folder`. What fails does not stop the others."""
    _empty(folder)
    checks = []
    with _scratch_store(project, scratch) as store:
        settings = set_up(project, scratch, store)
        environment = load(settings).environment(project.name)
        try:
            for ran in _all(environment, settings, folder):
                tell(ran)
                checks.append(ran)
            serving = Site(environment).serving()
        finally:
            run(PremergeStep("down", "", ("down", "--env", project.name)), settings, os.devnull)
    commit, dirty = revision(project.service.source)
    release = serving.id if serving else ""
    artifacts = Artifacts(project.name, release, commit, dirty, at.isoformat(), tuple(checks))
    (folder / REPORT).write_text(report(artifacts, folder))
    return artifacts


@contextmanager
def _scratch_store(project: Environment, scratch: Path) -> Iterator[str]:
    """The URL of an empty store; empty where that is a file in the scratch project, or nothing."""
    store = store_of(Site(project))
    if not isinstance(store, PostgresqlStore):
        yield ""
        return
    database = store.database
    name = database.beside(f"premerge_{scratch.name[-8:]}")
    try:
        database.create(name)
        yield database.at(name).reveal()
    finally:
        database.drop(name)


def steps_of(environment: Environment, folder: Path) -> tuple[PremergeStep, ...]:
    """The commands for an environment's service."""
    migrates = bool(environment.service.commands.get("schema_plan"))
    return steps(environment.name, folder, environment.gates, migrates=migrates)


def _all(environment: Environment, settings: Path, folder: Path) -> Iterator[Ran]:
    for step in steps_of(environment, folder):
        yield run(step, settings, folder / step.file)
    yield declared(Site(environment), folder / "release-checks.log")


def run(step: PremergeStep, settings: Path, log: Path | str) -> Ran:
    """Run one rollout command in the scratch project, all that it prints into a file."""
    words = [sys.executable, "-m", "guarded_rollout.cli", *step.words]
    shown = " ".join(("rollout", *step.words))
    begun = time.monotonic()
    with open(log, "w", encoding="utf-8") as output:
        output.write(f"$ {shown}\n")
        output.flush()
        try:
            code = subprocess.run(
                words,
                cwd=settings.parent,
                env={**_telling_nobody(os.environ), "ROLLOUT_TOML": str(settings)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE_SECONDS,
            ).returncode
        except subprocess.TimeoutExpired:
            output.write(f"ended after {PATIENCE_SECONDS} s\n")
            code = 124
    return Ran(step.name, shown, code, code in step.passing, _since(begun), Path(log).name)


def _telling_nobody(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables without those of the channels: what is rolled out here is nobody's production."""
    channels = {setting.name for setting in SETTINGS}
    return {name: value for name, value in variables.items() if name not in channels}


def declared(site: Site, log: Path) -> Ran:
    """Ask the release that was deployed for the checks by which candidates are verified."""
    begun, shown = time.monotonic(), "the checks of the release"
    release = site.serving()
    if release is None:
        log.write_text(f"$ {shown}\nNo release serves.\n")
        return Ran("release checks", shown, 1, False, _since(begun), log.name)
    results = list(ask(site, release, checks_of(site, release, When.VERIFY), slot=site.traffic.serving()))
    log.write_text(f"$ {shown}\n" + "".join(f"{line(result)}\n" for result in results))
    passed = all(result.passed for result in results)
    return Ran("release checks", shown, int(not passed), passed, _since(begun), log.name)


# ---- the scratch project


def set_up(project: Environment, scratch: Path, store: str = "") -> Path:
    """A project folder with the real one's settings, but its own port and folders, and no holds.

    Nothing of it leaves the machine: a stream would write over the real store's, and the certificate and the
    other ports are those of what runs. Reviews are asked for once the artifacts are there. Returns its
    rollout.toml.
    """
    original = project.settings
    tables = tomllib.loads(original.read_text()) if original.exists() else {}
    shutil.copyfile(project.gates, scratch / "gates.json")
    for name in ("backup", "review"):
        tables.pop(name, None)
    tables["project"] = {
        "gates": "gates.json",
        "minimum_free_mb": project.minimum_free_mb,
    }
    service = project.service
    files: dict[str, Any] = {
        "source": str(service.source.absolute()),
        "env_file": str((service.env_file or Path()).absolute()),
        "left_out": [str(place.absolute()) for place in project.own_places],
    }
    tables["service"] = {**tables.get("service", {}), **files}
    if service.env_file is None:
        del tables["service"]["env_file"]
    tables["environments"] = {
        project.name: {
            **tables.get("environments", {}).get(project.name, {}),
            "port": _free_port(),
            "metrics_port": 0,
            "tls": "off",
            "root": "e",  # short: it holds unix sockets
            "store": store.replace("$", "$$"),
            "confirm": False,
            "traffic": [{"percent": 100, "hold_seconds": 0.0}],
        }
    }
    settings = scratch / SETTINGS_FILE
    settings.write_text("\n".join(as_toml(tables)) + "\n")
    return settings


def as_toml(tables: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a TOML document (v1.0), every table an inline one."""
    yield from (f"{_toml_value(key)} = {_toml_value(value)}" for key, value in tables.items())


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(as_toml(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    # Texts, numbers and booleans are written alike, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _empty(folder: Path) -> None:
    """Nothing of an earlier run may pass for one of this."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_file() and path.suffix in (".log", ".json", ".md", ".xml"):
            path.unlink()


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 2)


# ---- the report


def report(artifacts: Artifacts, folder: Path) -> str:
    """Markdown for the pull request: a table, and the end of whatever failed."""
    outcome = "passed" if artifacts.passed else "FAILED"
    commit = artifacts.commit[:12] or "no commit"
    lines = [
        f"## Pre-merge validation {outcome}",
        "",
        f"`{artifacts.release or 'no release'}` at `{commit}`{' with uncommitted changes' * artifacts.dirty},"
        f" as {artifacts.environment}, {artifacts.created_at[:19]} UTC.",
        "",
        "| check | outcome | seconds | artifact |",
        "|---|---|---|---|",
        *(_row(check) for check in artifacts.checks),
    ]
    for check in artifacts.checks:
        if not check.passed:
            lines += ["", f"### {check.name}", "", "```", *_tail(folder / check.file), "```"]
    return "\n".join(lines) + "\n"


def _row(check: Ran) -> str:
    outcome = "passed" if check.passed else f"**failed** ({check.exit_code})"
    return f"| {check.name} | {outcome} | {check.seconds:g} | `{check.file}` |"


def _tail(path: Path) -> Sequence[str]:
    text = re.sub(r"\x1b\[[0-9;]*m", "", path.read_text(errors="replace")).replace("```", "'''")
    return text.splitlines()[-TAIL_LINES:]
