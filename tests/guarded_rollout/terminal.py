"""A command on a real terminal of a given size, and what it would show there."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.forked import PROGRAMS, Forked

CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(rb"\x1b\[[0-9;]*(?:3|4|9|10)[0-7](?:;[0-9;]*)?m")


class Terminal:
    """A pseudo-terminal with a process on it, which has it as its controlling terminal.

    A command that begins with `dhash` or `rollout` is forked, any other is started.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        columns: int = 80,
        lines: int = 24,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._reading, writing = pty.openpty()
        fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        # what a test runner says of its own terminal would outvote this one's size
        said = ("NO_COLOR", "COLUMNS", "LINES")
        environment = {name: value for name, value in os.environ.items() if name not in said}
        environment |= {"TERM": "xterm-256color"} | dict(variables or {})
        self.process: Forked | subprocess.Popen[bytes]
        if command[0] in PROGRAMS:
            path = Path(os.ttyname(writing))
            self.process = Forked(
                command[0], command[1:], environment, path, stdin=path, folder=folder, terminal=True
            )
        else:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, preexec_fn=lambda: os.login_tty(writing)
            )
        os.close(writing)
        self.written = b""
        self._left_alone = threading.Event()

    def __enter__(self) -> "Terminal":
        return self

    @contextlib.contextmanager
    def kept_reading(self) -> Iterator[None]:
        """Within the block what it writes is read all the time, so that it never has to wait for a reader."""
        reader = threading.Thread(target=self._keep_reading)
        reader.start()
        try:
            yield
        finally:
            self._left_alone.set()
            reader.join()

    def _keep_reading(self) -> None:
        while not self._left_alone.is_set():
            self._read(0.1)

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        os.close(self._reading)

    def read_until(self, *words: str, seconds: float = 60) -> bytes:
        """Read on until the newest picture holds all of these."""
        deadline = time.monotonic() + seconds
        while not all(word in self.shown() for word in words):
            assert time.monotonic() < deadline, f"{words} never stood in:\n{self.shown()}"
            ended = self.process.poll() is not None  # asked first: what it wrote last may still be on its way
            assert self._read(0.1) or not ended, f"it ended with:\n{self.shown()}"
        return self.written

    def press_ctrl_c(self) -> int:
        """The exit code after a Ctrl-C that the terminal itself turns into a signal."""
        os.write(self._reading, b"\x03")
        deadline = time.monotonic() + 60
        while self.process.poll() is None or self._read(0):
            assert time.monotonic() < deadline, "Ctrl-C does not end it"
            self._read(0.05)
        return self.process.wait()

    def shown(self) -> str:
        """The newest picture, without its colours: what was written since the cursor went up last."""
        newest = re.split(rb"(?:\x1b\[1A\x1b\[2K)+", self.written)[-1]
        return CONTROL.sub(b"", newest).decode(errors="replace").replace("\r", "")

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._reading], [], [], seconds)
        if not ready:
            return False
        try:
            chunk = os.read(self._reading, 65536)
        except OSError:  # the terminal has gone with the process
            return False
        self.written += chunk
        return bool(chunk)
