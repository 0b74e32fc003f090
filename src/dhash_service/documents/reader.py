"""The parent's side: documents go to processes of their own, and whatever happens there stays there."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from queue import LifoQueue
from typing import TYPE_CHECKING

from dhash_service.documents.extraction import Extraction, Limits, Reading
from dhash_service.documents.lane import Lane, closed, too_much_memory

if TYPE_CHECKING:  # a worker imports this package too, and does without the half second that settings take
    from dhash_service.facts import Algorithm
    from dhash_service.settings import Settings

MEMORY_PER_BYTE = 4  # of the document, to hand it over and open it; measured with 50 MB: 210 MB always do


class DocumentReader:
    """Reads PDFs in `document_workers` processes, which start with the first document or with `warm`."""

    def __init__(self, settings: Settings) -> None:
        self._limits = Limits(settings.max_pages, settings.max_pictures, settings.max_pixels)
        self._memory_bytes = settings.document_memory_bytes
        self._lanes = [
            Lane(settings.document_seconds, self._memory_bytes) for _ in range(settings.document_workers)
        ]
        self._idle: LifoQueue[Lane] = LifoQueue()  # the one that worked last is the warmest
        for idle in reversed(self._lanes):
            self._idle.put(idle)
        self._threads = ThreadPoolExecutor(settings.document_workers, thread_name_prefix="document")

    def warm(self) -> None:
        """Start the processes without waiting for them: about half a second that the first document saves."""
        for lane in self._lanes:
            lane.warm()

    def extract(
        self, data: bytes, algorithm: Algorithm, *, keep_content: bool = False, thumbnails: bool = True
    ) -> Future[Extraction]:
        """The document's pictures, hashed. Waits its turn behind earlier documents.

        Raises `DocumentMemoryError` at once for a document that could not even be handed over. The future
        raises what `pdf.extract` does, and `DocumentTimeoutError`, `DocumentMemoryError`,
        `DocumentWorkerDiedError`, `DecoderFailedError`, or `BusyError` when the reader is closed meanwhile.
        The bytes go through a pipe, 2.7 ms a megabyte: no file that could be left over.
        """
        if MEMORY_PER_BYTE * len(data) > self._memory_bytes:
            raise too_much_memory(self._memory_bytes)
        reading = Reading(algorithm, self._limits, keep_content, thumbnails)
        try:
            return self._threads.submit(self._read, data, reading)
        except RuntimeError:
            raise closed() from None

    def health(self) -> tuple[bool, str]:
        """Whether worker processes start, and a sentence that says so."""
        if not all(lane.starts for lane in self._lanes):
            return False, "A process that reads PDFs does not start."
        busy = len(self._lanes) - self._idle.qsize()
        replaced = sum(lane.replaced for lane in self._lanes)
        return True, f"{busy} of {len(self._lanes)} processes read PDFs; {replaced} were replaced."

    def close(self) -> None:
        """Give up what is being read, and end every process."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for lane in self._lanes:
            lane.close()
        self._threads.shutdown(wait=True)

    def _read(self, data: bytes, reading: Reading) -> Extraction:
        free = self._idle.get()
        try:
            return free.read(data, reading)
        finally:
            self._idle.put(free)
