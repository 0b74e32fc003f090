"""One environment on this machine: its slots, processes and traffic, and the service's own commands."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from guarded_rollout.clock import Clock, SystemClock
from guarded_rollout.config.environments import Environment, load, settled
from guarded_rollout.config.holding import holding_of
from guarded_rollout.config.recipe import BuildKind
from guarded_rollout.config.service import StoreKind
from guarded_rollout.errors import (
    BuildError,
    CommandError,
    NoReleaseError,
    NoSuchCommandError,
    NotWritableError,
    ReleaseDamagedError,
    ServingUnknownError,
    UnknownReleaseError,
)
from guarded_rollout.host.build import build, rebuild
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.host.processes import Processes, Spec
from guarded_rollout.host.proxy import Traffic
from guarded_rollout.host.release import Release, RunPlan
from guarded_rollout.host.slots import SLOTS, Slot, Slots
from guarded_rollout.host.stream import Stream
from guarded_rollout.host.variables import base_variables
from guarded_rollout.secret import Secret, expand, filled, secrets_of

SETTLED_SECONDS = 10
CHANGING = ("schema_upgrade", "schema_downgrade", "store_merge", "store_salvage")
"""The commands of a service that change the schema of its store, or exchange what is in it."""

TELLING = ("schema_current", "schema_plan")
"""Those that only tell something: they take as long as a start, however much data there is."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The end of one of the service's commands."""

    ok: bool
    output: str
    errors: str

    def lines(self) -> list[dict[str, object]]:
        """The objects it printed, one a line; other lines are for people."""
        found = []
        for line in self.output.splitlines():
            with suppress(ValueError, RecursionError):
                found.append(json.loads(line))
        return [told for told in found if isinstance(told, dict)]

    def json(self) -> dict[str, object]:
        """The object it printed last; empty if none."""
        return (self.lines() or [{}])[-1]

    def reason(self) -> str:
        """The last lines that it printed, as a reason."""
        said = (self.errors.strip() or self.output.strip()).splitlines()
        return " ".join(line.strip() for line in said[-3:]) or "it said nothing"


@dataclass(frozen=True, slots=True)
class Health:
    """A release's answer about its health."""

    ok: bool
    said: str


class Site:
    """An environment on this machine, as rollouts change it."""

    def __init__(self, environment: Environment, clock: Clock | None = None) -> None:
        self.environment = environment
        self.clock: Clock = clock or SystemClock()
        self.processes = Processes(environment)
        self.slots = Slots(environment)
        self.traffic = Traffic(environment, self.processes)
        self.stream = Stream(environment, self.processes)
        self._answers: dict[tuple[str, str], CommandResult] = {}

    def prepare(self) -> None:
        """Make the environment's folders; only this user may look into them, and git leaves them out."""
        root = self.environment.root
        try:
            root.mkdir(parents=True, exist_ok=True)
            for name in ("run", "data", "logs", "supervisor", "proxy", "slots"):
                (root / name).mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise NotWritableError(path=root, reason=error.strerror) from None
        if not (ignored := root / ".gitignore").exists():
            with suppress(OSError):  # a full disk, which is no reason to stop
                ignored.write_text("*\n")

    def reload(self) -> None:
        """Reread how rollout.toml runs a release; ports and folders stay those of what runs."""
        fresh = load(self.environment.settings).environment(self.environment.name)
        self.environment = replace(
            self.environment, service=fresh.service, checks=fresh.checks, workers=fresh.workers
        )

    def ensure(self) -> None:
        """Start whatever should run and does not, and wait until it answers.

        A release that does not answer soon is left to the supervisor: it may be what is to be replaced.
        """
        self.start_all()
        standing = [slot for slot in SLOTS if self.slots.release(slot)]
        young = [slot for slot in standing if self.processes.state(slot).uptime_seconds < SETTLED_SECONDS]
        until = self.clock.monotonic() + SETTLED_SECONDS
        while any(not self.answers(slot) for slot in young) and self.clock.monotonic() < until:
            self.clock.sleep(0.1)

    def start_all(self) -> None:
        """Start whatever should run and does not, without waiting for any of it."""
        self.processes.ensure()
        standing = {slot: release for slot in SLOTS if (release := self.slots.release(slot))}
        if standing:
            self.traffic.ensure()
        for slot, release in standing.items():
            if not self.processes.wanted(slot):  # one that runs keeps the configuration it was started with
                self.start(slot, release)
        self.stream.ensure()

    def answers(self, slot: Slot) -> bool:
        """Return True if the release in this slot answers as healthy."""
        return self.health(self.private(slot)).ok

    def health(self, endpoint: Endpoint) -> Health:
        """Ask a release whether it is well, as `[service.health]` says."""
        rule = self.environment.service.health
        seconds = rule.timeout_seconds or endpoint.timeout_seconds
        answer = replace(endpoint, timeout_seconds=seconds).fetch("GET", rule.path)
        if answer.problem:
            return Health(False, f"none, it {answer.problem}")
        return Health(rule.accepts(answer.status), answer.summary())

    # ---- where it answers

    def private(self, slot: Slot) -> Endpoint:
        return Endpoint(self.slots.socket(slot), self.environment.checks.timeout_seconds)

    def public(self) -> Endpoint:
        """The public port, as clients reach it."""
        environment, tls = self.environment, self.environment.tls
        seconds = environment.checks.timeout_seconds
        if not tls.on:
            return Endpoint(f"http://127.0.0.1:{environment.port}", seconds)
        return Endpoint(environment.url, seconds, root=tls.root, here=True)

    def token(self) -> Secret | None:
        """The bearer token for a service that is locked, from the operator's own environment."""
        given = os.environ.get(self.environment.service.token_variable)
        return Secret(given) if given else None

    # ---- releases

    def serving(self) -> Release | None:
        """The release that has the traffic.

        Raises `ServingUnknownError` where one has it and cannot be read: that is no empty machine.
        """
        try:
            return self.slots.require(self.traffic.serving())
        except UnknownReleaseError as error:
            problem = f"{self.environment.releases / str(error.data['id'])} is gone."
        except ReleaseDamagedError as error:
            problem = error.sentence
        raise ServingUnknownError(environment=self.environment.name, problem=problem)

    @property
    def serves(self) -> bool:
        """True if a release has the traffic, whether it can be read or not."""
        return self.slots.taken(self.traffic.serving())

    def require_serving(self) -> Release:
        release = self.serving()
        if release is None:
            raise NoReleaseError(environment=self.environment.name)
        return release

    def release(self, identity: str) -> Release:
        """Return a release by its id. Raises `UnknownReleaseError`, `ReleaseDamagedError`."""
        slot = self.slots.find(identity)
        standing = self.slots.require(slot) if slot else None
        return standing or Release.load(self.environment.releases / identity)

    def build(self, spec: str | None, folder: Path | None = None) -> Release:
        """Build a release from the configured source, or from this one, unless it is built already.

        Raises `BuildError`, of an empty one too: a script's variable that is not set means no checkout.
        """
        service = self.environment.service
        if spec == "":
            raise BuildError(source="an empty --from", problem="it names no folder, wheel or revision")
        return build(
            str(service.source) if spec is None else spec,
            folder or self.environment.releases,
            checkout=service.source,
            recipe=service.recipe,
            clock=self.clock,
            known=self.environment.releases,
            apart=self.environment.own_places,
            store=self.store_url if service.store is StoreKind.POSTGRESQL else "",
            secrets=secrets_of(service.env_file),
        )

    def rebuild(self, origin: Path) -> Release:
        """Rebuild a release from the files of a backup."""
        return rebuild(origin, self.environment.releases, python=self.environment.service.python)

    def start(self, slot: Slot, release: Release) -> None:
        """Run a release in a slot; if it runs there already, nothing happens."""
        release.require_intact()
        values = self._values(release, slot)
        self.slots.assign(slot, release)
        self.processes.start(
            slot,
            Spec(
                command=[filled(word, values) for word in self._words(release, "serve")],
                environment=base_variables() | self._variables(release, slot),
                folder=str(self._folder(release)),
                drain_seconds=self.environment.checks.drain_seconds,
                socket=str(self.slots.socket(slot)),
            ),
        )
        self.stream.ensure()

    def stop(self, slot: Slot) -> None:
        """Drain and stop what runs in a slot, and empty it."""
        self.processes.stop(slot)
        self.slots.clear(slot)
        self.slots.socket(slot).unlink(missing_ok=True)
        shutil.rmtree(self.environment.samples, ignore_errors=True)  # there is nothing to compare any more

    def ask_to_stop(self, slot: Slot) -> None:
        """Ask what runs in a slot to drain, and empty the slot; nobody waits for it here."""
        self.processes.ask_to_stop(slot)
        self.slots.clear(slot)

    def shut_down(self) -> None:
        """Stop everything; a service does not always take its socket with it."""
        self.processes.shut_down()
        for slot in SLOTS:
            self.slots.socket(slot).unlink(missing_ok=True)

    # ---- the service's own commands

    def command(
        self, release: Release, name: str, *arguments: str, slot: Slot = "blue", store: str | None = None
    ) -> CommandResult:
        """Run one of the service's commands, as configured, with a release's own programs.

        `store` is the URL of a store to use in place of the environment's. What only tells something and
        hangs is ended after `start_seconds`. Raises `NoSuchCommandError`.
        """
        words = [*self._words(release, name), *arguments]
        if store is None and name in CHANGING:
            self._answers.clear()
        limit = self.environment.checks.start_seconds if name in TELLING else None
        return self.run(words, release, slot=slot, store=store, timeout=limit)

    def _words(self, release: Release, name: str) -> tuple[str, ...]:
        words = self.plan(release).commands.get(name, ())
        if not words:
            raise NoSuchCommandError(name=name, release=release.id)
        return words

    def run(
        self,
        template: Sequence[str],
        release: Release,
        *,
        slot: Slot = "blue",
        store: str | None = None,
        more: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> CommandResult:
        """Run a command of a release; `more` fills further `{names}` of its template."""
        values = {**self._values(release, slot, store), **(more or {})}
        words = [filled(word, values) for word in template]
        environment = base_variables() | self._variables(release, slot, store)
        if token := self.token():
            environment[self.environment.service.token_variable] = token.reveal()
        root = self.environment.tls.root
        if root and (more or {}).get("url", "").startswith("https:"):
            environment.setdefault("SSL_CERT_FILE", str(root))
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                check=False,
                env=environment,
                cwd=self._folder(release),
                stdin=subprocess.DEVNULL,
                timeout=timeout,
            )
        except OSError as error:
            return CommandResult(False, "", f"{words[0]}: {error.strerror}")
        except subprocess.TimeoutExpired:
            return CommandResult(False, "", f"it did not end within {timeout:g} s")
        return CommandResult(done.returncode == 0, done.stdout, done.stderr)

    def require(
        self, release: Release, name: str, *arguments: str, store: str | None = None
    ) -> CommandResult:
        """The same, raising `CommandError` with its own words when it fails."""
        result = self.command(release, name, *arguments, store=store)
        if not result.ok:
            words = " ".join([*self._words(release, name), *arguments])
            raise CommandError(name=name, command=words, release=release.id, reason=result.reason())
        if store is None and not arguments:
            self._answers[release.id, name] = result
        return result

    def remembered(self, release: Release, name: str) -> CommandResult:
        """Return what a command told this program, if it has changed no schema since; else ask again."""
        return self._answers.get((release.id, name)) or self.require(release, name)

    def has(self, release: Release, name: str) -> bool:
        """True if this release can do what the command is for."""
        return bool(self.plan(release).commands.get(name))

    def plan(self, release: Release) -> RunPlan:
        """The way a release is run: as when it was built; one from before that, as rollout.toml says."""
        service = self.environment.service
        return release.run or RunPlan(
            service.python or sys.executable,
            commands=service.commands,
            variables=service.variables,
            checks=service.checks,
        )

    def _folder(self, release: Release) -> Path:
        """The folder in which a release's commands run."""
        return self.environment.project if release.build is BuildKind.WHEEL else release.app

    def _variables(self, release: Release, slot: Slot, store: str | None = None) -> dict[str, str]:
        values = {**self._values(release, slot, store), **held_values(self.environment)}
        secrets = secrets_of(self.environment.service.env_file)
        return {
            name: expand(word, secrets, variable=name, values=values)
            for name, word in self.plan(release).variables.items()
        }

    @property
    def store_url(self) -> str:
        """The store's URL. Raises `UnsetVariableError` if a secret in it is not known."""
        environment = self.environment
        if environment.store_is_known:
            return environment.store.reveal()
        secrets = secrets_of(environment.service.env_file)
        where = f"environments.{environment.name}.store"
        return settled(expand(environment.store.reveal(), secrets, variable=where), environment.project)

    def _values(self, release: Release, slot: Slot, store: str | None = None) -> Mapping[str, str]:
        url = store or self.store_url
        return {
            "bin": str(release.programs),
            "app": str(release.app),
            "python": self.plan(release).python,
            "release": release.id,
            "uds": str(self.slots.socket(slot)),
            "store": url,
            "store_file": str(self.environment.project / url.partition(":///")[2]),
            "root": str(self.environment.root),
            "workers": str(self.environment.workers),
            "drain": str(self.environment.checks.drain_seconds),
        }


def held_values(environment: Environment) -> Mapping[str, str]:
    """What a service is told of how long backups hold what it erases; no days are for ever."""
    held = holding_of(environment)
    return {"backup_days": "" if held.days is None else str(held.days), "backup_count": str(held.count)}
