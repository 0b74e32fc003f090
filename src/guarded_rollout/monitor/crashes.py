"""Server processes that end while clients come, also where their parent or the supervisor replaces them."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.monitor.system import PROC, ProcessTree

CRASHES = "crashes"
LISTENS = 0x10000  # the kernel's __SO_ACCEPTCON, as /proc/net/unix prints it


@dataclass(slots=True)
class CrashesSource:
    """The gauge `crashes` of a slot: server processes that were gone when clients had to do without them.

    A server process is the slot's first one, and each that it has begun and that listens on the slot's
    socket. One that is replaced on purpose ends between two requests: nobody notices, and it does not count.
    Neither does what a client makes go wrong, while the process lives, nor an error that is an answer.
    `unserved` are the requests so far that got no answer, or a part of one; their lines may be written a
    moment after the process has gone.
    """

    tree: ProcessTree
    socket: Path
    unserved: Callable[[], float]
    side: Side = Side.CANDIDATE
    source: Source = Source.CRASHES
    _serving: set[psutil.Process] = field(default_factory=set, init=False)
    _unserved: float | None = field(default=None, init=False)
    _gone: set[psutil.Process] = field(default_factory=set, init=False)  # that nobody has missed so far
    _missed: float = field(default=0.0, init=False)  # unserved in the last interval, and nothing had gone
    _crashes: int = field(default=0, init=False)
    _newest: str = field(default="", init=False)

    def sample(self) -> Sample:
        before, self._serving = self._serving, self._servers()
        ended = {one for one in before - self._serving if not _runs(one)}
        unserved = self.unserved()
        fresh = max(0.0, unserved - (unserved if self._unserved is None else self._unserved))
        self._unserved = unserved
        self._count(ended, fresh)
        gauges = {CRASHES: float(self._crashes)}
        return Sample(self.source, 0.0, self.side, gauges=gauges, example=self._newest)

    def _count(self, ended: set[psutil.Process], fresh: float) -> None:
        gone, missed = ended | self._gone, fresh + self._missed
        if gone and missed:
            self._crashes += len(gone)
            pids = ", ".join(str(one.pid) for one in gone)
            requests = "a request" if missed == 1 else f"{missed:g} requests"
            self._newest = f"process {pids}, when {requests} got no answer of it"
            ended, fresh = set(), 0.0
        self._gone, self._missed = ended, fresh

    def _servers(self) -> set[psutil.Process]:
        try:
            leader, *others = self.tree.members()
            sockets = listening(self.socket, leader.pid) if others else frozenset()
        except (psutil.Error, OSError):
            return set()
        return set(filter(_runs, [leader, *(one for one in others if _holds(one.pid, sockets))]))


def listening(path: Path, pid: int) -> frozenset[str]:
    """What listens at this path, as the links in /proc/<pid>/fd name it. Raises `OSError`."""
    found = re.compile(rf"^\S+ \S+ \S+ (\S+) \S+ \S+ +(\d+) {re.escape(str(path))}$", re.MULTILINE)
    text = (PROC / str(pid) / "net" / "unix").read_text(errors="surrogateescape")
    return frozenset(f"socket:[{inode}]" for flags, inode in found.findall(text) if int(flags, 16) & LISTENS)


def _holds(pid: int, sockets: frozenset[str]) -> bool:
    with suppress(OSError), os.scandir(PROC / str(pid) / "fd") as entries:
        for entry in entries:
            with suppress(OSError):
                if os.readlink(entry.path) in sockets:
                    return True
    return False


def _runs(one: psutil.Process) -> bool:
    """True while it runs: one that has ended and was not waited for yet does not."""
    with suppress(psutil.Error):
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    return False
