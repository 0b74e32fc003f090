"""Files by their paths, many at a time: read, and recognised or fingerprinted, in one process a core.

A process answers with the digests of its files first; pixels are decoded of those alone that the caller does
not know. One that dies or hangs costs the file it was at, and goes on with the next in a new process.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from queue import LifoQueue
from typing import TYPE_CHECKING
from uuid import UUID

from dhash_service.documents import worker
from dhash_service.documents.extraction import Extraction, FileRules, Limits, PictureReading, Reading
from dhash_service.documents.lane import Lane
from dhash_service.errors import BusyError, DhashError, as_error
from dhash_service.facts import Picture, Sha256

if TYPE_CHECKING:
    from dhash_service.facts import Algorithm
    from dhash_service.settings import Settings

Known = Callable[[Sequence[Sha256]], Mapping[Sha256, UUID]]
"""Tells the images in search that have these digests."""

Answer = UUID | Picture | Extraction | DhashError
"""What became of a file: the image that it is known as, what was read, or the error in place of it."""


class FileReader:
    """Reads files in processes that start when they are needed."""

    def __init__(self, settings: Settings, algorithm: Algorithm) -> None:
        self.processes = settings.threads or os.cpu_count() or 1
        limits = Limits(settings.max_pages, settings.max_pictures, settings.max_pixels, settings.take_cut)
        keep, small = settings.keep_originals, settings.keep_thumbnails
        self._rules = FileRules(
            Reading(algorithm, limits, keep, small),
            PictureReading(algorithm, settings.opening, small, keep),
            settings.max_body_bytes,
        )
        serve = partial(worker.serve_files, rules=self._rules)
        self._lanes = [
            Lane(settings.document_seconds, settings.document_memory_bytes, serve)
            for _ in range(self.processes)
        ]
        self._idle: LifoQueue[Lane] = LifoQueue()
        for lane in self._lanes:
            self._idle.put(lane)
        self._threads = ThreadPoolExecutor(self.processes, thread_name_prefix="files")

    def read(self, paths: Sequence[Path], known: Known) -> Future[list[Answer]]:
        """An answer for each of the files, in their order."""
        resource_tracker.ensure_running()  # its start lets SIGINT through again
        with children_spared():
            return self._threads.submit(self._read, paths, known)

    def close(self) -> None:
        """Give up what is being read. On return every process has ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for lane in self._lanes:
            lane.close()
        self._threads.shutdown(wait=True)

    def _read(self, paths: Sequence[Path], known: Known) -> list[Answer]:
        lane = self._idle.get()
        try:
            return _answers(lane, paths, known)
        finally:
            self._idle.put(lane)


def _answers(lane: Lane, paths: Sequence[Path], known: Known) -> list[Answer]:
    """An answer for each of the files. Where something fails for several, each is asked about alone."""
    answers: list[Answer] = []
    try:
        for answer in _asked(lane, paths, known):
            answers.append(answer)  # noqa: PERF402  kept where the next one fails
    except BusyError:  # closing
        raise
    except Exception as error:
        ended = lane.died() if isinstance(error, OSError) else as_error(error)
        if isinstance(ended, BusyError):
            raise ended from None
        if len(answers) + 1 == len(paths):
            return [*answers, ended]
        for path in paths[len(answers) :]:  # answers gather before they are sent: no telling which it was
            answers += _answers(lane, [path], known)
    return answers


def _asked(lane: Lane, paths: Sequence[Path], known: Known) -> Iterator[Answer]:
    """The answers of one process, as they come."""
    pipe = lane.hand_over(list(paths))
    digests: list[Sha256 | None] = lane.answer(pipe)
    try:
        images = known([digest for digest in digests if digest])
    except BaseException:
        pipe.send([])  # nothing is wanted of these; the process takes others
        raise
    here = [images.get(digest) if digest else None for digest in digests]
    pipe.send([place for place, image in enumerate(here) if image is None])
    ready: deque[Answer] = deque()
    for image in here:
        if image is None and not ready:
            ready.extend(lane.answer(pipe))
        yield ready.popleft() if image is None else image


@contextmanager
def children_spared() -> Iterator[None]:
    """Threads started here, and the processes that they start, never see Ctrl-C: it is ours to handle.

    A process that ignores the signal by itself can do so only once it runs, and complains if it comes before.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
