"""Copies of backups in a restic repository: encrypted, incremental, on another disk or machine.

restic is a program of its own (Debian: `apt-get install restic`). What it may not show (the password, the
keys of an object store) goes to it as environment variables and is taken out of what it says.
"""

import json
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from guarded_rollout.config.copies import CopyTarget
from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import CopyError
from guarded_rollout.host.programs import program
from guarded_rollout.host.variables import base_variables
from guarded_rollout.secret import expand, secrets_of

TAG = "rollout"
MISSING = re.compile(r"Is there a repository at the following location\?|unable to open config file")
SECRETS = 4
"""Characters from which on a value is taken out of what restic says; shorter ones stand in ordinary words."""


@dataclass(frozen=True, slots=True)
class CopySnapshot:
    """A copy of a backup in a repository."""

    target: str
    id: str
    taken_at: datetime

    @property
    def reference(self) -> str:
        """The name by which `verify` and `rollback --backup` take it."""
        return f"restic:{self.id}"


@dataclass(frozen=True, slots=True)
class SentCopy:
    """What one copy took: bytes that were added to the repository, and seconds."""

    target: str
    id: str
    added: int
    seconds: float


class ResticRepository:
    """One target's repository, as one environment uses it. Its methods raise `CopyError`."""

    def __init__(self, target: CopyTarget, environment: Environment) -> None:
        self.target = target
        self._environment = environment
        self._mine = ("--host", platform.node(), "--tag", f"{TAG},{environment.name}")

    def send(self, parent: Path, names: Sequence[str], taken_at: datetime) -> SentCopy:
        """Copy these folders of `parent`; what the repository has already is not sent again."""
        words = ("backup", "--json", *self._mine, "--time", f"{taken_at.astimezone(UTC):%F %T}", *names)
        try:
            output = self._run(*words, cwd=parent)
        except CopyError as error:
            if not MISSING.search(str(error.data["reason"])):
                raise
            self._run("init")
            output = self._run(*words, cwd=parent)
        told = _objects(output)[-1]
        return SentCopy(
            self.target.name,
            str(told["snapshot_id"])[:8],
            int(str(told["data_added"])),
            round(float(str(told["total_duration"])), 2),
        )

    def snapshots(self, snapshot: str = "") -> list[CopySnapshot]:
        """The environment's copies, the newest first; with an id (its beginning is enough) that one.

        Copies that another machine made are found: this one may be new.
        """
        try:
            output = self._run("snapshots", "--json", "--tag", f"{TAG},{self._environment.name}")
        except CopyError as error:
            if not MISSING.search(str(error.data["reason"])):
                raise
            return []  # there is no repository yet
        found = [
            CopySnapshot(
                self.target.name,
                told["short_id"],
                datetime.fromisoformat(re.sub(r"\.\d+", "", told["time"])),
            )
            for told in json.loads(output) or []
            if snapshot in ("", "latest") or str(told["id"]).startswith(snapshot)
        ]
        found.sort(key=lambda each: each.taken_at, reverse=True)
        return found[:1] if snapshot == "latest" else found

    def restore(self, snapshot: str, into: Path) -> None:
        """Bring a copy's files back into a folder."""
        self._run("restore", snapshot, "--target", str(into))

    def check(self, subset: str = "") -> None:
        """Check the repository, and read this much of its data, or all, against its hashes."""
        self._run("unlock")  # what a killed process locked
        self._run("check", f"--read-data-subset={subset}" if subset else "--read-data")

    def forget(self) -> int:
        """Remove the copies that restic's rules give up; how many."""
        self._run("unlock")
        groups = ("--group-by", "host,tags")
        output = self._run("forget", "--json", "--prune", *self._mine, *groups, *self.target.keep)
        groups_told = next((told for told in _lists(output)), [])
        return sum(len(group.get("remove") or ()) for group in groups_told)

    def _run(self, *words: str, cwd: Path | None = None) -> str:
        """Run restic; returns what it printed."""
        variables, secrets = self._variables()
        options = [word for option in self.target.options for word in ("-o", option)]
        try:
            done = subprocess.run(
                [program("restic"), *options, *words],
                cwd=cwd,
                env=variables,
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            raise CopyError(target=self.target.name, reason=error.strerror) from None
        if done.returncode != 0:
            said = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-4:])
            for secret in secrets:
                said = said.replace(secret, "***")
            raise CopyError(target=self.target.name, reason=said or f"exit code {done.returncode}")
        return done.stdout

    def _variables(self) -> tuple[dict[str, str], list[str]]:
        """The program's environment, and which texts in it nobody may see."""
        known = secrets_of(self._environment.service.env_file)
        where = f"backup.copies.{self.target.name}"
        texts = {
            "RESTIC_REPOSITORY": self.target.repository,
            "RESTIC_PASSWORD": self.target.password,
            **self.target.variables,
        }
        filled = {name: expand(text, known, variable=f"{where}.{name}") for name, text in texts.items()}
        if ":" not in filled["RESTIC_REPOSITORY"]:
            filled["RESTIC_REPOSITORY"] = str(self._environment.project / filled["RESTIC_REPOSITORY"])
        secrets = [value for name, value in filled.items() if "$" in texts[name] and len(value) >= SECRETS]
        secrets += [filled["RESTIC_PASSWORD"]]
        cache = self._environment.root / "restic-cache"
        # In a local time an hour comes twice each autumn, and the newest copy would not be the newest.
        own = {**base_variables(), "TZ": "UTC", "RESTIC_CACHE_DIR": str(cache)}
        return {**own, **filled}, sorted(secrets, key=len)[::-1]


def _objects(output: str) -> list[dict[str, object]]:
    return [told for line in output.splitlines() if isinstance(told := json.loads(line), dict)]


def _lists(output: str) -> list[list[dict[str, list[object]]]]:
    """The lists of objects among its lines: `prune` prints sentences and times between them."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("[{")]


def repositories(environment: Environment) -> list[ResticRepository]:
    """The repositories of an environment's targets."""
    return [ResticRepository(target, environment) for target in environment.copies]
