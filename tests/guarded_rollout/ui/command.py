"""`rollout ui` as an operator starts it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.guarded_rollout.sandbox import free_port


class Dashboard:
    """The running command. `restart` starts it again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "guarded_rollout.cli", "ui", "--port", str(self.port)],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        said = ""
        while "once=" not in said:
            line = self.process.stdout.readline()
            assert line, f"it ended: {said}"
            said += line
        found = re.search(r"http\S+once=\S+", said)
        assert found
        self.once = found[0]

    def stop(self) -> str:
        """Ctrl-C, and what it said last."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=15)
        return said

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def dashboard(folder: Path) -> Iterator[Dashboard]:
    running = Dashboard(folder)
    try:
        yield running
    finally:
        running.close()
