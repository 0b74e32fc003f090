"""Documents in, futures out: they are read in other processes, and what happens there stays there.

So are pictures in the further formats; the usual ones are decoded where they are asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import LifoQueue
from typing import TYPE_CHECKING, Any, TypeVar

from dhash_service.documents.extraction import Extraction, LargeReading, Limits, PictureReading, Reading
from dhash_service.documents.lane import Lane, closing, too_much_memory
from dhash_service.pictures.fingerprint import Variant, fingerprint, read_picture, variants
from dhash_service.pictures.formats import is_apart
from dhash_service.pictures.large import large

if TYPE_CHECKING:  # a worker imports this package too, and does without the half second that settings take
    from dhash_service.facts import Algorithm, Fingerprint, Picture, Sha256
    from dhash_service.settings import Settings

T = TypeVar("T")

MEMORY_PER_BYTE = 4  # of the document, to hand it over and open it; measured with 50 MB: 210 MB always do


class DocumentReader:
    """Reads PDFs and pictures; PDFs and the further formats in `document_workers` processes, in turn."""

    def __init__(self, settings: Settings) -> None:
        self._limits = Limits(
            settings.max_pages, settings.max_pictures, settings.max_pixels, settings.take_cut
        )
        self._opening = settings.opening
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
        return self.apart(data, Reading(algorithm, self._limits, keep_content, thumbnails))

    def is_apart(self, data: bytes) -> bool:
        """True for a picture that is decoded in a worker process."""
        return is_apart(data, self._opening.formats)

    def picture(
        self,
        data: bytes,
        algorithm: Algorithm,
        *,
        thumbnail: bool = True,
        keep_content: bool = False,
        sha256: Sha256 | None = None,
    ) -> Picture:
        """As `read_picture`, in a worker process where the format needs one; then it raises as `extract`."""
        if self.is_apart(data):
            apart: Picture = self.apart(
                data, PictureReading(algorithm, self._opening, thumbnail, keep_content)
            ).result()
            return apart
        return read_picture(
            data, algorithm, self._opening, thumbnail=thumbnail, keep_content=keep_content, sha256=sha256
        )

    def fingerprint(self, data: bytes, algorithm: Algorithm) -> Fingerprint:
        """The fingerprint of a picture; raises as `picture`."""
        if self.is_apart(data):
            return self.picture(data, algorithm, thumbnail=False).fingerprint
        return fingerprint(data, algorithm, self._opening)

    def variants(self, data: bytes, algorithm: Algorithm) -> tuple[Variant, ...]:
        """The picture's fingerprints in its eight orientations; raises as `picture`."""
        if self.is_apart(data):
            found: tuple[Variant, ...] = self.apart(
                data, PictureReading(algorithm, self._opening, turns=True)
            ).result()
            return found
        return variants(data, algorithm, self._opening)

    def large(self, data: bytes, side: int) -> tuple[bytes, str]:
        """The picture for the screen and its media type, see `pictures.large`; raises as `picture`."""
        if self.is_apart(data):
            drawn: tuple[bytes, str] = self.apart(data, LargeReading(self._opening, side)).result()
            return drawn
        return large(data, self._opening, side)

    def apart(self, data: bytes, reading: PictureReading | Reading | LargeReading) -> Future[Any]:
        """Read a file in a worker process. The future raises as that of `extract`."""
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

    def _read(self, data: bytes, reading: Reading | PictureReading | LargeReading) -> Any:
        if MEMORY_PER_BYTE * len(data) > self._memory_bytes:
            raise too_much_memory(self._memory_bytes)
        return self._in_turn(lambda lane: lane.read(data, reading))

    def _in_turn(self, use: Callable[[Lane], T]) -> T:
        lane = self._idle.get()
        try:
            return use(lane)
        finally:
            self._idle.put(lane)
