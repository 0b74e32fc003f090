"""What a sensible operator does: start a command, and when it is over put right what it left."""

import http.client
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from chaos.stack import Stack, runs

COMMAND_SECONDS = 240.0
"""A command that takes longer than this hangs."""

SETTLE_SECONDS = 400.0
HURT = re.compile(r"Traceback \(most recent call last\)")


@dataclass(slots=True)
class Typed:
    """One command that was typed. `code` is None while it runs, negative when it was killed."""

    words: tuple[str, ...]
    begun: float
    ended: float = 0.0
    code: int | None = None
    output: str = ""

    def __str__(self) -> str:
        code = "hung" if self.code is None else self.code
        return f"rollout {' '.join(self.words)} → {code} after {self.ended - self.begun:.1f} s"


@dataclass(slots=True)
class Operator:
    """One person at one terminal. `typed` is what was done, `pid` the command that runs now."""

    stack: Stack
    transcripts: Path
    typed: list[Typed] = field(default_factory=list)
    pid: int | None = None
    reader: subprocess.Popen[str] | None = None

    def type(self, *words: str, piped: bool = False) -> Typed:
        """Run a command to its end, or kill it when it hangs. `piped`: its output can be let go of."""
        typed = Typed(words, time.time())
        self.typed.append(typed)
        path = self.transcripts / f"{len(list(self.transcripts.iterdir())):02d}-{words[0]}.txt"
        with path.open("w") as file, self._pipe(file) if piped else nullcontext(file) as output:
            process = self.stack.start(*words, output=output)
            self.pid = process.pid
            try:
                typed.code = process.wait(COMMAND_SECONDS * self.stack.slow)
            except Exception:
                process.kill()
                process.wait()
            finally:
                self.pid = None
                typed.ended = time.time()
        typed.output = path.read_text(errors="replace")
        return typed

    @contextmanager
    def _pipe(self, file: IO[str]) -> Iterator[IO[str]]:
        """The end to write to of a pipe whose reader writes into this file until `break_pipe`."""
        reader = self.reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file, text=True)
        assert reader.stdin is not None
        try:
            yield reader.stdin
        finally:
            self.reader = None
            reader.stdin.close()
            try:
                reader.wait(5)
            except subprocess.TimeoutExpired:  # what the command started has its end as well
                reader.kill()
                reader.wait()

    def break_pipe(self) -> bool:
        """End whoever reads what the command prints; False where no command prints into a pipe."""
        reader = self.reader
        if reader is None or self.pid is None:
            return False
        reader.kill()
        return True

    def settle(self) -> bool:
        """Wait for what goes by itself, and help where nobody is at work. Whether all is quiet in the end."""
        deadline = time.monotonic() + SETTLE_SECONDS
        idle_since = time.monotonic()
        while time.monotonic() < deadline:
            if self.stack.open_rollout() is None and self.is_served():
                return True
            if self.somebody_is_at_work() or self.pid is not None:
                idle_since = time.monotonic()
            if time.monotonic() - idle_since > 3.0:
                self.type("start" if self.stack.open_rollout() is None else "resume")
                idle_since = time.monotonic()
            time.sleep(0.1)
        return False

    def somebody_is_at_work(self) -> bool:
        """A command that holds the lock, or a monitor that watches a window that is open."""
        if self.stack.at_work():
            return True
        watcher = self.stack.root / "supervisor" / "watcher.lock"
        try:
            watched = runs(int(watcher.read_text()))
        except (OSError, ValueError):
            watched = False
        return watched and self.stack.window_is_open()

    def is_served(self) -> bool:
        """Whether the public port says that all is well."""
        return health(self.stack.port)[0] == 200


def health(port: int) -> tuple[int, str]:
    """Status and body of the public health check, over a new connection; 0 without an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()
