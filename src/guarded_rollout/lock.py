"""One rollout per environment at a time: a file lock that names its owner and outlives no process.

The kernel releases a dead process's lock, so nothing has to be cleaned up. What is left is a child that
inherited the lock from an owner that is provably dead: then the file is replaced and the lock taken over.
"""

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from guarded_rollout.clock import Clock, SystemClock
from guarded_rollout.errors import LockHeldError, NotWritableError


@dataclass(frozen=True, slots=True)
class Owner:
    """The holder of a lock. `started` tells a process from a later one with the same number."""

    pid: int
    host: str
    started: str
    since: str  # ISO 8601, UTC
    command: str

    def __str__(self) -> str:
        return f"`{self.command}` (process {self.pid} on {self.host}, since {self.since})"

    @property
    def dead(self) -> bool:
        """True if it provably runs no more. Of another host's processes nothing can be proved."""
        if self.host != platform.node():
            return False
        return process_started(self.pid) != self.started


@contextmanager
def acquire(
    path: Path, *, environment: str, command: str, clock: Clock | None = None
) -> Iterator[Owner | None]:
    """Acquire the environment's lock for a block (or, as a decorator, for a function).

    Yields the owner who died holding it, if there was one: its work may be half done.
    Raises `LockHeldError` naming the owner, `NotWritableError`.
    """
    moment = (clock or SystemClock()).now()
    me = Owner(os.getpid(), platform.node(), process_started(os.getpid()), f"{moment:%FT%TZ}", command)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, previous = _take(path, environment, me)
    except OSError as error:
        raise NotWritableError(path=path, reason=error.strerror) from error
    try:
        yield previous
    finally:
        _write(descriptor, "")
        os.close(descriptor)


def owner(path: Path) -> Owner | None:
    """Return the holder of the lock, for `status`; asks without taking part in the race for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = _read(descriptor)
    finally:
        os.close(descriptor)
    return None if found is None or found.dead else found


def process_started(pid: int) -> str:
    """Return a process's start in a form that no clock change moves; empty if there is none."""
    if not Path("/proc/self/stat").exists():
        import psutil  # where the kernel tells less, and slow to import

        return "running" if psutil.pid_exists(pid) else ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{fields[19]}"  # field 22 of proc_pid_stat(5): clock ticks since boot


def _take(path: Path, environment: str, me: Owner) -> tuple[int, Owner | None]:
    """The locked descriptor, and the owner who died holding it before."""
    with _taking_turns(path.parent):
        descriptor = _open(path)
        previous = _read(descriptor)
        if not _try(descriptor):
            os.close(descriptor)
            if previous is None or not previous.dead:
                raise LockHeldError(environment=environment, owner=previous or "another command")
            path.unlink()  # whoever inherited the old file keeps a lock that nobody asks for
            descriptor = _open(path)
            _try(descriptor)
        try:
            _write(descriptor, json.dumps(asdict(me)))
        except (
            OSError
        ):  # a full disk; a lock that stayed open would be held by a process that does not have it
            os.close(descriptor)
            raise
        return descriptor, previous


@contextmanager
def _taking_turns(folder: Path) -> Iterator[None]:
    """Between taking a lock and naming its new owner, the file still names the old one: let nobody look."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> Owner | None:
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None


def _write(descriptor: int, content: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content.encode(), 0)
