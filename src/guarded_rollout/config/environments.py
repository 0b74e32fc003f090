"""`rollout.toml` → a frozen `Project` with its environments."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from guarded_rollout.config.copies import BackupEngine, CopyTarget, StreamTarget, stream_of, targets_of
from guarded_rollout.config.mistake import Mistake, require
from guarded_rollout.config.service import Service, StoreKind, service_of
from guarded_rollout.config.tables import SENTENCE_MOST, Table, completed, example_tables, merged, read, shown
from guarded_rollout.config.tls import Tls, tls_of
from guarded_rollout.errors import ConfigurationError, RolloutError, UnknownEnvironmentError
from guarded_rollout.secret import Secret, expand, secrets_of

SETTINGS_FILE = "rollout.toml"
"""Its usual name: ROLLOUT_TOML may say another."""
CHANNELS_FILE = ".env.notifications"
"""Beside rollout.toml: how people are told, which holds secrets."""
DASHBOARD_FOLDER = ".rollout-ui"
"""Beside it too: the dashboard's token."""
ARTIFACTS_FOLDER = "premerge_artifacts"
PATHS = ("releases", "backups", "logs", "gates", "signing_key", "allowed_signers")


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
    finish_seconds: float


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment on this machine: a port, a folder, and the settings of its rollouts."""

    name: str
    project: Path  # the folder of rollout.toml; where commands run
    settings: Path  # rollout.toml itself, which ROLLOUT_TOML may name otherwise
    port: int
    metrics_port: int  # on loopback, for Prometheus; 0: none
    tls: Tls  # of the public port
    root: Path
    other_roots: tuple[Path, ...]  # of the project's other environments: they share its releases
    workers: int
    store: Secret  # its URL may hold a password
    store_is_known: bool  # False: a $NAME in it is not set here
    confirm: bool
    release_header: str  # empty: answers do not name their release
    sticky: bool
    traffic: tuple[TrafficStep, ...]
    control_percent: int  # what stable keeps until the window closes
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
    reviews: Path | None  # the file of them, if a deployment needs any
    backup_engine: BackupEngine
    wheels_limit_mb: int  # of wheels that backups carry; 0: they carry none
    copies: tuple[CopyTarget, ...]
    stream: StreamTarget | None
    approvals: int
    ops: tuple[str, ...]

    def shown(self, path: Path) -> str:
        """Return a path as the operator types it: relative to the project's folder, if it is in there."""
        return str(path.relative_to(self.project) if path.is_relative_to(self.project) else path)

    @property
    def url(self) -> str:
        """Where people and browsers reach the public port, without a slash at the end."""
        scheme, usual = ("https", 443) if self.tls.on else ("http", 80)
        host = self.tls.domain if self.tls.on else "localhost"
        return f"{scheme}://{host}" + ("" if self.port == usual else f":{self.port}")

    @property
    def redirect_port(self) -> int:
        """The port for plain HTTP beside https; 0: none."""
        return self.tls.redirect_port if self.tls.on else 0

    @property
    def own_places(self) -> tuple[Path, ...]:
        """What is no part of a release, though it may lie in the service's folder: the guard's own, and what
        rollout.toml leaves out."""
        folders = (self.releases, self.backups, self.logs, self.root, *self.other_roots)
        folders += (self.project / DASHBOARD_FOLDER, self.project / ARTIFACTS_FOLDER)
        secrets = (self.service.env_file,) if self.service.env_file else ()
        files = (self.settings, self.gates, self.project / CHANNELS_FILE)
        left_out = (self.service.source / name for name in self.service.left_out)
        return (*folders, *files, *secrets, *left_out)

    @property
    def run(self) -> Path:
        """Sockets and the share file."""
        return self.root / "run"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def samples(self) -> Path:
        """Some of the newest submitted files, left here by the service while releases are compared."""
        return self.run / "samples"

    @property
    def originals(self) -> Path:
        """Submitted files that the service keeps, if it does; each is named by its SHA-256."""
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


def load(path: Path) -> Project:
    """Read rollout.toml; a missing file means all defaults. Raises `ConfigurationError`."""
    path = path.absolute()
    return parse(read(path), path)


def parse(given: Table, path: Path) -> Project:
    """Return the project that these tables describe."""
    try:
        return _project(completed(given), path)
    except Mistake as mistake:
        where, sentence = shown(mistake.where, SENTENCE_MOST), shown(mistake.sentence, SENTENCE_MOST)
        raise ConfigurationError(path=path, where=where, problem=sentence) from None


def _project(tables: Table, path: Path) -> Project:
    folder, project = path.parent, tables["project"]
    _require_paths(tables)
    built = service_of(tables["service"], folder)
    copies = _copies(tables["backup"]["copies"])
    stream = stream_of(tables["backup"]["stream"])
    engine = _engine(tables["backup"]["engine"])
    environments = {
        name: replace(
            _environment(name, merged(tables["defaults"], table), project, tables["review"], built, path),
            backup_engine=engine,
            wheels_limit_mb=tables["backup"]["wheels_limit_mb"] if name in tables["backup"]["wheels"] else 0,
            copies=tuple(target for target in copies if name in target.environments),
            stream=stream if stream and name in stream.environments else None,
        )
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


def _require_paths(tables: Table) -> None:
    """Refuse a path that no file system holds."""
    places = [("project", key) for key in PATHS if key in tables["project"]]
    places += [("service", key) for key in ("source", "lock", "env_file")]
    for table, key in places:
        _require_path(tables[table][key], f"{table}.{key}")


def _require_path(text: str, where: str) -> None:
    fits = all(len(part.encode()) <= 255 for part in Path(text).parts)
    require(fits, where, "has a part that is longer than 255 bytes")


def _engine(given: str) -> BackupEngine:
    require(given in set(BackupEngine), "backup.engine", f"{given!r} is none of {', '.join(BackupEngine)}")
    return BackupEngine(given)


def _copies(tables: Table) -> tuple[CopyTarget, ...]:
    documented = example_tables()["backup"]["copies"]["offsite"]
    try:
        return targets_of({name: merged(documented, table) for name, table in tables.items()})
    except ValueError as error:
        key, sentence = error.args
        raise Mistake(f"backup.copies.{key}", sentence) from None


def _environment(
    name: str, table: Table, project: Table, review: Table, service: Service, path: Path
) -> Environment:
    where, folder = f"environments.{name}", path.parent
    root = folder / table["root"].replace("{name}", name)
    checks = Checks(**table["checks"])
    steps = tuple(TrafficStep(**step) for step in table["traffic"])
    require(name.isidentifier() and name.islower(), where, "a name is lower-case letters, digits and _")
    require(1 <= table["port"] <= 65535, f"{where}.port", "a port is 1 to 65535")
    require(0 <= table["metrics_port"] <= 65535, f"{where}.metrics_port", "a port is 1 to 65535, 0 is none")
    require(project["keep_backups"] >= 1, "project.keep_backups", "at least one backup is kept")
    require(1 <= table["workers"] <= 64, f"{where}.workers", "there are 1 to 64 workers")
    require(checks.consecutive >= 1, f"{where}.checks.consecutive", "at least one check is needed")
    positive = checks.timeout_seconds > 0 and checks.start_seconds > 0
    require(positive, f"{where}.checks", "timeout_seconds and start_seconds are above 0")
    named = re.fullmatch(r"[A-Za-z0-9-]{0,64}", table["release_header"])
    require(named is not None, f"{where}.release_header", "a header's name is letters, digits and -")
    shares = [step.percent for step in steps]
    rising = shares == sorted(set(shares)) and shares[-1:] == [100] and shares[0] > 0
    require(rising, f"{where}.traffic", "the percents rise from above 0 to 100")
    _require_path(table["root"], f"{where}.root")
    store, known = _store(table["store"], root, folder, service, f"{where}.store")
    control = table["control_percent"]
    require(0 <= control <= 50, f"{where}.control_percent", "stable keeps 0 to 50 percent")
    for key in ("file", "key", "root"):
        _require_path(table["certificate"][key], f"{where}.certificate.{key}")
    return Environment(
        name=name,
        project=folder,
        settings=path,
        port=table["port"],
        metrics_port=table["metrics_port"],
        tls=tls_of(table["tls"], table["certificate"], folder, where),
        root=root,
        other_roots=(),
        workers=table["workers"],
        store=Secret(store),
        store_is_known=known,
        confirm=table["confirm"],
        release_header=table["release_header"],
        sticky=table["sticky"],
        traffic=steps,
        control_percent=control,
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
        reviews=_optional(folder, review["file"]),
        backup_engine=BackupEngine.ZIP,
        wheels_limit_mb=0,
        copies=(),
        stream=None,
        approvals=review["approvals"],
        ops=tuple(filter(None, review["ops"])),
    )


def _store(given: str, root: Path, folder: Path, service: Service, where: str) -> tuple[str, bool]:
    """The store's URL with each $NAME filled in, or as it stands where one is not known yet."""
    if not given and service.store in (StoreKind.SQLITE, StoreKind.COMMANDS):
        given = f"sqlite:///{{root}}/data/{service.name}.db"
    try:
        secrets = secrets_of(service.env_file)
        url = expand(given, secrets, variable=where, values={"root": str(root)})
    except RolloutError:
        return given.replace("{root}", str(root)), False  # `Site.store_url` says what is missing
    scheme = {StoreKind.SQLITE: "sqlite:///", StoreKind.POSTGRESQL: "postgres"}.get(service.store, "")
    require(url.startswith(scheme), where, f"does not begin with {scheme}, as {service.store} asks for")
    return settled(url, folder), True


def settled(url: str, folder: Path) -> str:
    """A store's URL that means the same file wherever it is opened: releases run in their own folders."""
    scheme, file, path = url.partition("sqlite:///")
    named = file and not scheme and path and not path.startswith((":", "file:"))
    return f"{file}{folder / path}" if named else url


def _optional(folder: Path, name: str) -> Path | None:
    return folder / name if name else None


def _require_distinct(environments: Mapping[str, Environment]) -> None:
    """Refuse two environments on one port or in one folder: they would take each other down."""
    seen: dict[object, str] = {}
    for attribute, key in (
        ("root", "root"),
        ("port", "port"),
        ("metrics_port", "metrics_port"),
        ("redirect_port", "certificate.redirect_port"),
    ):
        for name, environment in environments.items():
            if value := getattr(environment, attribute):
                where = f"environments.{name}.{key}"
                require(value not in seen, where, f"{value} is {seen.get(value)}'s already")
                seen[value] = name
    for name in environments:  # `ls backups/NAME_production_*.zip` would find production_eu's as well
        longer = next((other for other in environments if other.startswith(name + "_")), None)
        sentence = f"its backups could be taken for those of {longer}: no name may begin with another and _"
        require(longer is None, f"environments.{name}", sentence)
