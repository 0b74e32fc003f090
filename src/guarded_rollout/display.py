"""Lines for whoever reads along: a reader that has gone, or does not read, holds nobody up."""

import os
import re
import select
import shutil
import sys
from contextlib import suppress
from typing import IO

PATIENCE_SECONDS = 1.0
"""How long a line waits for a display that takes nothing (a stopped terminal, a pipe that is full)."""

STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""Colours and weights (ECMA-48, "select graphic rendition"): for terminals alone."""


class Display:
    """Prints lines to standard output or standard error, as these are when a line is printed.

    Without `drops`, a slow reader is waited for, as a pager is. With it, what cannot be written is dropped
    after a second, and at once until the display takes lines again: no rollout waits for a terminal.
    """

    def __init__(self, *, drops: bool = False) -> None:
        self.drops = drops
        self._stalled = False

    def show(self, line: str, *, err: bool = False) -> None:
        """Print a line, where that is possible. Never raises."""
        stream = sys.stderr if err else sys.stdout
        if self.drops and not self.takes(stream):
            return
        try:
            print(line if stream.isatty() else STYLE.sub("", line), file=stream, flush=True)
        except (OSError, ValueError):
            _silence(stream)

    def takes(self, stream: IO[str]) -> bool:
        """Return True if a stream takes a line now, or within a second if it has not been found stalled."""
        try:
            poll = select.poll()
            poll.register(stream.fileno(), select.POLLOUT)
            ready = poll.poll(0 if self._stalled else PATIENCE_SECONDS * 1000)
        except (OSError, ValueError, AttributeError):  # no file at all: a test's, or a closed one
            return True
        self._stalled = not ready
        return bool(ready)


def fit(line: str) -> str:
    """Return a line that fits into the terminal's width; elsewhere nothing is cut."""
    if not sys.stdout.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return line if len(line) <= width else line[: width - 1] + "…"


def _silence(stream: IO[str]) -> None:
    """Give a stream whose reader has gone to nobody, or Python complains of it once more when it ends."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
