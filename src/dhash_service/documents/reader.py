"""Documents in, futures out: they are read in other processes, and what happens there stays there."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import LifoQueue
from typing import TYPE_CHECKING, TypeVar

from dhash_service.documents.extraction import Extraction, Limits, Reading
from dhash_service.documents.lane import Lane, closing, too_much_memory

if TYPE_CHECKING:  # a worker imports this package too, and does without the half second that settings take
    from dhash_service.facts import Algorithm
    from dhash_service.settings import Settings

T = TypeVar("T")

MEMORY_PER_BYTE = 4  # of the document, to hand it over and open it; measured with 50 MB: 210 MB always do


class DocumentReader:
    """Reads PDFs in `document_workers` processes; further documents wait their turn."""

    def __init__(self, settings: Settings) -> None:
        self._limits = Limits(settings.max_pages, settings.max_pictures, settings.max_pixels)
        self._memory_bytes = settings.document_memory_bytes
        number = settings.document_workers
        self._lanes = [Lane(settings.document_seconds, self._memory_bytes) for _ in range(number)]
        self._idle: LifoQueue[Lane] = (
            LifoQueue()
        )  # a process that has started is taken before one that has not
        for lane in self._lanes:
            self._idle.put(lane)
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="document")

    def warm(self) -> None:
        """Start the processes without waiting for them; else each starts with its first document.

        It saves those half a second, and lets `health` know beforehand if a process does not start.
        """
        for _ in self._lanes:
            self._threads.submit(self._in_turn, Lane.warm)

    def extract(
        self, data: bytes, algorithm: Algorithm, *, keep_content: bool = False, thumbnails: bool = True
    ) -> Future[Extraction]:
        """The document's pictures, hashed.

        The future raises what `pdf.extract` does, and `DocumentTimeoutError`, `DocumentMemoryError`,
        `DocumentWorkerDiedError`, `DecoderFailedError`, or `BusyError` when the reader is closed meanwhile.
        The bytes go through a pipe: there is no file that could be left over.
        """
        reading = Reading(algorithm, self._limits, keep_content, thumbnails)
        try:
            return self._threads.submit(self._read, data, reading)
        except RuntimeError:
            raise closing() from None

    def health(self) -> tuple[bool, str]:
        """True while worker processes start, as far as is known, and a sentence that says so."""
        trouble = next((lane.trouble for lane in self._lanes if lane.trouble), "")
        return not trouble, trouble or "The processes that read PDFs start."

    def close(self) -> None:
        """Give up what is being read. On return every process has ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for lane in self._lanes:
            lane.close()
        self._threads.shutdown(wait=True)

    def _read(self, data: bytes, reading: Reading) -> Extraction:
        if MEMORY_PER_BYTE * len(data) > self._memory_bytes:
            raise too_much_memory(self._memory_bytes)
        return self._in_turn(lambda lane: lane.read(data, reading))

    def _in_turn(self, use: Callable[[Lane], T]) -> T:
        lane = self._idle.get()
        try:
            return use(lane)
        finally:
            self._idle.put(lane)
