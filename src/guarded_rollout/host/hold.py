"""Run one command under a lock, so that a slot never runs twice: `python hold.py SPEC.json`.

The supervisor starts this, and it becomes the command (exec): same pid, the lock held by the open file.
A supervisor that was killed leaves its children running. The next one starts this again, which finds the
lock held and *adopts* the child: it waits for it, passes SIGTERM on, and becomes a new one only when the
old one has gone. So a killed supervisor costs no request and makes no duplicate.

SPEC.json: {"command": [...], "environment": {...}, "folder": "...", "lock": "...", "drain_seconds": n}.
Only the standard library is imported: this is the first thing every process of a slot does.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

LOOK_SECONDS = 0.05


def main(spec_path: str) -> None:
    """Become the command of this spec, or stand in for the one that runs already."""
    spec = json.loads(Path(spec_path).read_text())
    lock = os.open(spec["lock"], os.O_RDWR | os.O_CREAT, 0o600)
    if not _taken(lock):
        _adopt(lock, spec["drain_seconds"])
        spec = json.loads(Path(spec_path).read_text())  # it may have changed while the old one ran
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    os.set_inheritable(lock, True)
    os.chdir(spec["folder"])
    os.execve(spec["command"][0], spec["command"], spec["environment"])


def _adopt(lock: int, drain_seconds: float) -> None:
    """Wait until the running one has gone; a SIGTERM for us is for it, and then we go with it."""
    leader = holder(lock)
    if leader is None or not alive(leader):
        _signal(leader, signal.SIGKILL)  # only children without their leader are left: nobody manages them
    deadline: float | None = None

    def stop(*_: object) -> None:
        nonlocal deadline
        deadline = time.monotonic() + drain_seconds
        _signal(leader, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    while not _taken(lock):
        overdue = deadline is not None and time.monotonic() > deadline
        if overdue or (leader is not None and not alive(leader)):
            _signal(leader, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)
    if deadline is not None:
        sys.exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def holder(lock: int) -> int | None:
    """The pid that the lock file names."""
    written = os.pread(lock, 32, 0).strip()
    return int(written) if written.isdigit() else None


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not, though `kill -0` says so."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # gone in between, or no /proc here (macOS)
        return not Path("/proc").exists()
    return state not in "ZX"


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _signal(leader: int | None, number: signal.Signals) -> None:
    """To the whole group: the supervisor makes each child the leader of its own."""
    if leader is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, number)


if __name__ == "__main__":
    main(sys.argv[1])
