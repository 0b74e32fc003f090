"""One process that reads documents, behind a `pebble.ProcessPool` of size one.

One pool of several processes would be simpler, but they share locks and a pipe: one that is killed while it
holds them takes the others down. Here any abnormal end throws away the one pool, and the next document gets
a fresh one.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool

from pebble import ProcessExpired, ProcessPool

from dhash_service.documents import worker
from dhash_service.documents.extraction import Extraction, Reading
from dhash_service.errors import (
    BusyError,
    DhashError,
    DocumentMemoryError,
    DocumentTimeoutError,
    DocumentWorkerDiedError,
)

START_SECONDS = 30.0  # for a process to start and take the document, on a machine that is busy
DOCUMENTS_PER_PROCESS = 500  # then a fresh one, against what native libraries leak


class Lane:
    """One process at a time, replaced after any abnormal end. Reads one document at a time."""

    def __init__(self, seconds: float, memory_bytes: int) -> None:
        self.starts = True  # as far as is known
        self.replaced = 0
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()  # over the three below: `close` comes from another thread
        self._pool = self._new_pool()
        self._current: Future[Extraction] | None = None
        self._closed = False

    def warm(self) -> None:
        """Start the process without waiting for it."""
        with self._lock, contextlib.suppress(RuntimeError):  # closed, or broken: `read` sees to that
            self._pool.schedule(os.getpid)

    def read(self, data: bytes, reading: Reading) -> Extraction:
        """Read one document. Raises as `DocumentReader.extract` says."""
        try:
            return self._attempt(data, reading)
        except BrokenProcessPool:
            pass  # it died before it took the document, which is not to blame
        try:
            return self._attempt(data, reading)
        except BrokenProcessPool:
            self.starts = False
            raise DocumentWorkerDiedError("The process that should read it did not start.") from None

    def _attempt(self, data: bytes, reading: Reading) -> Extraction:
        try:
            extraction = self._schedule(data, reading).result(self._seconds + START_SECONDS)
        except CancelledError:
            raise closed() from None
        except BrokenProcessPool:
            self._replace()
            raise
        except ProcessExpired as death:
            self._replace()
            raise _error(death.exitcode, self._memory_bytes) from None
        except TimeoutError:
            self._replace()
            raise DocumentTimeoutError(f"Reading it took more than {self._seconds:g} seconds.") from None
        except DhashError as error:
            self.starts = True
            raise error.with_traceback(None) from None  # the worker's stack, as text, says nothing here
        self.starts = True
        return extraction

    def _schedule(self, data: bytes, reading: Reading) -> Future[Extraction]:
        with self._lock:
            if self._closed:
                raise closed()
            try:
                self._current = self._pool.schedule(worker.read, (data, reading), timeout=self._seconds)
            except RuntimeError as error:  # pebble's word for a pool whose idle process was killed
                raise BrokenProcessPool from error
            return self._current

    def _replace(self) -> None:
        with self._lock:
            if not self._closed:
                old, self._pool = self._pool, self._new_pool()
                self._pool.schedule(os.getpid)  # starts the process, so that the next document need not wait
                self.replaced += 1
                _end(old)

    def close(self) -> None:
        """Give up the document being read, whose reader gets `BusyError`, and end the process."""
        with self._lock:
            self._closed = True
            if self._current is not None:
                self._current.cancel()
            _end(self._pool)

    def _new_pool(self) -> ProcessPool:
        """Nothing starts yet. Spawned, not forked: the parent has threads, and locks in unknown states."""
        return ProcessPool(
            max_workers=1,
            max_tasks=DOCUMENTS_PER_PROCESS,
            initializer=worker.enter,
            initargs=(self._memory_bytes,),
            context=multiprocessing.get_context("spawn"),
        )


def _error(exitcode: int, memory_bytes: int) -> DhashError:
    if exitcode == -signal.SIGABRT:  # pdfium's way to end when it is refused memory
        return too_much_memory(memory_bytes)
    cause = f"with {signal.Signals(-exitcode).name}" if exitcode < 0 else f"with status {exitcode}"
    return DocumentWorkerDiedError(f"The process that read it ended {cause}.")


def too_much_memory(memory_bytes: int) -> DocumentMemoryError:
    return DocumentMemoryError(f"Reading it takes more than {memory_bytes / 1024**2:,.0f} MiB of memory.")


def closed() -> BusyError:
    return BusyError("The service is shutting down.")


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
