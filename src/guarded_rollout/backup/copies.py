"""Copies of backups: sent to every target, brought back by `restic:ID`, and what is known of the last ones.

What goes into a repository are the files of a backup, not its zip: those deduplicate. They keep their layout
and manifest, so a copy that was brought back is verified as an archive is.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from guarded_rollout.backup import originals
from guarded_rollout.backup.archive import Subject, stage
from guarded_rollout.backup.manifest import NAME, Manifest
from guarded_rollout.backup.restic import CopySnapshot, ResticRepository, SentCopy, repositories
from guarded_rollout.backup.verify import unpack
from guarded_rollout.clock import Clock
from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import BackupFormatError, CopyError, NoCopyTargetError, UnknownCopyError
from guarded_rollout.files import locked_folder, write_atomic

PREFIX = "restic:"
RECORD = "copies.json"
FOLDER = "copying-{name}"
"""Where a backup's files stand while they are copied. Always the same, for restic compares by path."""


@dataclass(frozen=True, slots=True)
class CopyRecord:
    """The last attempt at one target: what was copied, or what went wrong."""

    target: str
    source: str  # the archive's name, or that of the release where there is no archive
    at: str
    snapshot: str = ""
    added: int = 0
    seconds: float = 0.0
    problem: str = ""


def is_reference(backup: Path) -> bool:
    """True for `restic:ID`, which is no path."""
    return str(backup).startswith(PREFIX)


def start_sending(environment: Environment, archive: Path) -> None:
    """Have another process send a backup to every target, whatever becomes of this one."""
    if environment.copies:
        subprocess.Popen(
            [
                *(sys.executable, "-m", "guarded_rollout.cli", "copies", "send", str(archive.absolute())),
                *("--env", environment.name),
            ],
            cwd=environment.project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def send(environment: Environment, archive: Path, clock: Clock) -> list[CopyRecord]:
    """Send a verified archive's files to every target; one that fails does not keep the others from it.

    Raises `NoCopyTargetError` and what `unpack` raises.
    """
    with _staging(environment) as folder:
        found = unpack(archive, folder, allowed_signers=environment.allowed_signers)
        (folder / NAME).write_bytes(found.manifest.to_json())
        return list(_sent(environment, folder, archive.name, found.manifest.created_at, clock))


def send_directly(
    environment: Environment, subject: Subject, clock: Clock
) -> tuple[Manifest, list[CopyRecord]]:
    """Take a backup straight into the repositories, without an archive.

    Raises `NoCopyTargetError`, `CopyError` if no target has it, and what taking a backup raises.
    """
    with _staging(environment) as folder:
        manifest = stage(subject, folder, environment.backups, clock.now())
        records = list(_sent(environment, folder, subject.release.id, manifest.created_at, clock))
    if all(record.problem for record in records):
        raise CopyError(target=records[0].target, reason=records[0].problem)
    return manifest, records


def fetch(environment: Environment, reference: Path, into: Path) -> Path:
    """Bring a copy back; the folder with its files, which still are to be verified.

    Raises `NoCopyTargetError`, `UnknownCopyError`, `CopyError`, `BackupFormatError`.
    """
    repository, snapshot = locate(environment, reference)
    repository.restore(snapshot.id, into)
    folder = into / FOLDER.format(name=environment.name)
    if not (folder / NAME).is_file():
        raise BackupFormatError(path=reference, problem=f"it has no {NAME}")
    return folder


def locate(environment: Environment, reference: Path) -> tuple[ResticRepository, CopySnapshot]:
    """The first target that has what `restic:ID` names, and the snapshot. Raises what `fetch` raises."""
    wanted, problems = str(reference).removeprefix(PREFIX), []
    for repository in _targets(environment):
        try:
            if found := repository.snapshots(wanted or "latest"):
                return repository, found[0]
        except CopyError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    raise UnknownCopyError(snapshot=wanted or "latest", environment=environment.name)


def records(environment: Environment) -> list[CopyRecord]:
    """The last attempt at each target that is configured today."""
    try:
        known = json.loads((environment.root / RECORD).read_text())
        found = [CopyRecord(**record) for record in known]
    except (OSError, ValueError, TypeError):
        return []
    return [record for record in found if record.target in {target.name for target in environment.copies}]


def _targets(environment: Environment) -> list[ResticRepository]:
    found = repositories(environment)
    if not found:
        raise NoCopyTargetError(environment=environment.name)
    return found


@contextmanager
def _staging(environment: Environment) -> Iterator[Path]:
    """The folder of what is copied, for one process at a time; what a killed one left is removed."""
    _targets(environment)
    folder = environment.backups / FOLDER.format(name=environment.name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    cache = environment.root / "restic-cache"
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked_folder(cache):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sent(
    environment: Environment, folder: Path, source: str, taken_at: datetime, clock: Clock
) -> Iterator[CopyRecord]:
    names = [folder.name]
    if (folder.parent / originals.FOLDER).is_dir():
        names.append(originals.FOLDER)
    for repository in _targets(environment):
        now = clock.now().isoformat()
        try:
            sent = repository.send(folder.parent, names, taken_at)
            record = _record_of(sent, source, now)
        except CopyError as error:
            record = CopyRecord(repository.target.name, source, now, problem=str(error.data["reason"]))
        _remember(environment, record)
        yield record


def _record_of(sent: SentCopy, source: str, now: str) -> CopyRecord:
    return CopyRecord(sent.target, source, now, sent.id, sent.added, sent.seconds)


def _remember(environment: Environment, record: CopyRecord) -> None:
    kept = [known for known in records(environment) if known.target != record.target]
    write_atomic(environment.root / RECORD, json.dumps([asdict(one) for one in [*kept, record]]), mode=0o600)


def run_last() -> None:
    """Give this process the processor and the disk after everyone else."""
    import psutil

    os.nice(19)
    with suppress(psutil.Error, AttributeError):  # macOS has no such thing
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
