"""Run one command under a lock, so that a slot never runs twice: `python launcher.py SPEC.json`.

The supervisor starts this, and it becomes the command (exec): same pid, the lock held by the open file.
A supervisor that was killed leaves its children running. The next one starts this again, which finds the
lock held and *adopts* the child: it waits for it, passes SIGTERM on, and becomes a new one only when the
old one has gone. So a killed supervisor costs no request and makes no duplicate.

What it prints goes straight into its log: a pipe to the supervisor would break with it, and the next line
would kill the proxy.

SPEC.json: {"command": [...], "environment": {...}, "folder": "...", "lock": "...", "log": "...",
"drain_seconds": n, "socket": "..."}.
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
    if not try_lock(lock):
        _adopt(lock, spec["drain_seconds"])
        spec = json.loads(Path(spec_path).read_text())  # it may have changed while the old one ran
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    os.set_inheritable(lock, True)
    log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(spec["folder"])
    if spec.get("socket"):  # of one that was killed: most servers refuse to listen where a file is
        with contextlib.suppress(FileNotFoundError):
            os.unlink(spec["socket"])
    os.execvpe(spec["command"][0], spec["command"], spec["environment"])


def _adopt(lock: int, drain_seconds: float) -> None:
    """Wait until the running one has gone; a SIGTERM for us is for it, and then we go with it."""
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, stop)
    while not try_lock(lock):
        if asked:
            end(lock, drain_seconds)
            sys.exit(0)
        if (leader := holder(lock)) is None or not alive(leader):
            _signal(leader, signal.SIGKILL)  # children without their leader: nobody manages them
        time.sleep(LOOK_SECONDS)
    if asked:
        sys.exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end(lock: int, drain_seconds: float) -> None:
    """Ask whoever holds the lock to stop, let it drain for so long, then kill it."""
    leader = holder(lock)
    _signal(leader, signal.SIGTERM)
    deadline = time.monotonic() + drain_seconds
    while not try_lock(lock):
        gone = leader is None or not alive(leader)
        if gone or time.monotonic() > deadline:
            _signal(leader, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def holder(lock: int) -> int | None:
    """The pid that the lock file names."""
    written = os.pread(lock, 32, 0).strip()
    return int(written) if written.isdigit() else None


def alive(pid: int) -> bool:
    """Return True if a process runs; a zombie does not, though `kill -0` says so."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # gone in between, or no /proc here (macOS)
        return not Path("/proc").exists()
    return state not in "ZX"


def try_lock(lock: int) -> bool:
    """Acquire the lock if it is free: then nobody runs."""
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
