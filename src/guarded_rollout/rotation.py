"""Rotation of logs, compressed and then removed: a pure plan over sizes and ages, and its execution."""

import errno
import gzip
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from stat import S_ISREG

from guarded_rollout.errors import NotWritableError
from guarded_rollout.files import replacing
from guarded_rollout.logs import ModuleLog

log = ModuleLog()

DAY = 86_400.0  # seconds
COMPRESS_AFTER = DAY
REMOVE_AFTER = 30 * DAY
LARGEST = 64 * 2**20  # bytes; a session's log above this is compressed as soon as it is over
OVER_AFTER = 600.0  # seconds without a line: the session is over
LARGEST_RUNNING = 10 * 2**20  # bytes; a running process's log above this is cut
CHUNK = 2**20
SESSION = re.compile(r"[a-z][a-z0-9_-]*_[a-z0-9_]+_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d[\dZ-]*\.log")
"""A log of one command or session: nobody writes it any more once it is over."""

COMPRESSED = re.compile(rf"({SESSION.pattern}|[a-z]+-\d{{8}}T\d{{6}}\.log)\.gz")


@dataclass(frozen=True, slots=True)
class Found:
    """A file. `running`: a process appends to it for as long as it lives."""

    path: Path
    size: int
    changed_at: float
    running: bool = False


class Verb(StrEnum):
    """An operation on a log."""

    COMPRESS = "compress"
    CUT = "compress and empty"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Rotation:
    """A step of a rotation."""

    verb: Verb
    path: Path
    why: str

    def __str__(self) -> str:
        return f"{self.verb} {self.path.name} ({self.why})"


def plan(found: Iterable[Found], now: float) -> list[Rotation]:
    """Plan the rotation. A file with another name is not a log of ours and stays."""
    return [action for one in found if (action := _for(one, now - one.changed_at)) is not None]


def _for(one: Found, age: float) -> Rotation | None:
    size = f"{one.size / 2**20:.0f} MB"
    if one.running:
        return Rotation(Verb.CUT, one.path, size) if one.size > LARGEST_RUNNING else None
    if COMPRESSED.fullmatch(one.path.name):
        old = age > REMOVE_AFTER
        return Rotation(Verb.REMOVE, one.path, f"{age / DAY:.0f} days old") if old else None
    if SESSION.fullmatch(one.path.name):
        if age > COMPRESS_AFTER:
            return Rotation(Verb.COMPRESS, one.path, f"{age / DAY:.0f} days old")
        if one.size > LARGEST and age > OVER_AFTER:
            return Rotation(Verb.COMPRESS, one.path, size)
    return None


def look(sessions: Path, running: Path) -> Iterator[Found]:
    """Yield the files in the folders of session logs and of running processes' logs."""
    yield from files_in(sessions)
    for one in files_in(running):
        yield replace(one, running=one.path.suffix == ".log")


def files_in(folder: Path) -> Iterator[Found]:
    """Yield the files of a folder by name; links and folders are left out."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            status = path.lstat()
            if S_ISREG(status.st_mode):
                yield Found(path, status.st_size, status.st_mtime)


def session_logs(folder: Path, environment: str, kind: str = "") -> list[Path]:
    """The session logs of an environment, of one kind or of all, by name; the compressed ones too."""
    kinds = re.escape(kind) if kind else "[a-z][a-z0-9_-]*"
    name = re.compile(rf"{kinds}_{re.escape(environment)}_\d{{4}}-.*\.log(\.gz)?")
    return sorted(path for path in folder.iterdir() if name.fullmatch(path.name)) if folder.is_dir() else []


def due(sessions: Path, running: Path, now: datetime) -> list[Rotation]:
    """Plan the rotation that is due now in these two folders."""
    return plan(look(sessions, running), now.timestamp())


def tidy(sessions: Path, running: Path, now: datetime) -> None:
    """Rotate what is due; a failure is logged."""
    try:
        carry_out(due(sessions, running, now), now)
    except (NotWritableError, OSError) as error:
        log.warning("Logs were not rotated", problem=str(error))


def carry_out(actions: Sequence[Rotation], now: datetime) -> None:
    """Do what was planned. Raises `NotWritableError`."""
    for action in actions:
        try:
            match action.verb:
                case Verb.REMOVE:
                    action.path.unlink(missing_ok=True)
                case Verb.COMPRESS:
                    compress(action.path)
                case Verb.CUT:
                    cut(action.path, now)
        except FileNotFoundError:
            continue  # somebody else rotated it meanwhile
        except OSError as error:
            raise NotWritableError(path=action.path, reason=error.strerror) from None


def compress(path: Path) -> None:
    """Replace `path` by `path.gz`, which is verified first and keeps its time and mode."""
    target = path.with_name(path.name + ".gz")
    stat = path.stat()
    _write_gzip(path, target, stat.st_mode & 0o777)
    os.utime(target, (stat.st_atime, stat.st_mtime))
    path.unlink()


def cut(path: Path, now: datetime) -> None:
    """Keep what a running process wrote so far in `<name>-<time>.log.gz`, and empty its log.

    The process appends, so it continues at the start. What it writes while the copy is checked and made
    durable is appended to that. A line between the last look and the emptying is lost, which only the process
    itself could prevent.
    """
    target = path.with_name(f"{path.stem}-{now.astimezone(UTC):%Y%m%dT%H%M%S}.log.gz")
    copied = _write_gzip(path, target, path.stat().st_mode & 0o777)
    with path.open("rb") as source, target.open("ab", buffering=0) as packed:
        source.seek(copied)
        while rest := source.read(CHUNK):
            packed.write(gzip.compress(rest))  # one more member, which readers take for the same stream
        os.truncate(path, 0)


def _write_gzip(path: Path, target: Path, mode: int) -> int:
    """Write a compressed copy; return the bytes that it holds. Raises `OSError` if it does not read back."""
    with replacing(target, mode=mode) as file:
        with path.open("rb") as source, gzip.GzipFile(path.name, "wb", fileobj=file) as packed:
            shutil.copyfileobj(source, packed, CHUNK)
            copied = source.tell()
        file.flush()
        file.seek(0)
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            whole = sum(len(chunk) for chunk in iter(lambda: unpacked.read(CHUNK), b""))
        if whole != copied:
            raise OSError(errno.EIO, "the compressed copy does not read back")
    return copied
