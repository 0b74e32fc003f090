import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from guarded_rollout.config.environments import load
from guarded_rollout.errors import ProcessError, SocketPathTooLongError
from guarded_rollout.host import launcher
from guarded_rollout.host.processes import Processes, Spec
from guarded_rollout.host.site import Site
from tests.guarded_rollout.sandbox import wait_until

PATIENT = "import time; print('up', flush=True)\nwhile True: time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PATIENT


def spec(code: str = PATIENT, drain_seconds: float = 5) -> Spec:
    return Spec([sys.executable, "-c", code], {"PATH": os.environ["PATH"]}, "/tmp", drain_seconds)


def running(sandbox, name: str = "blue") -> int:
    """The one process that holds the program's lock."""
    wait_until(lambda: name in sandbox.pids())
    return sandbox.pids()[name]


def test_a_program_runs_survives_its_starter_and_stops(sandbox):
    processes = sandbox.site.processes
    processes.start("blue", spec())
    pid = running(sandbox)
    assert processes.require_running("blue").pid == pid
    assert os.getsid(sandbox.supervisor_pid()) != os.getsid(0), "a closed terminal must not end it"
    processes.start("blue", spec())
    assert running(sandbox) == pid, "what runs already is left alone"
    processes.start("blue", spec(PATIENT + "  # other"))
    assert running(sandbox) != pid
    processes.stop("blue")
    processes.stop("blue")
    assert sandbox.pids() == {}
    processes.shut_down()
    assert not processes.up()


def test_a_killed_process_is_back(sandbox):
    processes = sandbox.site.processes
    processes.start("blue", spec())
    pid = running(sandbox)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: sandbox.pids().get("blue", pid) != pid)


def test_a_killed_supervisor_costs_nothing_and_makes_no_duplicate(sandbox):
    processes = sandbox.site.processes
    processes.start("blue", spec())
    pid = running(sandbox)
    os.kill(sandbox.supervisor_pid(), signal.SIGKILL)
    wait_until(lambda: not processes.up())
    processes.ensure()
    assert processes.state("blue").running
    assert sandbox.pids()["blue"] == pid, "the child is adopted, not replaced"
    assert psutil.Process(pid).is_running()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: sandbox.pids().get("blue", pid) != pid, what="a new one after the adopted one")
    processes.stop("blue")
    assert sandbox.pids() == {}


def test_a_supervisor_that_dies_while_it_is_asked_is_started_again(sandbox):
    class Deadly(Processes):
        """Its supervisor is killed right after it has said that it is up, once."""

        killed = False

        def up(self) -> bool:
            answer = super().up()
            if answer and not self.killed:
                self.killed = True
                supervisor = psutil.Process(sandbox.supervisor_pid())
                supervisor.kill()
                wait_until(lambda: not super(Deadly, self).up())
            return answer

    sandbox.site.processes.start("blue", spec())
    pid, before = running(sandbox), sandbox.supervisor_pid()
    processes = Deadly(sandbox.site.environment)
    processes.ensure()
    assert processes.killed
    assert sandbox.supervisor_pid() != before
    wait_until(lambda: processes.state("blue").running)
    assert running(sandbox) == pid, "what ran is adopted"


def test_stopping_reaches_an_adopted_process_even_one_that_ignores_sigterm(sandbox):
    processes = sandbox.site.processes
    processes.start("blue", spec(STUBBORN, drain_seconds=0.3))
    pid = running(sandbox)
    wait_until(lambda: "up" in processes.last_words("blue"))
    os.kill(sandbox.supervisor_pid(), signal.SIGKILL)
    wait_until(lambda: not processes.up())
    processes.ensure()
    processes.stop("blue")
    assert sandbox.pids() == {}
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_a_supervisor_that_is_killed_while_it_stops_a_program_does_not_keep_it(sandbox):
    processes = sandbox.site.processes
    processes.start("blue", spec(STUBBORN, drain_seconds=2))
    running(sandbox)
    wait_until(lambda: "up" in processes.last_words("blue"))
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(sandbox.site.processes.stop, "blue")
        wait_until(lambda: processes.state("blue").description == "STOPPING")
        os.kill(sandbox.supervisor_pid(), signal.SIGKILL)
        stopping.result(20)
    assert sandbox.pids() == {}


def test_children_without_their_leader_do_not_keep_the_slot(sandbox):
    forking = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\n" + PATIENT
    processes = sandbox.site.processes
    processes.start("blue", spec(forking))
    pid = running(sandbox)
    wait_until(lambda: psutil.Process(pid).children())
    (child,) = psutil.Process(pid).children()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: sandbox.pids().get("blue", pid) != pid)
    assert not child.is_running() or child.status() == "zombie"


def test_everything_can_be_stopped_after_the_supervisor_was_killed(sandbox):
    processes = sandbox.site.processes
    processes.start("blue", spec())
    pid = running(sandbox)
    os.kill(sandbox.supervisor_pid(), signal.SIGKILL)
    processes.shut_down()
    assert sandbox.pids() == {}
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_a_program_that_ends_at_once_is_named_with_its_last_words(sandbox):
    processes = sandbox.site.processes
    processes.start("blue", spec("raise SystemExit('no such table: image')"))
    with pytest.raises(ProcessError, match="blue does not run: no such table: image"):
        wait_until(lambda: processes.require_running("blue") is None, seconds=5)


def test_its_last_words_are_those_of_this_start(sandbox):
    processes = sandbox.site.processes
    for _ in range(2):
        processes.start("blue", spec("raise SystemExit('no such table: image')"))
        wait_until(lambda: "image" in processes.last_words("blue"))
        processes.stop("blue")
    assert processes.log_path("blue").read_text().count("no such table") > 1
    assert processes.last_words("blue") == "no such table: image"


def test_variables_stand_in_a_file_that_only_we_may_read(sandbox):
    processes = sandbox.site.processes
    processes.start("blue", Spec([sys.executable, "-c", PATIENT], {"PASSWORD": "100%; \"x\" 'y'"}, "/tmp", 1))
    pid = running(sandbox)
    assert (processes.spec_path("blue").stat().st_mode & 0o777) == 0o600
    wait_until(lambda: "PASSWORD" in psutil.Process(pid).environ())
    assert psutil.Process(pid).environ() == {"PASSWORD": "100%; \"x\" 'y'"}


def test_a_socket_path_that_is_too_long_is_refused_before_anything_starts(sandbox):
    file = sandbox.folder / "rollout.toml"
    file.write_text(file.read_text() + f'[environments.qa]\nport = 4000\nroot = "{"deep/" * 20}"\n')
    site = Site(load(file).environment("qa"))
    site.prepare()
    with pytest.raises(SocketPathTooLongError, match="at most 103"):
        site.processes.start("blue", spec())
    assert not list(Path(site.environment.root).rglob("*.pid"))


def test_shutting_down_after_the_supervisor_was_killed_leaves_no_socket(sandbox):
    site = sandbox.site
    site.processes.ensure()
    os.kill(sandbox.supervisor_pid(), signal.SIGKILL)
    wait_until(lambda: not site.processes.up())
    assert [path for path in site.environment.run.iterdir() if path.is_socket()]
    site.shut_down()
    assert not [path for path in site.environment.run.iterdir() if path.is_socket()]


def test_a_supervisor_of_the_version_before_still_finds_its_launcher(tmp_path):
    """Its configuration names `host/hold.py`; a release that it cannot start would be taken back at once."""
    spec = {
        "command": [sys.executable, "-c", "print('started')"],
        "environment": {},
        "folder": str(tmp_path),
        "lock": str(tmp_path / "lock"),
        "log": str(tmp_path / "log"),
        "drain_seconds": 1,
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    former = Path(launcher.__file__).with_name("hold.py")
    subprocess.run([sys.executable, "-I", former, tmp_path / "spec.json"], check=True, timeout=30)
    assert (tmp_path / "log").read_text() == "started\n"
