"""The stream of an SQLite store to another place, by litestream, supervised beside the slots.

litestream reads the write-ahead log and sends each transaction within a second or so; the store's own writers
wait for nothing. Its configuration names the secrets, which it finds among its variables.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guarded_rollout.config.copies import StreamTarget
from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import (
    FileThereError,
    MissingProgramError,
    NoAnswerError,
    NoStreamError,
    ReadableSecretsError,
    StreamError,
    UnsetVariableError,
)
from guarded_rollout.files import scratch_folder, sha256, sync_folder, write_atomic
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.host.processes import STREAM, Processes, Spec
from guarded_rollout.host.programs import program
from guarded_rollout.host.variables import base_variables
from guarded_rollout.secret import expand, secrets_of
from guarded_rollout.sqlite import damage_of

SCRATCH = ".restoring-"
ANSWER_SECONDS = 1.0
DRAIN_SECONDS = 10.0
LEAST_SECONDS = 0.1  # behind, where something is not sent yet
SOCKET = "ls"
SYNC, LIST = "/sync", "/list"  # of litestream's socket


@dataclass(frozen=True, slots=True)
class StreamState:
    """How far the stream is: seconds of writes that only this machine has; None if it does not say.

    0 says that all that was committed when it was asked is at the target. Otherwise the seconds count from
    the last sending that succeeded.
    """

    lag_seconds: float | None
    problem: str = ""


class Stream:
    """The stream of one environment's store; it does nothing where rollout.toml names no target."""

    def __init__(self, environment: Environment, processes: Processes) -> None:
        self._environment, self._processes = environment, processes
        self._socket = environment.run / SOCKET
        self._file = environment.root / "supervisor" / "litestream.json"

    def ensure(self) -> None:
        """Run it if it is configured and there is a store; else stop it.

        A release is never kept from running by its stream: preflight and status say what is wrong with that.
        """
        target, store = self._environment.stream, self._store
        if target is None or store is None or not store.exists():
            self.stop()
            return
        with suppress(MissingProgramError, UnsetVariableError, ReadableSecretsError):
            command = self.command()
            # Another configuration is another spec, which replaces what runs.
            variables = {**self._variables(target), "ROLLOUT_CONFIGURATION": sha256(self._file)}
            folder = str(self._environment.project)
            self._processes.start(STREAM, Spec(command, variables, folder, DRAIN_SECONDS))

    def command(self) -> list[str]:
        """The command that streams the store, its configuration written. Raises `MissingProgramError`."""
        target, store = self._environment.stream, self._store
        assert target is not None
        assert store is not None
        return [program("litestream"), "replicate", "-config", str(self._configured(target, store))]

    @property
    def _store(self) -> Path | None:
        return streamed_file(self._environment)

    def require_ready(self) -> None:
        """Raise `MissingProgramError`, `UnsetVariableError` or `ReadableSecretsError` if it cannot run."""
        if self._environment.stream is not None:
            program("litestream")
            self._variables(self._environment.stream)

    def stop(self) -> None:
        """Stop it, as where the store's file is about to be replaced."""
        if self._processes.wanted(STREAM):
            self._processes.stop(STREAM)

    def state(self, now: datetime) -> StreamState | None:
        """Ask it how far it is; None if nothing is streamed."""
        store = self._store
        if self._environment.stream is None or store is None or not store.exists():
            return None
        asked = Endpoint(self._socket, ANSWER_SECONDS)
        try:
            # It reads the log up to here, so what is committed by now has a number of its own.
            position: Any = asked.ask("POST", SYNC, body=json.dumps({"path": str(store)}).encode()).json()
            if position["txid"] == position["replicated_txid"]:
                return StreamState(0.0)
            listed: Any = asked.ask("GET", LIST).json()
            [told] = listed["databases"]
            synced = datetime.fromisoformat(_shorter(told["last_sync_at"]))
        except (NoAnswerError, ValueError, LookupError, TypeError):
            return StreamState(None, "litestream does not answer, or its target does not")
        behind = (now - synced).total_seconds()
        return StreamState(max(LEAST_SECONDS, round(behind, 1)))

    def restore(self, into: Path, at: datetime | None = None) -> None:
        """Bring the store back as it was at a time, or as the target has it last, into a new file.

        Raises `NoStreamError`, `FileThereError`, `StreamError`; then there is no file.
        """
        target, store = self._environment.stream, self._store
        if target is None or store is None:
            raise NoStreamError(environment=self._environment.name)
        if into.exists():
            raise FileThereError(path=into)
        into.parent.mkdir(parents=True, exist_ok=True)
        words = ["-timestamp", f"{at.astimezone(UTC):%FT%TZ}"] if at else []
        with scratch_folder(SCRATCH, into.parent) as scratch:
            part = scratch / "store"
            self._run("restore", target, store, *words, "-o", str(part))
            if problem := damage_of(part):
                raise StreamError(reason=f"what came back is damaged: {problem}")
            part.chmod(0o600)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            os.link(part, into)
        sync_folder(into.parent)

    def rehearse(self) -> None:
        """Ask litestream how it would bring the store back, without doing so: a target may have a gap.

        Raises `NoStreamError`, `StreamError`.
        """
        target, store = self._environment.stream, self._store
        if target is None or store is None:
            raise NoStreamError(environment=self._environment.name)
        self._run("restore", target, store, "-dry-run", "-o", str(self._file.with_name("rehearsed")))

    def _run(self, name: str, target: StreamTarget, store: Path, *words: str) -> None:
        command = [program("litestream"), name, "-config", str(self._configured(target, store)), *words]
        variables = self._variables(target)
        done = subprocess.run(
            [*command, str(store)],
            env=dict(variables),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            said = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-2:])
            for word in target.variables:
                said = said.replace(variables[word], "***") if variables[word] else said
            raise StreamError(reason=said or f"exit code {done.returncode}")

    def _configured(self, target: StreamTarget, store: Path) -> Path:
        """Write litestream's configuration (JSON is YAML too)."""
        replica = {
            "url": f"{target.url.rstrip('/')}/{self._environment.name}",
            "sync-interval": f"{target.sync_seconds:g}s",
            **target.settings,
        }
        keep = f"{target.retention_hours:g}h"
        content: dict[str, object] = {
            "socket": {"enabled": True, "path": str(self._socket), "permissions": 0o600},
            "snapshot": {"interval": "24h", "retention": keep},
            "logging": {"type": "json", "level": "info"},
            "dbs": [{"path": str(store), "replica": replica}],
        }
        if target.metrics_port:
            content["addr"] = f"127.0.0.1:{target.metrics_port}"
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(self._file, json.dumps(content, indent=1), mode=0o600)
        return self._file

    def _variables(self, target: StreamTarget) -> Mapping[str, str]:
        known = secrets_of(self._environment.service.env_file)
        where = "backup.stream.variables"
        own = {
            name: expand(text, known, variable=f"{where}.{name}") for name, text in target.variables.items()
        }
        return {**base_variables(), **own}


def streamed_file(environment: Environment) -> Path | None:
    """The store's file, if it is one."""
    scheme, _, path = environment.store.reveal().partition(":///")
    return environment.project / path if scheme.startswith("sqlite") and path else None


def _shorter(stamp: str) -> str:
    """A time of Go's, whose nanoseconds `datetime` does not read."""
    seconds, _, rest = stamp.partition(".")
    return f"{seconds}.{rest[:6].rstrip('Z').ljust(6, '0')}+00:00" if rest else stamp
