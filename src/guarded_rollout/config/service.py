"""The guarded service as `[service]` of rollout.toml describes it. Values alone, no I/O."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from guarded_rollout.config.mistake import Mistake, require
from guarded_rollout.config.recipe import BuildKind, Recipe

Kind = TypeVar("Kind", bound=StrEnum)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOG_NAMES = ("deploy", "rollback")  # what commands write; the service's name is that of the monitor's
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


class StoreKind(StrEnum):
    """The ways in which a service keeps its data."""

    NONE = "none"  # it keeps none
    SQLITE = "sqlite"  # one file, copied, checked and exchanged by the guard
    POSTGRESQL = "postgresql"  # a database, dumped and restored by PostgreSQL's own programs
    COMMANDS = "commands"  # the service's own commands copy, check and merge it


@dataclass(frozen=True, slots=True)
class HealthRule:
    """What a well service answers; without seconds, as soon as any check."""

    path: str = "/health"
    valid_status_codes: tuple[int, ...] = (200,)
    timeout_seconds: float = 0.0

    def accepts(self, status: int) -> bool:
        """True if this status says that the service is well."""
        return status in self.valid_status_codes


@dataclass(frozen=True, slots=True)
class DeclaredWrites:
    """The answers by which the service confirms that it has stored something, and how rows are counted."""

    routes: tuple[str, ...]
    statuses: tuple[int, ...]
    count: str  # SQL for the rows of `:release`; empty: nobody counts


@dataclass(frozen=True, slots=True)
class ExportedPanel:
    """A panel of the dashboard about the service: a counter's rate by a label, or quantiles of buckets."""

    title: str
    metric: str
    by: str
    unit: str


@dataclass(frozen=True, slots=True)
class Exported:
    """The service's metrics as Prometheus knows them. `names` is what gates call them otherwise."""

    started: str = "process_start_time_seconds"
    build_info: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    panels: tuple[ExportedPanel, ...] = ()


@dataclass(frozen=True, slots=True)
class DeclaredQuestion:
    """A request that changes nothing, and the fields in which two releases' answers should agree.

    `fields` are JSON pointers, in which `*` is every item of a list. Stable is asked another path where what
    the candidate has stored is compared with what stable makes of the same file again.
    """

    method: str
    path: str
    fields: tuple[str, ...]
    of_stable: str = ""  # the path; empty: the same


@dataclass(frozen=True, slots=True)
class Service:
    """The guarded service: its source, and its commands and variables as templates."""

    name: str  # in the names of archives and logs
    source: Path
    lock: str
    python: str
    token_variable: str
    port_variable: str  # of one that can serve on a port of its own
    resubmit: str  # the path that takes a kept original again; empty: none does
    retry_posts: tuple[str, ...]
    silent_seconds: float
    routes: tuple[str, ...]
    writes: DeclaredWrites
    questions: tuple[DeclaredQuestion, ...]
    build: BuildKind
    left_out: tuple[str, ...]
    prepare: tuple[tuple[str, ...], ...]
    build_command: tuple[str, ...]
    env_file: Path | None
    health: HealthRule
    exported: Exported
    store: StoreKind
    store_programs: str  # the folder of psql, pg_dump and pg_restore; empty: on the PATH
    commands: Mapping[str, tuple[str, ...]]
    variables: Mapping[str, str]
    checks: Mapping[str, Mapping[str, Any]]  # as they stand in the file; `config.service_checks` reads them

    @property
    def recipe(self) -> Recipe:
        """The way a release is built and run today."""
        return Recipe(
            kind=self.build,
            lock=self.lock,
            python=self.python,
            prepare=self.prepare,
            command=self.build_command,
            commands=self.commands,
            variables=self.variables,
            checks=self.checks,
        )


def service_of(table: Mapping[str, Any], folder: Path) -> Service:
    """The service that a whole `[service]` table means. Raises `Mistake`."""
    built = Service(
        name=table["name"],
        source=folder / table["source"],
        lock=table["lock"],
        python=table["python"],
        token_variable=table["token_variable"],
        port_variable=table["port_variable"],
        resubmit=table["resubmit"],
        retry_posts=tuple(table["retry_posts"]),
        silent_seconds=float(table["silent_seconds"]),
        routes=tuple(table["routes"]),
        writes=_writes(table["writes"]),
        questions=tuple(_questions(table["questions"])),
        build=_one_of(BuildKind, table["build"], "service.build"),
        left_out=tuple(table["left_out"]),
        prepare=tuple(tuple(command) for command in table["prepare"]),
        build_command=tuple(table["build_command"]),
        env_file=folder / table["env_file"] if table["env_file"] else None,
        health=_health(table["health"]),
        exported=_exported(table["prometheus"]),
        store=_one_of(StoreKind, table["store"]["kind"], "service.store.kind"),
        store_programs=table["store"]["programs"],
        commands={name: tuple(words) for name, words in table["commands"].items() if words},
        variables=table["variables"],
        checks=table["checks"],
    )
    _require_sense(built)
    return built


def _questions(tables: Sequence[Mapping[str, Any]]) -> Iterator[DeclaredQuestion]:
    for position, table in enumerate(tables):
        method, _, paths = table["ask"].partition(" ")
        path, *others = (one.strip() for one in paths.split("|"))
        where = f"service.questions[{position}].ask"
        fine = (
            method in ("GET", "POST") and len(others) <= 1 and all(p.startswith("/") for p in (path, *others))
        )
        require(fine, where, "is no GET or POST and a path, or `POST /path | /path of stable`")
        yield DeclaredQuestion(method, path, tuple(table["fields"]), *others)


def _one_of(kinds: type[Kind], given: str, where: str) -> Kind:
    require(given in set(kinds), where, f"{given!r} is none of {', '.join(kinds)}")
    return kinds(given)


def _writes(table: Mapping[str, Any]) -> DeclaredWrites:
    return DeclaredWrites(tuple(table["routes"]), tuple(table["statuses"]), table["count"])


def _health(table: Mapping[str, Any]) -> HealthRule:
    rule = HealthRule(table["path"], tuple(table["valid_status_codes"]), float(table["timeout_seconds"]))
    require(rule.path.startswith("/"), "service.health.path", f"{rule.path!r} does not begin with /")
    require(
        bool(rule.valid_status_codes) and all(100 <= code <= 599 for code in rule.valid_status_codes),
        "service.health.valid_status_codes",
        "is a list of status codes, each from 100 to 599, such as [200, 204]",
    )
    return rule


def _exported(table: Mapping[str, Any]) -> Exported:
    panels = tuple(ExportedPanel(**panel) for panel in table["panels"])
    return Exported(table["started"], table["build_info"], table["names"], panels)


def _require_sense(service: Service) -> None:
    require(
        bool(NAME.fullmatch(service.name)),
        "service.name",
        f"{service.name!r} is no name: small letters, digits and -, a letter first, 40 at most",
    )
    require(service.name not in LOG_NAMES, "service.name", f"{service.name!r} is the name of other logs")
    inside = PurePosixPath(service.lock)
    require(
        not inside.is_absolute() and ".." not in inside.parts,
        "service.lock",
        f"{service.lock!r} leads out of the source",
    )
    for key, name in (("token_variable", service.token_variable), ("port_variable", service.port_variable)):
        require(not name or bool(VARIABLE.fullmatch(name)), f"service.{key}", f"{name!r} names no variable")
    require(service.resubmit[:1] in ("", "/"), "service.resubmit", "does not begin with /")
    require("serve" in service.commands, "service.commands.serve", "is missing: it starts the service")
    for name in service.left_out:
        require(bool(PurePosixPath(name).parts), "service.left_out", f"{name!r} is the whole source")
    for number, command in enumerate(service.prepare):
        require(bool(command), f"service.prepare[{number}]", "an empty list is no command; leave it out")
    require(
        service.build is not BuildKind.COMMAND or bool(service.build_command),
        "service.build_command",
        'is missing: `build = "command"` needs the command that fills {out}',
    )
    if service.store is StoreKind.NONE:
        for name in service.commands:
            if name.startswith("store_"):
                raise Mistake("service.store.kind", f'"none" stands beside service.commands.{name}')
