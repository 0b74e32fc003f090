"""Runs `dhash` and `rollout` in processes that are forked from one which has imported them already.

They are real processes, with arguments, folder, environment, output, terminal and exit code of their own.
Starting Python and importing the service takes most of a second of a core, and the tests start hundreds.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.preloaded"])
PROGRAMS = ("dhash", "rollout")


@dataclass(frozen=True)
class Surroundings:
    """What a program finds around it: its folder, its environment, and the files that it reads and writes."""

    folder: str
    env: Mapping[str, str]
    stdin: str
    stdout: str
    stderr: str
    terminal: bool = False
    """The three are one terminal, which becomes the program's own."""


class Forked:
    """A running program, with the part of `subprocess.Popen` that tests use."""

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        env: Mapping[str, str],
        stdout: Path,
        stderr: Path | None = None,
        *,
        stdin: Path = Path(os.devnull),
        folder: Path | None = None,
        terminal: bool = False,
    ) -> None:
        assert program in PROGRAMS, program
        self.args = [program, *arguments]
        self.written = stdout
        place = str(folder or Path.cwd())
        around = Surroundings(place, dict(env), str(stdin), str(stdout), str(stderr or stdout), terminal)
        self._process = CONTEXT.Process(target=_run, args=(self.args, around))
        self._process.start()
        self.pid: int = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; negative for a signal. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    program: str,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    given: str = "",
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end, as `subprocess.run` does with text; `env` is added to ours."""
    with tempfile.TemporaryDirectory(prefix="said-") as said:
        read, out, err = (Path(said) / name for name in ("in", "out", "err"))
        read.write_text(given)
        everything = {**os.environ, **(env or {})}
        process = Forked(program, list(map(str, arguments)), everything, out, err, stdin=read, folder=folder)
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, code, out.read_text(), err.read_text())


def _run(words: list[str], around: Surroundings) -> None:
    os.chdir(around.folder)
    os.environ.clear()
    os.environ.update(around.env)
    if around.terminal:
        os.login_tty(os.open(around.stdout, os.O_RDWR))
    else:
        os.dup2(os.open(around.stdin, os.O_RDONLY), 0)
        for path, number in ((around.stdout, 1), (around.stderr, 2)):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(opened, number)
            os.close(opened)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.argv = words
    if words[0] == "dhash":
        from dhash_service.cli import main
    else:
        from guarded_rollout.cli import main
    main()
