"""The lock of an environment, which lets one command change it at a time: a file that names its owner.

The kernel releases a dead process's lock. One that a child inherited from an owner that is provably dead is
taken over by replacing the file.
"""

import json
import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from guarded_rollout.clock import boot
from guarded_rollout.errors import LockHeldError, NotWritableError
from guarded_rollout.files import locked_folder, try_lock, write_atomic


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


@dataclass(frozen=True, slots=True)
class StopRequest:
    """A request to the holder of a lock to take back what it does. `started` names the one process meant."""

    pid: int
    started: str
    by: str
    why: str


def ask_to_stop(path: Path, holder: Owner, *, by: str, why: str) -> bool:
    """Interrupt the holder of a lock, as Ctrl-C in its terminal does, and leave word who asked and why.

    Returns False if it cannot be asked: it runs elsewhere, as another user, or no more.
    """
    if holder.host != platform.node() or holder.dead:
        return False
    write_atomic(_request_path(path), json.dumps(asdict(StopRequest(holder.pid, holder.started, by, why))))
    try:
        os.kill(holder.pid, signal.SIGINT)
        os.kill(holder.pid, signal.SIGCONT)  # one that was stopped by Ctrl-Z
    except (PermissionError, ProcessLookupError):
        return False
    return True


def stop_request(path: Path) -> StopRequest | None:
    """Return what this process was asked, if it was."""
    try:
        found = StopRequest(**json.loads(_request_path(path).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    mine = found.pid == os.getpid() and found.started == process_started(found.pid)
    return found if mine else None


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


def _request_path(path: Path) -> Path:
    return path.with_suffix(".stop.json")


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
