"""The names of backups: `<service>_<environment>_<YYYYmmdd_HHMMSS>.zip`, in UTC, so that names sort by time.

A service's name has no `_`, so that the environment's begins after the first.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

TIME = "%Y%m%d_%H%M%S"
PATTERN = re.compile(r"(?P<service>[a-z][a-z0-9-]*)_(?P<environment>.+)_(?P<time>\d{8}_\d{6})\.zip")

# A copy that a rollback takes before it changes anything goes where no `ls backups/*.zip` looks: it
# holds the state that is being left, and must never be found as the latest backup to return to.
SAFETY = "safety"
SAFETY_PATTERN = re.compile(r"before-rollback_(?P<environment>.+)_(?P<time>\d{8}_\d{6})\.zip")


@dataclass(frozen=True, slots=True)
class BackupEntry:
    """An archive in a folder of backups."""

    path: Path
    environment: str
    taken_at: datetime
    service: str = ""  # of a safety copy nobody says

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def checksum(self) -> Path:
        """The file beside it that `sha256sum -c` accepts."""
        return checksum_of(self.path)

    @property
    def signature(self) -> Path:
        """The signature of the checksum file; optional."""
        return signature_of(self.path)

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """Its files, in the order in which they may be removed."""
        return self.path, self.signature, self.checksum


def checksum_of(archive: Path) -> Path:
    """Path of an archive's checksum."""
    return archive.with_name(archive.name + ".sha256")


def signature_of(archive: Path) -> Path:
    """Path of the signature of an archive's checksum."""
    return archive.with_name(archive.name + ".sha256.sig")


def parse(path: Path) -> BackupEntry | None:
    """A backup or safety copy by its path; None if the name is not one."""
    found = SAFETY_PATTERN.fullmatch(path.name) or PATTERN.fullmatch(path.name)
    if found is None:
        return None
    try:
        taken_at = datetime.strptime(found["time"], TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return BackupEntry(path, found["environment"], taken_at, found.groupdict().get("service", ""))


def find(folder: Path, environment: str, service: str = "") -> list[BackupEntry]:
    """Find the archives of one environment in a folder, newest first; with a service, its own alone."""
    entries = (parse(path) for path in folder.glob("*.zip"))
    mine = [entry for entry in entries if entry is not None and _is_of(entry, environment, service)]
    return sorted(mine, key=lambda entry: entry.name, reverse=True)


def _is_of(entry: BackupEntry, environment: str, service: str) -> bool:
    return entry.environment == environment and (not service or entry.service in (service, ""))


def latest(folder: Path, environment: str, service: str = "") -> BackupEntry | None:
    """Find the newest archive of one environment in a folder."""
    return next(iter(find(folder, environment, service)), None)


def name_for(
    folder: Path, environment: str, now: datetime, *, service: str = "backup", safety: bool = False
) -> BackupEntry:
    """A name that sorts after every one that is there: now, or the second after the latest.

    A checksum file alone takes its name too: it is written first, as the claim of whoever writes the archive.
    """
    folder = folder / SAFETY if safety else folder
    claims = (parse(path.with_suffix("")) for path in folder.glob("*.zip.sha256"))
    taken = [entry for entry in claims if entry is not None and _is_of(entry, environment, service)]
    taken += find(folder, environment, service)
    moment = now.astimezone(UTC).replace(microsecond=0)
    if taken:
        moment = max(moment, max(entry.taken_at for entry in taken) + timedelta(seconds=1))
    prefix = "before-rollback" if safety else service
    path = folder / f"{prefix}_{environment}_{moment:{TIME}}.zip"
    return BackupEntry(path, environment, moment, "" if safety else service)
