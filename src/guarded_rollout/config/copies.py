"""`[backup.copies]`: where copies of backups go, and how long they stay there."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class BackupEngine(StrEnum):
    """What a backup is kept in."""

    ZIP = "zip"  # an archive of its own
    RESTIC = "restic"  # straight in the repositories of copies


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """A restic repository. Secrets stand in its texts as `$NAME`."""

    name: str
    repository: str
    password: str
    variables: Mapping[str, str]
    options: tuple[str, ...]
    environments: tuple[str, ...]
    keep: tuple[str, ...]
    check: str

    @property
    def leaves_the_machine(self) -> bool:
        """False for a folder here; a network file system mounted there is not seen."""
        return ":" in self.repository or "$" in self.repository


def targets_of(tables: Mapping[str, Mapping[str, Any]]) -> tuple[CopyTarget, ...]:
    """The targets that name a repository. Raises `ValueError` with the key and what is wrong."""
    found = []
    for name, table in tables.items():
        if not table["repository"]:
            continue
        if not table["password"]:
            raise ValueError(f"{name}.password", "restic encrypts every repository, so it needs one")
        if "$" not in table["password"]:
            raise ValueError(f"{name}.password", "name it as $NAME: this file is in every backup")
        if not any(table["keep"]):
            raise ValueError(f"{name}.keep", "no rule would keep nothing; name one")
        found.append(
            CopyTarget(
                name=name,
                repository=table["repository"],
                password=table["password"],
                variables=table["variables"],
                options=tuple(filter(None, table["options"])),
                environments=tuple(table["environments"]),
                keep=tuple(table["keep"]),
                check=table["check"],
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class StreamTarget:
    """Where litestream sends an SQLite store's transactions. Secrets stand in `variables` as `$NAME`."""

    url: str
    sync_seconds: float
    retention_hours: float
    environments: tuple[str, ...]
    metrics_port: int
    settings: Mapping[str, str]
    variables: Mapping[str, str]


def stream_of(table: Mapping[str, Any]) -> StreamTarget | None:
    """The stream's target, if one is named."""
    if not table["url"]:
        return None
    environments = tuple(table["environments"])
    return StreamTarget(**{**table, "environments": environments})
