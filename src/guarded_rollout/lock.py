"""The lock of an environment, which lets one command change it at a time: a file that names its owner.

The kernel releases a dead process's lock. One that a child inherited from an owner that is provably dead is
taken over by replacing the file.
"""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from guarded_rollout.clock import boot
from guarded_rollout.errors import LockHeldError, NotWritableError
from guarded_rollout.files import locked_folder, try_lock


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
        """True if it provably runs no more; nothing can be proved of another host's process."""
        if self.host != platform.node():
            return False
        return process_started(self.pid) != self.started


@contextmanager
def acquire(path: Path, *, environment: str, command: str) -> Iterator[Owner | None]:
    """Acquire the environment's lock for a block; yield the owner who died holding it, if there was one.

    Raises `LockHeldError` naming the owner, `NotWritableError`.
    """
    since = f"{datetime.now(UTC):%FT%TZ}"
    me = Owner(os.getpid(), platform.node(), process_started(os.getpid()), since, command)
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
    """Return the holder of the lock, without competing for it."""
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
    return f"{boot()}:{fields[19]}"  # field 22 of proc_pid_stat(5): clock ticks since boot


def _take(path: Path, environment: str, me: Owner) -> tuple[int, Owner | None]:
    """Return the locked descriptor, and the owner who died holding it before."""
    # Until the file names its new owner it still names the old one: no other process may look meanwhile.
    with locked_folder(path.parent):
        descriptor = _open(path)
        previous = _read(descriptor)
        if not try_lock(descriptor):
            os.close(descriptor)
            if previous is None or not previous.dead:
                raise LockHeldError(environment=environment, owner=previous or "another command")
            path.unlink()  # whoever inherited the old file keeps a lock that nobody asks for
            descriptor = _open(path)
            try_lock(descriptor)
        try:
            _write(descriptor, json.dumps(asdict(me)))
        except OSError:  # a full disk: nobody may keep a lock without being named in it
            os.close(descriptor)
            raise
        return descriptor, previous


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _read(descriptor: int) -> Owner | None:
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None


def _write(descriptor: int, content: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content.encode(), 0)
