"""The environment's processes, kept running by supervisord: the proxy, the two slots, the watcher.

supervisord runs as a daemon of its own, without root, and outlives the terminal. Its configuration is
static; what a program runs is a spec file that `launcher.py` reads. A spec says that the program is wanted:
`ensure` starts supervisord if it is gone and then every program that is wanted.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import ProcessError, SocketPathTooLongError, SupervisorError
from guarded_rollout.files import write_atomic
from guarded_rollout.host import launcher
from guarded_rollout.host.endpoint import UnixConnection
from guarded_rollout.host.programs import program

PROXY, WATCHER, STREAM = "proxy", "watcher", "stream"
PROGRAMS = ("blue", "green", PROXY, WATCHER, STREAM)
SOCKET_LIMIT = 103  # macOS; Linux allows 107
START_SECONDS = 10
KILL_SECONDS = 5  # between the end of a program's drain time and the supervisor's SIGKILL


@dataclass(frozen=True, slots=True)
class Spec:
    """The command of a program. A spec on disk means that the program is wanted."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    drain_seconds: float
    socket: str = ""  # where it listens; what a killed one left there is removed first


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A program as the supervisor sees it. `pid` 0 means that it does not run."""

    name: str
    running: bool
    pid: int
    description: str
    uptime_seconds: int


class OverSocket(xmlrpc.client.Transport):
    """XML-RPC over a unix socket; that of the supervisor's package imports its whole server with it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> UnixConnection:
        return UnixConnection(self._path, None)  # stopping a program takes its time


class Processes:
    """The supervisor of one environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._folder = environment.root / "supervisor"
        self._socket = environment.run / "sv"
        self._pidfile = self._folder / "supervisord.pid"
        self.log = environment.service_logs / "supervisord.log"
        self._said: dict[str, int] = {}  # bytes that a log had when its program was started from here

    # ---- the supervisor itself

    def up(self) -> bool:
        """Return True if supervisord answers."""
        try:
            return bool(self._call("supervisor.getPID"))
        except SupervisorError:
            return False

    def ensure(self) -> None:
        """Start supervisord if it does not run, and every wanted program that does not.

        One that dies while it is asked is started again.
        """
        try:
            self._ensure()
        except SupervisorError:
            if self.up():
                raise
            self._ensure()

    def _ensure(self) -> None:
        if not self.up():
            self._start_supervisor()
        states = self.states()
        for name in PROGRAMS:
            if self.wanted(name) and name in states and not states[name].running:
                self._tolerate("ALREADY_STARTED", "supervisor.startProcess", name, False)

    def shut_down(self) -> None:
        """Stop every program, then supervisord. Does nothing when nothing runs."""
        for name in reversed(PROGRAMS):
            self.stop(name)
        if not self.up():
            self._socket.unlink(missing_ok=True)  # of one that was killed
            return
        pid = int(str(self._call("supervisor.getPID")))
        self._call("supervisor.shutdown")
        deadline = time.monotonic() + START_SECONDS
        while launcher.alive(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    # ---- its programs

    def wanted(self, name: str) -> bool:
        return self.spec_path(name).exists()

    def spec_path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def start(self, name: str, spec: Spec) -> None:
        """Run this as program `name`; one that runs is left alone if it runs the same, else replaced."""
        files = {"lock": str(self.lock_path(name)), "log": str(self.log_path(name))}
        content = json.dumps(asdict(spec) | files, indent=1)
        path = self.spec_path(name)
        if not path.exists() or json.loads(path.read_text()) != json.loads(content):
            self.stop(name)
            self._said[name] = self._log_bytes(name)
            write_atomic(path, content, mode=0o600)  # variables may hold a password
        self.ensure()

    def stop(self, name: str) -> None:
        """Drain and stop a program, and want it no more. Stopping one that does not run is fine."""
        self.forget(name)
        try:
            if self.up() and (state := self.states().get(name)) and state.description != "STOPPED":
                self._tolerate("NOT_RUNNING", "supervisor.stopProcess", name)
                while self.states()[name].description == "STOPPING":  # it was asked before: see below
                    time.sleep(0.05)
        except SupervisorError:
            if self.up():
                raise
        self._end_what_is_left(name)

    def ask_to_stop(self, name: str) -> None:
        """Want a program no more, and have it drain without waiting; the supervisor kills it afterwards."""
        self.forget(name)
        if self.up():
            self._tolerate("NOT_RUNNING", "supervisor.stopProcess", name, False)

    def runs(self, name: str) -> bool:
        """Return True while a program runs, whether anybody supervises it or not."""
        try:
            written = self.lock_path(name).read_text().strip()
        except FileNotFoundError:
            return False
        return written.isdigit() and launcher.alive(int(written))

    def _end_what_is_left(self, name: str) -> None:
        """A killed supervisor leaves its children, and a new one may not have adopted them yet."""
        try:
            lock = os.open(self.lock_path(name), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            if not launcher.try_lock(lock):
                launcher.end(lock, self._environment.checks.drain_seconds)
        finally:
            os.close(lock)

    def forget(self, name: str) -> None:
        """Want a program no more, without stopping it: it ends by itself."""
        self.spec_path(name).unlink(missing_ok=True)

    def states(self) -> dict[str, ProcessState]:
        """Every program's state by name."""
        answer = self._call("supervisor.getAllProcessInfo")
        assert isinstance(answer, list)
        return {info["name"]: _state(info) for info in answer}

    def state(self, name: str) -> ProcessState:
        return self.states()[name]

    def lock_path(self, name: str) -> Path:
        """The file that names the pid of a program that runs; see `launcher.py`."""
        return self._folder / f"{name}.lock"

    def log_path(self, name: str) -> Path:
        return self._environment.service_logs / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The end of what a program printed since it was started, for an error that names the cause."""
        size = self._log_bytes(name)
        before = self._said.get(name, 0)
        try:
            with self.log_path(name).open("rb") as file:
                file.seek(max(0, size - 4096, before if before <= size else 0))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return " / ".join(line.strip() for line in text.splitlines()[-3:] if line.strip())

    # ---- inside

    def _log_bytes(self, name: str) -> int:
        with suppress(FileNotFoundError):
            return self.log_path(name).stat().st_size
        return 0

    def require_short_paths(self) -> None:
        """Raise `SocketPathTooLongError` if a socket of this environment could not be bound."""
        bound = f"{self._socket}.{2**22}"  # supervisord binds beside it first, with its pid: the longest
        if len(os.fsencode(bound)) > SOCKET_LIMIT:
            raise SocketPathTooLongError(path=bound, length=len(os.fsencode(bound)), limit=SOCKET_LIMIT)

    def _start_supervisor(self) -> None:
        self.require_short_paths()
        configuration = self._folder / "supervisord.conf"
        write_atomic(configuration, self._configuration(), mode=0o600)
        done = subprocess.run(
            [program("supervisord"), "-c", str(configuration)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self.up():
            if done.returncode != 0 or time.monotonic() > deadline:
                said = (done.stderr or done.stdout).strip().splitlines()
                raise SupervisorError(
                    environment=self._environment.name,
                    problem=said[-1] if said else "it does not answer",
                    log=self.log,
                )
            time.sleep(0.02)

    def _configuration(self) -> str:
        logs = self._environment.service_logs
        sections = [
            f"[unix_http_server]\nfile={self._socket}\nchmod=0600",
            f"[supervisord]\nlogfile={self.log}\nlogfile_maxbytes=5MB\nlogfile_backups=2\npidfile={self._pidfile}\n"
            f"directory={self._environment.project}\nchildlogdir={logs}\numask=077\nidentifier={self._environment.name}",
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        ]
        sections += [self._program(name) for name in PROGRAMS]
        return "\n\n".join(sections).replace("%", "%%") + "\n"

    def _program(self, name: str) -> str:
        command = [sys.executable, "-I", launcher.__file__, str(self.spec_path(name))]
        patience = self._environment.checks.drain_seconds + KILL_SECONDS
        return (
            f"[program:{name}]\ncommand={shlex.join(command)}\n"
            # it would give up for good after startretries, waiting one second longer each time
            "autostart=false\nstartsecs=1\nstartretries=1000000\n"
            f"autorestart={'unexpected' if name == WATCHER else 'true'}\nexitcodes=0\n"
            f"stopsignal=TERM\nstopwaitsecs={patience}\nkillasgroup=true\n"
            "stdout_logfile=NONE\nstderr_logfile=NONE"
        )

    def _tolerate(self, fault: str, method: str, *arguments: object) -> None:
        try:
            self._call(method, *arguments)
        except SupervisorError as error:
            if fault not in str(error):
                raise

    def _call(self, method: str, *arguments: object) -> object:
        proxy = xmlrpc.client.ServerProxy("http://supervisor", transport=OverSocket(self._socket))
        try:
            return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            problem = fault.faultString
        except (OSError, xmlrpc.client.ProtocolError) as error:
            problem = str(error)
        raise SupervisorError(environment=self._environment.name, problem=problem, log=self.log)

    def require_running(self, name: str) -> ProcessState:
        """The program's state. Raises `ProcessError` with its last words when it does not run."""
        state = self.state(name)
        if not state.running:
            raise ProcessError(
                name=name, problem=self.last_words(name) or state.description, log=self.log_path(name)
            )
        return state


def _state(info: Mapping[str, object]) -> ProcessState:
    running = info["statename"] in ("RUNNING", "STARTING")
    uptime = int(str(info["now"])) - int(str(info["start"])) if running else 0
    return ProcessState(str(info["name"]), running, int(str(info["pid"])), str(info["statename"]), uptime)
