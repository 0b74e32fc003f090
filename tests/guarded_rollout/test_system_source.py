"""What the operating system says of processes, read from outside."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guarded_rollout.config.terms import Source
from guarded_rollout.monitor.system import ProcessTree, SystemSource, cgroup_limit

WORKER = """
import subprocess, sys
held = []
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as found:
        yield found
        found.kill()


def tell(worker: subprocess.Popen[str], code: str) -> None:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(code + "\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "done\n"


def source(tmp_path: Path, pid: int, *written: Path) -> SystemSource:
    (tmp_path / "green.lock").write_text(str(pid))
    return SystemSource(ProcessTree(tmp_path / "green.lock"), lambda: 42.0, written)


def test_what_a_process_holds_and_burns_is_seen(tmp_path: Path, worker: subprocess.Popen[str]) -> None:
    log = tmp_path / "green.log"
    log.write_bytes(b"x" * 1000)
    one = source(tmp_path, worker.pid, log)
    tell(worker, "pass")
    before = one.sample()
    assert before.ok
    assert before.source is Source.SYSTEM
    assert before.counters["requests_total"] == 42
    assert before.gauges["written_bytes"] == 1000
    tell(worker, "held += [open('/dev/null') for _ in range(50)]; held.append(bytearray(b'x') * 30_000_000)")
    tell(worker, "sum(n * n for n in range(1_000_000))")
    after = one.sample()
    assert after.gauges["descriptors"] == before.gauges["descriptors"] + 50
    assert after.gauges["memory_bytes"] > before.gauges["memory_bytes"] + 25e6
    assert after.counters["cpu_seconds_total"] > before.counters["cpu_seconds_total"]
    for name in ("memory_limit_bytes", "descriptors_limit", "written_limit_bytes"):
        assert after.gauges[name] > after.gauges[name.replace("_limit", "")]


def test_children_count_as_well(tmp_path: Path, worker: subprocess.Popen[str]) -> None:
    one = source(tmp_path, worker.pid)
    tell(worker, "pass")
    before = one.sample().gauges["threads"]
    tell(worker, "held.append(subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE))")
    assert one.sample().gauges["threads"] == before + 1
    tell(worker, "held.pop().kill()")


def test_cpu_time_does_not_fall_when_the_process_is_another(
    tmp_path: Path, worker: subprocess.Popen[str]
) -> None:
    one = source(tmp_path, os.getpid())
    before = one.sample().counters["cpu_seconds_total"]
    (tmp_path / "green.lock").write_text(str(worker.pid))
    assert one.sample().counters["cpu_seconds_total"] >= before > 0


@pytest.mark.parametrize("written", ["", "99999999"])
def test_a_process_that_does_not_run_is_said(tmp_path: Path, written: str) -> None:
    one = source(tmp_path, 0)
    (tmp_path / "green.lock").write_text(written)
    assert one.sample().problem.startswith("its processes cannot be read")


def test_the_lowest_limit_of_all_control_groups_counts(tmp_path: Path) -> None:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "7").mkdir(parents=True)
    (proc / "7" / "cgroup").write_text("0::/a/b\n")
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "memory.max").write_text("max\n")
    (root / "a" / "memory.max").write_text("1000\n")
    assert cgroup_limit(7, "memory.max", root, proc) == 1000
    assert cgroup_limit(8, "memory.max", root, proc) == float("inf")
