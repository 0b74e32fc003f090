"""The parent's side of one process that reads documents, one at a time.

A process and a pipe, and nothing that two processes share. Tried first: `pebble.ProcessPool`, whose processes
share two locks and a pipe; one that was killed while idle stalled the next document for a minute. Then a
process for each document from multiprocessing's fork server: 10 ms each, and a socket's folder left in /tmp
whenever the service ends by a signal.
"""

import multiprocessing
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from dhash_service.documents import worker
from dhash_service.documents.extraction import LargeReading, PictureReading, Reading
from dhash_service.errors import (
    BusyError,
    DhashError,
    DocumentMemoryError,
    DocumentTimeoutError,
    DocumentWorkerDiedError,
)

START_SECONDS = 30.0  # for a process to start, on a machine that is busy
SPAWN = multiprocessing.get_context("spawn")  # forking would copy the service's locks in whatever state


class Lane:
    """A process, started when it is needed and replaced after any abnormal end.

    It runs `serve` with its end of the pipe and the limit on memory; `seconds` bound each answer.
    """

    def __init__(
        self, seconds: float, memory_bytes: int, serve: Callable[[Connection, int], None] = worker.serve
    ) -> None:
        self.trouble = ""  # why the last process did not start
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._serve = serve
        self._starting = threading.Lock()  # `close` comes from another thread
        self._closed = False
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None

    def read(self, data: bytes, reading: Reading | PictureReading | LargeReading) -> Any:
        """Read one file: an `Extraction`, a `Picture`, its variants, … Raises as `DocumentReader` says."""
        answer = self.answer(self.hand_over((data, reading)))
        if isinstance(answer, DhashError):
            raise answer
        return answer

    def answer(self, pipe: Connection) -> Any:
        """The next answer. Raises `DocumentTimeoutError`, or the error of what ended the process."""
        try:
            if pipe.poll(self._seconds):
                return pipe.recv()
        except (EOFError, OSError):
            raise self.died() from None
        self._end()
        raise DocumentTimeoutError(f"Reading it took more than {self._seconds:g} seconds.")

    def warm(self) -> Connection:
        """Have a process that is ready for a document, starting one if need be; gives the pipe to it.

        Raises `DocumentWorkerDiedError` where none starts, `BusyError` once the lane is closed.
        """
        for _ in range(2):
            process, pipe = self._process_and_pipe()
            if pipe.poll(START_SECONDS) and process.is_alive():
                self.trouble = ""
                return pipe
            exitcode = self._end()
        self.trouble = f"The process that reads PDFs does not start; it ends {_how(exitcode)}."
        raise DocumentWorkerDiedError(self.trouble)

    def close(self) -> None:
        """End the process. A document being read is given up: its reader gets `BusyError`."""
        with self._starting:
            self._closed = True
            process = self._process
        if process is not None:
            process.kill()
            process.join()

    def died(self) -> DhashError:
        """End the process, which takes nothing more, and say how it ended."""
        return self._died(self._end())

    def hand_over(self, task: object) -> Connection:
        """Give a task to a process. One that dies before it took it did not die of it."""
        for _ in range(2):
            pipe = self.warm()
            try:
                if pipe.recv() == worker.READY:
                    pipe.send(task)
                    if pipe.poll(START_SECONDS) and pipe.recv() == worker.TAKEN:
                        return pipe
            except (EOFError, OSError):
                pass
            exitcode = self._end()
        raise self._died(exitcode)

    def _process_and_pipe(self) -> tuple[SpawnProcess, Connection]:
        with self._starting:
            if self._closed:
                raise closing()
            if self._process is None or self._pipe is None:
                self._pipe, end = SPAWN.Pipe()
                with end:
                    process = SPAWN.Process(target=self._serve, args=(end, self._memory_bytes), daemon=True)
                    process.start()
                    self._process = process
            return self._process, self._pipe

    def _end(self) -> int:
        """Let go of the process, however it is doing. Returns its exit code, negative for a signal."""
        with self._starting:
            process, pipe = self._process, self._pipe
            self._process = self._pipe = None
        assert process is not None
        assert pipe is not None
        pipe.close()
        process.kill()  # changes nothing for one that is ending already, not even its exit code
        process.join()
        return process.exitcode or 0

    def _died(self, exitcode: int) -> DhashError:
        if self._closed:
            return closing()
        if exitcode == -signal.SIGABRT:  # pdfium's way to end when it is refused memory
            return too_much_memory(self._memory_bytes)
        why = " A system that runs out of memory does that." if exitcode == -signal.SIGKILL else ""
        return DocumentWorkerDiedError(f"The process that read it ended {_how(exitcode)}.{why}")


def too_much_memory(memory_bytes: int) -> DocumentMemoryError:
    return DocumentMemoryError(f"Reading it takes more than {memory_bytes / 1024**2:,.0f} MiB of memory.")


def closing() -> BusyError:
    return BusyError("The service is shutting down.")


def _how(exitcode: int) -> str:
    return f"with {signal.Signals(-exitcode).name}" if exitcode < 0 else f"with status {exitcode}"
