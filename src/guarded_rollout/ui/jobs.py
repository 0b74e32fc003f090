"""Commands that were run from the dashboard: each a process of its own session, so that it outlives us."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guarded_rollout.clock import Clock, SystemClock
from guarded_rollout.errors import NotWritableError
from guarded_rollout.files import write_atomic
from guarded_rollout.lock import process_started

KEPT = 50
SHOWN = 40_000  # bytes of output, the last ones


@dataclass(frozen=True, slots=True)
class Job:
    """A command. `exit_code` is None while it runs, and if its process died without recording it (`lost`)."""

    id: str
    environment: str
    action: str
    words: tuple[str, ...]  # as an operator would type them
    started_at: float
    ended_at: float | None = None
    exit_code: int | None = None
    lost: bool = False

    @property
    def running(self) -> bool:
        return self.exit_code is None and not self.lost


class Jobs:
    """The commands of one project, in a folder; they survive a restart of the dashboard."""

    def __init__(
        self, folder: Path, project: Path, variables: Mapping[str, str], clock: Clock | None = None
    ) -> None:
        self._folder = folder
        self._project = project
        self._variables = variables
        self._clock = clock or SystemClock()
        self._children: list[subprocess.Popen[bytes]] = []
        self._ended: dict[str, Job] = {}  # these do not change any more

    def start(self, environment: str, action: str, words: Sequence[str]) -> Job:
        """Run `rollout WORDS…`. Raises `NotWritableError`."""
        now = self._clock.now()
        identity = f"{now:%Y%m%dT%H%M%S%f}-{environment}-{action}"
        folder = self._folder / identity
        job = Job(identity, environment, action, ("rollout", *words), now.timestamp())
        command = [sys.executable, "-m", "guarded_rollout.cli", *words]
        written = {
            "environment": environment,
            "action": action,
            "words": job.words,
            "started_at": job.started_at,
            "command": command,
        }
        try:
            folder.mkdir(parents=True, mode=0o700)
            (folder / "output.txt").touch(0o600)
            write_atomic(folder / "job.json", json.dumps(written), mode=0o600)
            child = subprocess.Popen(
                [sys.executable, "-m", "guarded_rollout.ui.runner", str(folder)],
                cwd=self._project,
                env=os.environ | dict(self._variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise NotWritableError(path=folder, reason=error.strerror) from None
        self._children.append(child)
        self._forget_old()
        return job

    def recent(self, environment: str, limit: int = 8) -> list[Job]:
        """The newest first."""
        self._reap()
        names = sorted(self._names(), reverse=True)
        mine = (name for name in names if name.split("-")[1:2] == [environment])
        found = (self.find(name) for name, _ in zip(mine, range(limit), strict=False))
        return [job for job in found if job is not None]

    def find(self, identity: str) -> Job | None:
        """A job by its id; None if there is none, or it cannot be read."""
        if identity in self._ended:
            return self._ended[identity]
        if identity not in self._names():
            return None
        folder = self._folder / identity
        try:
            written = json.loads((folder / "job.json").read_text())
            about = str(written["environment"]), str(written["action"]), tuple(map(str, written["words"]))
            job = Job(identity, *about, float(written["started_at"]))
            if (end := _json(folder / "end.json")) is None:
                return replace(job, lost=self._is_lost(folder, job))
            job = replace(job, ended_at=float(end["ended_at"]), exit_code=int(end["exit_code"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self._ended[identity] = job
        return job

    def output(self, job: Job) -> str:
        """Return its output, the last part if it is long."""
        with suppress(OSError), (self._folder / job.id / "output.txt").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - SHOWN))
            return file.read().decode(errors="replace")
        return ""

    def mark(self) -> object:
        """Changes when a job begins, prints, ends or dies."""
        self._reap()
        newest = sorted(self._names(), reverse=True)[:4]
        return tuple((self.find(name), self._printed(name)) for name in newest)

    def _printed(self, identity: str) -> int:
        with suppress(OSError):
            return (self._folder / identity / "output.txt").stat().st_size
        return 0

    def _is_lost(self, folder: Path, job: Job) -> bool:
        process = _json(folder / "process.json")
        if process is None:
            return self._clock.now().timestamp() - job.started_at > 10.0
        gone = process_started(int(process["pid"])) != process["started"]
        return gone and not (folder / "end.json").exists()

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except OSError:
            return []

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]

    def _forget_old(self) -> None:
        for name in sorted(self._names(), reverse=True)[KEPT:]:
            job = self.find(name)
            if job is None or not job.running:
                self._ended.pop(name, None)
                shutil.rmtree(self._folder / name, ignore_errors=True)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
