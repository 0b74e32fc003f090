"""Runs `dhash` in processes that are forked from one which has imported it already.

They are real processes, with arguments, environment, output and exit code of their own. Starting Python and
importing the service takes most of a second of a core, and the tests start hundreds.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """A running `dhash`, with the part of `subprocess.Popen` that tests use."""

    def __init__(
        self, arguments: Sequence[str], env: Mapping[str, str], stdout: Path, stderr: Path | None = None
    ) -> None:
        self.args = ["dhash", *arguments]
        told = (list(arguments), dict(env), str(stdout), str(stderr or stdout), os.getcwd())
        self._process = CONTEXT.Process(target=_run, args=told)
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


def _run(arguments: list[str], env: dict[str, str], stdout: str, stderr: str, folder: str) -> None:
    from dhash_service.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    for path, number in ((stdout, 1), (stderr, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.argv = ["dhash", *arguments]
    main()
