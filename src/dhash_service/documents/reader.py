"""The parent's side: each document goes to a process of its own, and whatever happens there stays there.

A process for each document, forked from a server that has everything imported, costs about 10 ms. What it
buys: a document that corrupts its process meets no other document there, the memory limit counts for one
document, and nothing is shared that a killed process could leave locked. (Tried first: `pebble.ProcessPool`.
Its processes share two locks and a pipe, and one that was killed while idle stalled the next document for
a minute.)
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import pebble

from dhash_service.documents import worker
from dhash_service.documents.extraction import Extraction, Limits, Reading
from dhash_service.errors import (
    BusyError,
    DhashError,
    DocumentMemoryError,
    DocumentTimeoutError,
    DocumentWorkerDiedError,
)

if TYPE_CHECKING:  # a worker imports this package too, and does without the half second that settings take
    from dhash_service.facts import Algorithm
    from dhash_service.settings import Settings

T = TypeVar("T")

STOP_SECONDS = 10.0  # for a process that is out of time to be stopped
RESTART_PAUSES = (0.05, 0.5, 0.0)  # seconds after each failed start; a killed process takes its time to die


class DocumentReader:
    """Reads PDFs, `document_workers` at a time; others wait their turn."""

    def __init__(self, settings: Settings) -> None:
        self._limits = Limits(settings.max_pages, settings.max_pictures, settings.max_pixels)
        self._seconds = settings.document_seconds
        self._memory_bytes = settings.document_memory_bytes
        self._threads = ThreadPoolExecutor(settings.document_workers, thread_name_prefix="document")
        self._name = f"document-{id(self):x}"  # of the processes
        self._context = _context()
        self._starting = threading.Lock()  # so that `close` meets every process
        self._closed = False
        self._trouble = ""  # why the last process did not start

    def warm(self) -> None:
        """Start the server that processes are forked from, and try one, without waiting for it.

        It saves the first document half a second, and lets `health` know beforehand that none will start.
        """
        self._threads.submit(self._try)

    def extract(
        self, data: bytes, algorithm: Algorithm, *, keep_content: bool = False, thumbnails: bool = True
    ) -> Future[Extraction]:
        """The document's pictures, hashed.

        The future raises what `pdf.extract` does, and `DocumentTimeoutError`, `DocumentMemoryError`,
        `DocumentWorkerDiedError`, `DecoderFailedError`, or `BusyError` when the reader is closed meanwhile.
        """
        reading = Reading(algorithm, self._limits, keep_content, thumbnails)
        try:
            return self._threads.submit(self._read, data, reading)
        except RuntimeError:
            raise _closing() from None

    def health(self) -> tuple[bool, str]:
        """Whether worker processes start, and a sentence that says so."""
        if self._trouble:
            return False, self._trouble
        return True, "The processes that read PDFs start."

    def close(self) -> None:
        """Give up what is being read. On return every process has ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._starting:
            self._closed = True
            for process in multiprocessing.active_children():
                if process.name == self._name:
                    process.kill()
        self._threads.shutdown(wait=True)

    def _try(self) -> None:
        try:
            self._run(worker.ready)
        except DhashError as error:
            self._trouble = error.detail

    def _read(self, data: bytes, reading: Reading) -> Extraction:
        if len(data) > self._memory_bytes:
            raise self._too_much_memory()
        return self._run(worker.read, data, reading, self._memory_bytes)

    def _run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in a process of its own."""
        future = self._start(function, *arguments)
        try:
            result = future.result(self._seconds + STOP_SECONDS)
        except pebble.ProcessExpired as death:
            raise _closing() if self._closed else self._died(death.exitcode) from None
        except TimeoutError:
            raise DocumentTimeoutError(f"Reading it took more than {self._seconds:g} seconds.") from None
        except DhashError as error:
            raise error.with_traceback(None) from None  # the process's stack, as text, helps nobody here
        self._trouble = ""
        return result

    def _start(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        in_process: Callable[..., Callable[..., Future[T]]] = pebble.concurrent.process(  # type: ignore[call-overload]
            name=self._name, daemon=True, timeout=self._seconds, context=self._context
        )
        with self._starting:
            for pause in RESTART_PAUSES:
                if self._closed:
                    raise _closing()
                try:
                    return in_process(function)(*arguments)
                except (OSError, EOFError) as error:  # the fork server was killed: the next start notices
                    trouble = error
                    time.sleep(pause)
        self._trouble = f"No process to read PDFs starts: {trouble!r}."
        raise DocumentWorkerDiedError(self._trouble) from trouble

    def _died(self, exitcode: int) -> DhashError:
        if exitcode == -signal.SIGABRT:  # pdfium's way to end when it is refused memory
            return self._too_much_memory()
        cause = f"with {signal.Signals(-exitcode).name}" if exitcode < 0 else f"with status {exitcode}"
        return DocumentWorkerDiedError(f"The process that read it ended {cause}.")

    def _too_much_memory(self) -> DocumentMemoryError:
        mebibytes = self._memory_bytes / 1024**2
        return DocumentMemoryError(f"Reading it takes more than {mebibytes:,.0f} MiB of memory.")


def _context() -> Any:
    """Never plain fork: the service has threads, and locks in whatever state.

    macOS forbids to fork what has loaded its frameworks, so there each process starts afresh, in 0.5 s.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", worker.__name__])
    return context


def _closing() -> BusyError:
    return BusyError("The service is shutting down.")
