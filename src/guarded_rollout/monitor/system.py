"""What the operating system says of a slot's processes, read from outside of them."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Sample, Side

CPU, REQUESTS = "cpu_seconds_total", "requests_total"
CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")
UNCHANGED = 0.02  # of the resident pages; what they weigh is then not counted anew


@dataclass(slots=True)
class ProcessTree:
    """A process and its children; `seconds` of CPU time never fall, whatever ends or begins again.

    Counting what shared pages weigh walks through all pages of a process, some 3 ms for one of 150 MB: where
    as many are resident as before it is not done again.
    """

    pid_file: Path
    _leader: psutil.Process | None = None
    _before: float = 0.0  # of leaders that have ended
    _last: dict[int, float] = field(default_factory=dict)
    _weighed: dict[int, tuple[float, float]] = field(default_factory=dict)  # resident, PSS: bytes

    def members(self) -> list[psutil.Process]:
        """Return the processes that run, the leader first. Raises `psutil.NoSuchProcess`, `OSError`."""
        written = self.pid_file.read_text().strip()
        leader = psutil.Process(int(written)) if written.isdigit() else None
        if leader is None:
            raise psutil.NoSuchProcess(0, msg="it does not run")
        if leader != self._leader:  # by its pid and the time it began
            self._before += sum(self._last.values())
            self._leader, self._last, self._weighed = leader, {}, {}
        return [leader, *_children(leader)]

    def seconds(self, members: list[psutil.Process]) -> float:
        """Return the CPU time of all of them so far, since this was first asked."""
        for one in members:
            with suppress(psutil.Error):
                spent = one.cpu_times()
                self._last[one.pid] = spent.user + spent.system
        return self._before + sum(self._last.values())

    def memory(self, members: list[psutil.Process]) -> float:
        """Return the PSS of all of them, in bytes."""
        for one in members:
            with suppress(psutil.Error):
                resident = float(one.memory_info().rss)
                before, _ = self._weighed.get(one.pid, (0.0, 0.0))
                if abs(resident - before) > UNCHANGED * before:
                    self._weighed[one.pid] = resident, _pss(one)
        return sum(self._weighed.get(one.pid, (0.0, 0.0))[1] for one in members)


@dataclass(frozen=True, slots=True)
class SystemSource:
    """The processes of one slot.

    Counters `cpu_seconds_total`, and `requests_total` as `requests` tells them. Gauges `memory_bytes` (PSS:
    pages that are shared count in part), `descriptors`, `threads`, and `written_bytes` (the store's files
    and the slot's log), each with its limit: `memory_limit_bytes`, `descriptors_limit`, `threads_limit`,
    and `written_limit_bytes`, which is what the disk has room for.
    """

    tree: ProcessTree
    requests: Callable[[], float]
    written: tuple[Path, ...] = ()  # files, and folders of which the files count
    side: Side = Side.CANDIDATE
    source: Source = Source.SYSTEM

    def sample(self) -> Sample:
        try:
            members = self.tree.members()
            gauges = dict(self._gauges(members))
        except (psutil.Error, OSError) as error:
            problem = f"its processes cannot be read: {getattr(error, 'msg', '') or error}"
            return Sample(self.source, 0.0, self.side, problem=problem)
        counters = {CPU: self.tree.seconds(members), REQUESTS: self.requests()}
        return Sample(self.source, 0.0, self.side, counters=counters, gauges=gauges)

    def _gauges(self, members: list[psutil.Process]) -> Iterator[tuple[str, float]]:
        leader = members[0]
        yield "memory_bytes", self.tree.memory(members)
        yield "memory_limit_bytes", min(cgroup_limit(leader.pid, "memory.max"), psutil.virtual_memory().total)
        found = [_descriptors(one) for one in members]
        most, limit = max(found, key=lambda one: one[0] / one[1])  # the one that is nearest to its own limit
        yield "descriptors", most
        yield "descriptors_limit", limit
        yield "threads", sum(_threads(one) for one in members)
        if (threads := min(cgroup_limit(leader.pid, "pids.max"), _threads_of_machine())) < float("inf"):
            yield "threads_limit", threads
        if self.written:
            written = float(sum(map(_size, self.written)))
            yield "written_bytes", written
            yield "written_limit_bytes", written + shutil.disk_usage(self.written[0].parent).free


def _children(leader: psutil.Process) -> list[psutil.Process]:
    """Return what it has begun, and what that has; `psutil` alone asks every process of the machine."""
    waiting = [leader.pid]
    found: list[psutil.Process] = []
    try:
        while waiting:
            for task in os.scandir(PROC / str(waiting.pop()) / "task"):
                begun = [int(pid) for pid in Path(task.path, "children").read_text().split()]
                waiting += begun
                found += map(psutil.Process, begun)
    except (OSError, psutil.NoSuchProcess):  # one ended meanwhile, or the kernel does not tell
        return leader.children(recursive=True)
    return found


def cgroup_limit(pid: int, name: str, root: Path = CGROUPS, proc: Path = PROC) -> float:
    """Return the lowest limit of a process's control groups (version 2); infinite where there is none."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return float("inf")
    group = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folder, lowest = root / group, float("inf")
    while True:
        with suppress(OSError, ValueError):
            lowest = min(lowest, float((folder / name).read_text().strip().replace("max", "inf")))
        if folder == root or root not in folder.parents:
            return lowest
        folder = folder.parent


def _pss(one: psutil.Process) -> float:
    found = one.memory_full_info()
    return float(getattr(found, "pss", 0) or found.uss)


def _descriptors(one: psutil.Process) -> tuple[float, float]:
    with suppress(psutil.Error):
        limit = one.rlimit(psutil.RLIMIT_NOFILE)[0] if hasattr(one, "rlimit") else -1
        return float(one.num_fds()), float(limit) if limit > 0 else float(2**20)
    return 0.0, 1.0


def _threads(one: psutil.Process) -> float:
    with suppress(psutil.Error):
        return float(one.num_threads())
    return 0.0


def _threads_of_machine() -> float:
    with suppress(OSError, ValueError):
        return float(Path("/proc/sys/kernel/threads-max").read_text())
    return float("inf")


def _size(path: Path) -> int:
    """The bytes of a file, or of the files in a folder, without those in folders of it."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        with os.scandir(path) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file())
    except OSError:
        return 0
