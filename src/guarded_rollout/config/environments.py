"""`rollout.toml` → a frozen `Project` with its environments.

The documented example beside this module is the validator: it names every key, and its values are the
defaults and show the types. Pydantic, which validates the gates file, would cost every command 0.2 s of CPU,
four times what this module takes. Both say a mistake in the same words.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from guarded_rollout.config.explain import TYPES, unknown_key
from guarded_rollout.config.recipe import BuildKind, Recipe
from guarded_rollout.config.service_checks import CheckProblem, parse_check
from guarded_rollout.errors import ConfigurationError, UnknownEnvironmentError
from guarded_rollout.secret import Secret

Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrafficStep:
    """A share of the traffic for the candidate, and its hold time before the next step."""

    percent: int
    hold_seconds: float


@dataclass(frozen=True, slots=True)
class Checks:
    """The rules by which a release counts as healthy. All times in seconds."""

    consecutive: int
    interval_seconds: float
    validation_interval_seconds: float
    timeout_seconds: float
    start_seconds: float
    drain_seconds: int


@dataclass(frozen=True, slots=True)
class DeclaredWrites:
    """The answers by which the service confirms that it has stored something: their routes and statuses."""

    routes: tuple[str, ...]
    statuses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """The guarded service: its source, and its commands and variables as templates."""

    source: Path
    lock: str
    python: str
    token_variable: str
    retry_posts: tuple[str, ...]
    silent_seconds: float
    routes: tuple[str, ...]
    writes: DeclaredWrites
    build: BuildKind
    prepare: tuple[tuple[str, ...], ...]
    build_command: tuple[str, ...]
    env_file: Path | None
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


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment on this machine: a port, a folder, and the settings of its rollouts."""

    name: str
    project: Path  # the folder of rollout.toml; where commands run
    port: int
    metrics_port: int  # on loopback, for Prometheus; 0: none
    root: Path
    other_roots: tuple[Path, ...]  # of the project's other environments: they share its releases
    workers: int
    store: Secret  # its URL may hold a password
    confirm: bool
    release_header: str  # empty: answers do not name their release
    sticky: bool
    traffic: tuple[TrafficStep, ...]
    checks: Checks
    service: Service
    releases: Path
    backups: Path
    logs: Path
    gates: Path
    keep_releases: int
    minimum_free_mb: int
    keep_backups: int
    signing_key: Path | None
    allowed_signers: Path | None
    approvals: int
    ops: tuple[str, ...]

    def shown(self, path: Path) -> str:
        """Return a path as the operator types it: relative to the project's folder, if it is in there."""
        return str(path.relative_to(self.project) if path.is_relative_to(self.project) else path)

    @property
    def run(self) -> Path:
        """Sockets and the share file."""
        return self.root / "run"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def originals(self) -> Path:
        """Submitted files that the service keeps, if it does; see DHASH_ORIGINALS in rollout.toml."""
        return self.data / "originals"

    @property
    def service_logs(self) -> Path:
        """The output of the supervised processes."""
        return self.root / "logs"

    @property
    def edge_log(self) -> Path:
        """What the proxy writes of each request to the public port."""
        return self.root / "logs" / "edge.log"

    @property
    def journal(self) -> Path:
        return self.root / "journal.db"

    @property
    def lock(self) -> Path:
        return self.root / "lock"


@dataclass(frozen=True, slots=True)
class Project:
    """All of one rollout.toml."""

    path: Path
    environments: Mapping[str, Environment]

    def environment(self, name: str) -> Environment:
        """Return an environment. Raises `UnknownEnvironmentError`."""
        try:
            return self.environments[name]
        except KeyError:
            raise UnknownEnvironmentError(
                name=name, path=self.path, known=", ".join(self.environments)
            ) from None


@cache
def example_tables() -> Table:
    """Return the documented example: help text, defaults and schema at once."""
    return tomllib.loads(files("guarded_rollout.config").joinpath("rollout.example.toml").read_text())


def load(path: Path) -> Project:
    """Read rollout.toml; a missing file means all defaults. Raises `ConfigurationError`."""
    path = path.absolute()
    try:
        given = tomllib.loads(path.read_text()) if path.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(path=path, where="syntax", problem=str(error)) from None
    except OSError as error:
        raise ConfigurationError(path=path, where="file", problem=error.strerror) from None
    return parse(given, path)


def parse(given: Table, path: Path) -> Project:
    """Return the project that these tables describe."""
    try:
        check(given, example_tables())
        tables = _merge(example_tables(), given)
        if "checks" in given.get("service", {}):  # one's own checks stand in for the example's
            tables["service"]["checks"] = given["service"]["checks"]
        return _project(tables, path)
    except _Problem as problem:
        raise ConfigurationError(path=path, where=problem.where, problem=problem.sentence) from None


class _Problem(Exception):
    def __init__(self, where: str, sentence: str) -> None:
        self.where, self.sentence = where, sentence


_WANTED = {
    dict: "a table",
    list: TYPES["array"],
    str: TYPES["string"],
    bool: TYPES["boolean"],
    int: TYPES["integer"],
    float: TYPES["number"],
}


def check(given: Table, example: Table, where: str = "") -> None:
    """Raise a problem for the first key or type that the example does not know."""
    for key, value in given.items():
        place = f"{where}.{key}" if where else key
        if where == "environments":  # any name; each as the defaults are
            _check_value(value, example_tables()["defaults"], place)
        elif where == "service.variables":  # any name
            _check_value(value, "", place)
        elif where == "service.checks":  # any name
            _check_service_check(key, value, place)
        elif key not in example:
            raise _Problem(place, unknown_key(key, list(example)))
        else:
            _check_value(value, example[key], place)


def _check_service_check(name: str, table: object, place: str) -> None:
    if not isinstance(table, dict):
        raise _Problem(place, f"{table!r} is not a table")
    try:
        parse_check(name, table)
    except CheckProblem as problem:
        raise _Problem(f"{place}.{problem.key}" if problem.key else place, problem.sentence) from None


def _check_value(value: object, example: object, where: str) -> None:
    if isinstance(example, dict) and isinstance(value, dict):
        check(value, example, where)
    elif isinstance(example, list) and isinstance(value, list):
        for position, item in enumerate(value):
            _check_value(item, example[0], f"{where}[{position}]")
            if isinstance(item, dict) and (missing := example[0].keys() - item.keys()):
                raise _Problem(f"{where}[{position}]", f"needs {', '.join(sorted(missing))}")
    elif isinstance(example, float) and type(value) is int:
        return
    elif type(value) is not type(example):
        raise _Problem(where, f"{value!r} is not {_WANTED[type(example)]}, such as {example!r}")


def _merge(base: Table, over: Table) -> Table:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _project(tables: Table, path: Path) -> Project:
    folder, project, service = path.parent, tables["project"], tables["service"]
    built = Service(
        source=folder / service["source"],
        lock=service["lock"],
        python=service["python"],
        token_variable=service["token_variable"],
        retry_posts=tuple(service["retry_posts"]),
        silent_seconds=float(service["silent_seconds"]),
        routes=tuple(service["routes"]),
        writes=_writes(service["writes"]),
        build=_build_kind(service["build"]),
        prepare=tuple(tuple(command) for command in service["prepare"]),
        build_command=tuple(service["build_command"]),
        env_file=_optional(folder, service["env_file"]),
        commands={name: tuple(words) for name, words in service["commands"].items()},
        variables=service["variables"],
        checks=service["checks"],
    )
    for name, words in built.commands.items():
        _require(bool(words), f"service.commands.{name}", "an empty list is no command")
    _require(
        built.build is not BuildKind.COMMAND or bool(built.build_command),
        "service.build_command",
        '`build = "command"` needs the command that fills {out}',
    )
    environments = {
        name: _environment(name, _merge(tables["defaults"], table), project, tables["review"], built, folder)
        for name, table in tables["environments"].items()
    }
    _require_distinct(environments)
    roots = {environment.root for environment in environments.values()}
    return Project(
        path,
        {
            name: replace(environment, other_roots=tuple(sorted(roots - {environment.root})))
            for name, environment in environments.items()
        },
    )


def _writes(table: Table) -> DeclaredWrites:
    return DeclaredWrites(tuple(filter(None, table["routes"])), tuple(table["statuses"]))


def _build_kind(given: str) -> BuildKind:
    _require(given in set(BuildKind), "service.build", f"{given!r} is none of {', '.join(BuildKind)}")
    return BuildKind(given)


def _environment(
    name: str, table: Table, project: Table, review: Table, service: Service, folder: Path
) -> Environment:
    where = f"environments.{name}"
    root = folder / table["root"].replace("{name}", name)
    checks = Checks(**table["checks"])
    steps = tuple(TrafficStep(**step) for step in table["traffic"])
    _require(name.isidentifier() and name.islower(), where, "a name is lower-case letters, digits and _")
    _require(1 <= table["port"] <= 65535, f"{where}.port", "a port is 1 to 65535")
    _require(0 <= table["metrics_port"] <= 65535, f"{where}.metrics_port", "a port is 1 to 65535, 0 is none")
    _require(project["keep_backups"] >= 1, "project.keep_backups", "at least one backup is kept")
    _require(1 <= table["workers"] <= 64, f"{where}.workers", "there are 1 to 64 workers")
    _require(checks.consecutive >= 1, f"{where}.checks.consecutive", "at least one check is needed")
    positive = checks.timeout_seconds > 0 and checks.start_seconds > 0
    _require(positive, f"{where}.checks", "timeout_seconds and start_seconds are above 0")
    named = re.fullmatch(r"[A-Za-z0-9-]{0,64}", table["release_header"])
    _require(named is not None, f"{where}.release_header", "a header's name is letters, digits and -")
    shares = [step.percent for step in steps]
    rising = shares == sorted(set(shares)) and shares[-1:] == [100] and shares[0] > 0
    _require(rising, f"{where}.traffic", "the percents rise from above 0 to 100")
    return Environment(
        name=name,
        project=folder,
        port=table["port"],
        metrics_port=table["metrics_port"],
        root=root,
        other_roots=(),
        workers=table["workers"],
        store=Secret(os.path.expandvars(table["store"]).replace("{root}", str(root))),
        confirm=table["confirm"],
        release_header=table["release_header"],
        sticky=table["sticky"],
        traffic=steps,
        checks=checks,
        service=service,
        releases=folder / project["releases"],
        backups=folder / project["backups"],
        logs=folder / project["logs"],
        gates=folder / project["gates"],
        keep_releases=project["keep_releases"],
        minimum_free_mb=project["minimum_free_mb"],
        keep_backups=project["keep_backups"],
        signing_key=_optional(folder, project["signing_key"]),
        allowed_signers=_optional(folder, project["allowed_signers"]),
        approvals=review["approvals"],
        ops=tuple(filter(None, review["ops"])),
    )


def _optional(folder: Path, name: str) -> Path | None:
    return folder / name if name else None


def _require(holds: bool, where: str, sentence: str) -> None:
    if not holds:
        raise _Problem(where, sentence)


def _require_distinct(environments: Mapping[str, Environment]) -> None:
    """Refuse two environments on one port or in one folder: they would take each other down."""
    seen: dict[object, str] = {}
    for attribute in ("port", "root", "metrics_port"):
        for name, environment in environments.items():
            if value := getattr(environment, attribute):
                where = f"environments.{name}.{attribute}"
                _require(value not in seen, where, f"{value} is {seen.get(value)}'s already")
                seen[value] = name
    for name in environments:  # `ls backups/dhash_production_*.zip` would find production_eu's as well
        longer = next((other for other in environments if other.startswith(name + "_")), None)
        sentence = f"its backups could be taken for those of {longer}: no name may begin with another and _"
        _require(longer is None, f"environments.{name}", sentence)
