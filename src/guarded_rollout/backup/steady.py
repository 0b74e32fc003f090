"""A large file that reaches the disk while it is written, a few megabytes at a time.

One flush of it all at the end would keep the disk busy for a second, and whoever commits meanwhile waits.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

FLUSH_BYTES = 8 * 1024**2


class SteadyFile:
    """A new file to write; when its block ends well, it is on the disk and in no cache."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._flusher = ThreadPoolExecutor(1)
        self._flushing: Future[None] | None = None
        self._pending = 0

    def __enter__(self) -> Self:
        return self

    def write(self, data: bytes) -> int:
        """Append; waits while the disk is more than one flush behind."""
        self._pending += len(data)
        if self._pending >= FLUSH_BYTES:
            self._pending = 0
            self._settle()
            self._file.flush()
            self._flushing = self._flusher.submit(os.fsync, self._file.fileno())
        return self._file.write(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file, self._flusher:
            if kind is None:
                self._settle()
                self._file.flush()
                os.fsync(self._file.fileno())
                forget_cache(self._file.fileno())

    def _settle(self) -> None:
        """Wait for what the disk is writing, and raise what went wrong with it."""
        if self._flushing is not None:
            self._flushing.result()


def forget_cache(descriptor: int) -> None:
    """So that whoever reads the file asks the disk; where no one can be asked for that, the cache answers."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
