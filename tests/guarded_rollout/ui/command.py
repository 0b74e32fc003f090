"""`rollout ui` as an operator starts it."""

import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.forked import Forked
from tests.guarded_rollout.sandbox import free_port


class Dashboard:
    """The running command. `restart` starts it again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        said = Path(tempfile.mkstemp(prefix="dashboard-")[1])
        self.process = Forked(
            "rollout", ["ui", "--port", str(self.port)], os.environ, said, folder=self._folder
        )
        found: list[str] = []
        while not found:
            assert self.process.poll() is None, f"it ended: {said.read_text()}"
            time.sleep(0.02)
            found = re.findall(r"(http\S+once=\S+)\n", said.read_text())
        self.once = found[0]

    def stop(self) -> str:
        """Ctrl-C, and what it said last."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(15)
        return self.process.written.read_text()

    def restart(self) -> None:
        self.stop()
        self.process.written.unlink()
        self.start()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.written.unlink()


@contextmanager
def dashboard(folder: Path) -> Iterator[Dashboard]:
    running = Dashboard(folder)
    try:
        yield running
    finally:
        running.close()
