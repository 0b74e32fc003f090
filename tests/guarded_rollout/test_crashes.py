"""Server processes that end, real ones on a real socket; what their clients had to do without is told."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Side
from guarded_rollout.monitor.crashes import CrashesSource, listening
from guarded_rollout.monitor.poller import polls_for
from guarded_rollout.monitor.system import ProcessTree
from tests.guarded_rollout.gatekit import shipped
from tests.guarded_rollout.sandbox import wait_until

SERVERS = """
import os, signal, socket, subprocess, sys, time

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()

def begin():
    if os.fork() == 0:
        for _ in iter(listener.accept, None):
            pass

for _ in range(int(sys.argv[2])):
    begin()
subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # a worker that serves nobody
print("ready", flush=True)
while True:  # replaces what ends, as server parents do
    os.wait()
    begin()
"""


class Service:
    """Server processes behind one socket, and what the edge's log says of their clients."""

    def __init__(self, folder: Path, servers: int) -> None:
        self.socket, self.unserved = folder / "green.sock", 0.0
        words = [sys.executable, "-c", SERVERS, str(self.socket), str(servers)]
        self.parent = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self.parent.stdout is not None
        assert self.parent.stdout.readline() == b"ready\n"
        (folder / "green.lock").write_text(str(self.parent.pid))
        tree = ProcessTree(folder / "green.lock")
        self.source = CrashesSource(tree, self.socket, lambda: self.unserved)
        self.servers = servers
        assert self.crashes() == 0

    def crashes(self) -> float:
        sample = self.source.sample()
        assert sample.ok
        return sample.gauges["crashes"]

    def serving(self) -> list[psutil.Process]:
        return sorted(self.source._servers(), key=lambda one: one.pid)

    def kill(self, one: psutil.Process) -> None:
        one.kill()
        wait_until(lambda: not one.is_running() and len(self.serving()) == self.servers + 1)

    def close(self) -> None:
        children = (
            psutil.Process(self.parent.pid).children(recursive=True) if self.parent.poll() is None else []
        )
        for one in [*children, self.parent]:
            one.kill()
        self.parent.wait()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path, 2)
    yield made
    made.close()


def test_servers_are_the_first_process_and_those_that_listen(service: Service) -> None:
    serving = service.serving()
    assert serving[0].pid == service.parent.pid
    assert len(serving) == 3, "the worker serves nobody"
    assert len(psutil.Process(service.parent.pid).children()) == 3


def test_a_server_that_ends_counts_where_a_client_had_to_do_without_it(service: Service) -> None:
    victim = service.serving()[1]
    service.kill(victim)
    service.unserved += 2
    sample = service.source.sample()
    assert sample.source is Source.CRASHES
    assert sample.gauges == {"crashes": 1}
    assert sample.example == f"process {victim.pid}, when 2 requests got no answer of it"
    assert service.crashes() == 1, "counted once"


@pytest.mark.parametrize("first", ["the process", "its clients"])
def test_process_and_clients_may_be_told_of_one_after_the_other(service: Service, first: str) -> None:
    steps = [lambda: service.kill(service.serving()[2]), lambda: setattr(service, "unserved", 1.0)]
    for step in steps if first == "the process" else reversed(steps):
        step()
        found = service.crashes()
    assert found == 1


def test_who_is_replaced_between_two_requests_and_who_fails_alive_count_for_nothing(service: Service) -> None:
    service.kill(service.serving()[1])
    assert [service.crashes() for _ in range(3)] == [0, 0, 0]
    service.unserved += 5
    assert [service.crashes() for _ in range(3)] == [0, 0, 0]
    for one in psutil.Process(service.parent.pid).children():
        if one not in service.serving():
            one.kill()
    service.unserved += 1
    assert service.crashes() == 0, "a worker that serves nobody"


def test_the_first_process_counts_once_however_long_it_is_away(service: Service, tmp_path: Path) -> None:
    """As a zombie too, which the supervisor has not waited for yet; whatever follows it is not held to it."""
    os.kill(service.parent.pid, signal.SIGKILL)
    os.waitid(os.P_PID, service.parent.pid, os.WEXITED | os.WNOWAIT)
    for _ in range(3):
        service.unserved += 1
        found = service.crashes()
    assert found == 1
    service.parent.wait()
    assert service.crashes() == 1
    with subprocess.Popen(["sleep", "60"]) as other:
        (tmp_path / "green.lock").write_text(str(other.pid))
        assert service.crashes() == 1
        other.kill()


def test_a_listener_is_told_from_who_speaks_to_it_and_from_other_paths(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        server.listen()
        client.connect(str(path))
        accepted, _ = server.accept()
        with accepted:
            own = os.readlink(f"/proc/self/fd/{server.fileno()}")
            assert listening(path, os.getpid()) == {own}
    assert listening(tmp_path / "b.sock", os.getpid()) == frozenset()


def test_of_stable_nobody_is_asked_what_is_judged_of_the_candidate_alone(tmp_path: Path) -> None:
    gates = dict(shipped("production").quality_gates.enabled())
    samplers = [
        CrashesSource(ProcessTree(tmp_path / f"{side}.lock"), tmp_path / "s", lambda: 0.0, side)
        for side in (Side.CANDIDATE, Side.STABLE)
    ]
    (poll,) = polls_for(gates, samplers, shipped("production").monitoring, 5.0)
    assert poll.sampler.side is Side.CANDIDATE
    assert poll.interval(3000.0) == 2
