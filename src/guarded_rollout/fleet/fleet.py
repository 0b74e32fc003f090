"""A fleet: the inventory, the record beside it, and the operations on both."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from guarded_rollout.clock import Clock
from guarded_rollout.errors import (
    FleetBusyError,
    FleetInstallError,
    FleetMixedError,
    FleetNotOpenError,
    FleetNotReadyError,
    FleetOpenError,
    FleetTakenBackError,
    InventoryError,
    LockHeldError,
)
from guarded_rollout.fleet.artifact import Artifact
from guarded_rollout.fleet.hosts import HostState, described, not_ready, one_release, to_take_back
from guarded_rollout.fleet.play import Event, literal, run
from guarded_rollout.journal.model import UNDOING, Rollout, RolloutOutcome, StepOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import acquire

UP = "fleet up"
FORMATS = (".yml", ".yaml", ".json", ".ini", ".toml", ".py")
"""Endings of inventories that say how they are written; `hosts.eu` and `hosts.us` are two fleets."""
SHOWN = {
    "Install what it needs, as locked": "installing what the guard needs",
    "Install it": "installing the guard",
    "Drain": "drained",
    "Roll out": "rolling out",
    "Wait for the window": "watching",
    "Abort what is open": "taking back",
    "Return to what it served": "taking back",
    "Contract": "contracting the schema",
}
"""The tasks that take their time, and what is said of a host when one begins."""


GONE = "it is not in the inventory any more"


@dataclass(slots=True)
class Told:
    """What a play has told so far."""

    hosts: dict[str, HostState] = field(default_factory=dict)  # in the order of the inventory
    failed: dict[str, str] = field(default_factory=dict)  # host: words of its first failure
    unreachable: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)  # could not be taken back
    back: list[str] = field(default_factory=list)
    code: int = -1
    words: str = ""

    @property
    def reason(self) -> str:
        """The first thing that went wrong, as a sentence."""
        for host, words in (*self.failed.items(), *self.unreachable.items(), *self.left.items()):
            return f"{host}: {words.strip().rstrip('.')}."
        return self.words


@dataclass(frozen=True, slots=True)
class Fleet:
    """The hosts of an inventory in one environment. `variables` are Ansible's."""

    inventory: Path
    environment: str
    clock: Clock
    say: Callable[[str], None]
    operator: str
    variables: Mapping[str, object] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The record's place: beside the inventory, whether that is a file or a folder."""
        name = self.inventory.stem if self.inventory.suffix in FORMATS else self.inventory.name
        return self.inventory.with_name(f"{name}.fleet")

    @property
    def _group(self) -> str:
        return f"the group {self.variables.get('fleet_group', 'fleet')}"

    # ---- operations

    def status(self) -> list[HostState]:
        """Ask every host. Changes nothing. Raises `InventoryError`."""
        told = self._play("status.yml", {})
        if not told.hosts:
            raise InventoryError(
                path=self.inventory, reason=told.words or f"it has no hosts in {self._group}"
            )
        return [
            replace(host, problem=told.failed.get(host.name, host.problem)) if host.problem else host
            for host in told.hosts.values()
        ]

    def install(self) -> list[str]:
        """Install the guard on every host; return their names. Raises `FleetInstallError`."""
        with self._exclusive("install"):
            told = self._play("install.yml", {})
        if told.code != 0 or not told.hosts:
            raise FleetInstallError(reason=told.reason or f"the inventory has no hosts in {self._group}.")
        return list(told.hosts)

    def up(self, artifact: Artifact, why: str) -> str | None:
        """Roll out over all hosts; return the release that all serve then.

        Raises `FleetOpenError`, `FleetNotReadyError`, `FleetTakenBackError`, `FleetMixedError`.
        """
        with self._exclusive("up") as journal:
            if (opened := journal.open_rollout(self.environment)) is not None:
                raise FleetOpenError(
                    fleet=self.inventory.name,
                    target=opened.target,
                    operator=opened.operator,
                    since=f"{opened.started_at:%FT%TZ}",
                )
            hosts = self.status()
            if problem := not_ready(hosts):
                raise FleetNotReadyError(problem=problem)
            rollout = journal.begin(
                self.environment,
                UP,
                operator=self.operator,
                source=one_release(hosts) or "mixed",
                target=artifact.name,
                why=why,
                plan={"before": {host.name: host.serving for host in hosts}, "artifact": asdict(artifact)},
            )
            self.say(f"rolling {artifact.name} out over {len(hosts)} hosts")
            return self._forward(journal, rollout)

    def resume(self) -> str | None:
        """Complete the open rollout, or its taking back where that had begun. Raises as `up`."""
        with self._exclusive("resume") as journal:
            rollout = self._require_open(journal)
            if begun := rollout.note(UNDOING):
                self._take_back(journal, rollout, str(begun.data["cause"]))
                return None
            return self._forward(journal, rollout.id)

    def abort(self, why: str) -> None:
        """Take the open rollout back on every host that it touched. Raises `FleetMixedError`."""
        with self._exclusive("abort") as journal:
            self._take_back(journal, self._require_open(journal), why)

    def history(self, limit: int) -> list[Rollout]:
        """Return what was done, the newest first."""
        with Journal.open(self.folder / "journal.db", clock=self.clock, create=False) as journal:
            return journal.history(self.environment, limit=limit)

    def open_rollout(self) -> Rollout | None:
        with Journal.open(self.folder / "journal.db", clock=self.clock, create=False) as journal:
            return journal.open_rollout(self.environment)

    # ---- inside

    @contextmanager
    def _exclusive(self, command: str) -> Iterator[Journal]:
        self.folder.mkdir(parents=True, exist_ok=True)
        named = f"rollout fleet {command}, {self.operator}"
        try:
            with (
                acquire(
                    self.folder / f"{self.environment}.lock", environment=self.environment, command=named
                ),
                Journal.open(self.folder / "journal.db", clock=self.clock) as journal,
            ):
                yield journal
        except LockHeldError as error:
            raise FleetBusyError(fleet=self.inventory.name, owner=error.data["owner"]) from None

    def _require_open(self, journal: Journal) -> Rollout:
        rollout = journal.open_rollout(self.environment)
        if rollout is None:
            raise FleetNotOpenError(fleet=self.inventory.name)
        return rollout

    def _forward(self, journal: Journal, rollout: UUID) -> str | None:
        plan = journal.rollout(rollout).plan
        artifact = Artifact(**plan["artifact"])
        told = self._play(
            "rollout.yml",
            {
                "release_wheel": artifact.wheel,
                "release_lock": artifact.lock,
                "release_source": artifact.source,
                "release_before": plan["before"],
                "rollout_why": journal.rollout(rollout).why,
            },
            (journal, rollout),
        )
        if told.code == 0:
            hosts = self.status()
            if (release := one_release(hosts)) is None:
                raise FleetMixedError(hosts=described(hosts), reason="Somebody else is at work on it.")
            journal.end(rollout, RolloutOutcome.COMPLETED)
            return release
        if told.back or told.left:
            journal.note(rollout, UNDOING, cause=told.reason)
        self._conclude(journal, rollout, told)
        return None

    def _take_back(self, journal: Journal, rollout: Rollout, why: str) -> None:
        before = rollout.plan["before"]
        if rollout.note(UNDOING) is None:
            journal.note(rollout.id, UNDOING, cause=why)
        touched = to_take_back(rollout, self._hosts(before), before)
        if not touched:
            journal.end(rollout.id, RolloutOutcome.ROLLED_BACK, why)
            return
        self.say(f"taking back {', '.join(touched)}")
        given = {"back_hosts": list(touched), "release_before": before, "back_why": why}
        told = self._play("take_back.yml", given, (journal, rollout.id))
        if told.code == 0 and not told.left and set(touched) <= set(told.back):
            journal.end(rollout.id, RolloutOutcome.ROLLED_BACK, why)
            return
        hosts = self._hosts(before)
        lost = " ".join(f"{host.name}: {host.problem}." for host in hosts if host.problem)
        raise FleetMixedError(hosts=described(hosts), reason=told.reason or lost)

    def _hosts(self, before: Mapping[str, str | None]) -> list[HostState]:
        """Ask every host; those that the rollout began with and that the inventory lost are there, too."""
        hosts = self.status()
        there = {host.name for host in hosts}
        return hosts + [HostState(name, problem=GONE) for name in before if name not in there]

    def _conclude(self, journal: Journal, rollout: UUID, told: Told) -> None:
        """End a rollout whose play has failed, if nothing of it is left; raise what to know."""
        before = journal.rollout(rollout).plan["before"]
        hosts = self._hosts(before)
        if not told.failed and not told.unreachable:  # Ansible itself: no host was touched by that
            reason = told.words or "Ansible ended without a reason"
            if not to_take_back(journal.rollout(rollout), hosts, before):
                journal.end(rollout, RolloutOutcome.FAILED, reason)
            raise InventoryError(path=self.inventory, reason=reason)
        if told.left or told.unreachable or to_take_back(journal.rollout(rollout), hosts, before):
            raise FleetMixedError(hosts=described(hosts), reason=told.reason)
        journal.end(rollout, RolloutOutcome.ROLLED_BACK, told.reason)
        raise FleetTakenBackError(reason=told.reason)

    def _play(
        self, playbook: str, variables: Mapping[str, object], record: tuple[Journal, UUID] | None = None
    ) -> Told:
        own = {"rollout_environment": self.environment, "rollout_operator": self.operator}
        given = {**literal(own), **self.variables, **literal(variables)}
        told = Told()
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{self.environment}-{playbook.removesuffix('.yml')}.log").open("w") as log:
            for event in run(playbook, self.inventory, given, log):
                self._hear(told, event)
                if record is not None:
                    _record(*record, event)
        return told

    def _hear(self, told: Told, event: Event) -> None:
        """Take an event in, and say what an operator waits for."""
        host = str(event.get("host", ""))
        match event["event"]:
            case "task":
                told.hosts.setdefault(host, HostState(host, problem="it was not asked"))
                if event["name"].split(" : ")[-1] in SHOWN:
                    self.say(f"{host}: {SHOWN[event['name'].split(' : ')[-1]]}")
            case "report":
                self._report(told, host, event)
            case "failed":
                told.failed.setdefault(host, str(event["words"]))
                self.say(f"{host}: {event['name'].split(' : ')[-1]} failed: {event['words'].strip()}")
            case "unreachable" if not event["ignored"]:
                told.unreachable.setdefault(host, str(event["words"]))
                told.hosts[host] = HostState(host, problem=str(event["words"]))
            case "end":
                told.code, told.words = int(event["code"]), str(event["words"])

    def _report(self, told: Told, host: str, event: Event) -> None:
        match event["phase"]:
            case "status":
                told.hosts[host] = HostState.of_status(host, event["status"])
            case "done":
                self.say(f"{host}: serves {event['release']}")
            case "back":
                told.back.append(host)
                self.say(f"{host}: serves what it served before")
            case "left":
                told.left[host] = str(event["reason"]) or "it could not be taken back"
                self.say(f"{host}: could not be taken back")


def _record(journal: Journal, rollout: UUID, event: Mapping[str, Any]) -> None:
    """Write down what a host reports."""
    host = str(event.get("host", ""))
    match event:
        case {"event": "report", "phase": "begin"}:
            journal.intend(rollout, host)
        case {"event": "report", "phase": "done"}:
            journal.settle(rollout, host, StepOutcome.DONE, release=event["release"])
        case {"event": "report", "phase": "back"}:
            journal.settle(rollout, host, StepOutcome.UNDONE)
        case {"event": "report", "phase": "contracted"}:
            journal.note(rollout, "contracted", revisions=event["applied"])
        case {"event": "failed" | "unreachable"}:
            run = journal.rollout(rollout).last(host)
            if run is not None and run.outcome is None:
                journal.settle(rollout, host, StepOutcome.FAILED, error=str(event["words"])[:500])
