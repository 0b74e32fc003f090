"""Whole folders into the store: every core hashes, one place matches and writes, and it can be resumed.

What is known by its bytes is skipped after reading it, so a run that was interrupted goes on by being started
again. Pictures are hashed in worker processes, because threads share one interpreter lock.
"""

import hashlib
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from typing import Any
from uuid import UUID

from pebble import ProcessExpired, ProcessPool

from dhash_service.documents import DocumentReader, Extraction, is_document
from dhash_service.errors import BodyTooLargeError, DecoderFailedError, DhashError
from dhash_service.facts import Label, Picture, Sha256, Source, sighting_id
from dhash_service.matcher import Matcher
from dhash_service.pictures.fingerprint import ALGORITHMS, NEW, read_picture
from dhash_service.settings import Settings
from dhash_service.store.sightings import path_label
from dhash_service.store.store import Store

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pdf"})
"""Taken from a folder; a file that is named itself is always tried."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run. `pictures` counts those added: a PDF may hold many, a known file adds none."""

    files: int
    done: int = 0
    pictures: int = 0
    known: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A file that is done, the run's progress so far, and the error if the file failed."""

    path: Path
    progress: Progress
    error: DhashError | None


def find(paths: Iterable[Path]) -> list[Path]:
    """The files to index: those named, and those below the folders named, in a stable order."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                found.update(
                    (Path(folder, name), None)
                    for name in sorted(names)
                    if Path(name).suffix.lower() in SUFFIXES
                )
        else:
            found[path] = None
    return list(found)


def index_files(
    files: Sequence[Path], settings: Settings, store: Store, matcher: Matcher, root: Path | None = None
) -> Generator[Step, None, None]:
    """Add every file's pictures to the store; yields once per file, when it is in the store for good.

    Each file's path is kept as a sighting, relative to `root` where it lies below.
    """
    settings = settings.model_copy(update={"algorithm": store.algorithm.name})
    progress = Progress(len(files))
    with closing(Readers(settings, root)) as readers, closing(Keeper(store, matcher, settings)) as keeper:
        for path, reading in readers.read_all(files):
            error = None
            added = 0
            try:
                added = keeper.keep(reading.result(), path_label(path, root))
            except DhashError as caught:
                error = caught
            except (ProcessExpired, OSError, MemoryError) as caught:
                error = DecoderFailedError(f"{caught or type(caught).__name__}.")
            progress = replace(
                progress,
                done=progress.done + 1,
                pictures=progress.pictures + added,
                known=progress.known + (not added and not error),
                failed=progress.failed + bool(error),
            )
            yield Step(path, progress, error)


Read = Sequence[tuple[Picture, Source | None]]
"""The pictures of one file that may be new; none where the file and its path are known."""


class Readers:
    """Worker processes, one per core, that read files; PDFs go to the processes that are made for them."""

    def __init__(self, settings: Settings, root: Path | None) -> None:
        self._settings = settings
        self._root = root
        self._cores = settings.threads or os.cpu_count() or 1
        self._documents = DocumentReader(settings)
        resource_tracker.ensure_running()  # its start lets SIGINT through again
        self._pool = ProcessPool(
            max_workers=self._cores,
            initializer=_start_worker,
            initargs=(settings,),
            context=get_context("spawn"),
        )

    def read_all(self, files: Iterable[Path]) -> Iterator[tuple[Path, "Future[Any]"]]:
        """Each file with its reading under way, in order, a few ahead of the one being waited for."""
        ahead: deque[tuple[Path, Future[Any]]] = deque()
        for path in files:
            with children_spared():
                ahead.append((path, self._read(path)))
            if len(ahead) > 4 * self._cores:
                yield ahead.popleft()
        yield from ahead

    def _read(self, path: Path) -> "Future[Any]":
        if path.suffix.lower() == ".pdf":
            return self._read_document(path)
        future: Future[Any] = self._pool.schedule(
            _read_file, args=(path, path_label(path, self._root)), timeout=120
        )
        return future

    def _read_document(self, path: Path) -> "Future[Any]":
        try:
            return self._documents.extract(
                read_within(path, self._settings),
                ALGORITHMS[self._settings.algorithm or NEW.name],
                keep_content=self._settings.keep_originals,
            )
        except (DhashError, OSError) as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    def close(self) -> None:
        # The few files ahead are read to their end: a process stopped while it starts complains on stderr.
        self._pool.close()  # type: ignore[no-untyped-call]
        self._pool.join()
        self._documents.close()


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


class Keeper:
    """Matches pictures one after another and writes them, several to a commit."""

    GROUP = 64

    def __init__(self, store: Store, matcher: Matcher, settings: Settings) -> None:
        self._store = store
        self._matcher = matcher
        self._radius = settings.match_radius
        self._writing: list[tuple[int, Future[Any]]] = []
        self._seeing: list[Future[None]] = []

    def keep(self, read: "Extraction | Read | UUID", label: Label) -> int:
        """Write a file's pictures under its label; returns the number of those that were not known.

        Of a file that is known, its image's id is enough.
        """
        if isinstance(read, UUID):
            self._see(read, label, None)
            return 0
        return sum(self._keep(picture, source, label) for picture, source in pictures_of(read))

    def _see(self, image: UUID, label: Label, source: Source | None) -> None:
        if len(self._seeing) >= self.GROUP:
            self.flush()
        self._seeing.append(self._store.see(image, label, source))

    def _keep(self, picture: Picture, source: Source | None, label: Label) -> bool:
        if self._store.by_sha256(picture.sha256):
            self._see(picture.id, label, source)
            return False
        value = picture.fingerprint.value
        # A picture like one that is still being written must wait until it can be found.
        if len(self._writing) >= self.GROUP or any(
            (value ^ other).bit_count() <= self._radius for other, _ in self._writing
        ):
            self.flush()
        match = self._matcher.match(picture.fingerprint)
        self._writing.append((value, self._store.add_image(picture, match, source, label)))
        return True

    def flush(self) -> None:
        """Wait until all that was written is committed and can be found."""
        for future in (*(written for _, written in self._writing), *self._seeing):
            future.result()
        self._writing.clear()
        self._seeing.clear()

    def close(self) -> None:
        self.flush()


def pictures_of(read: Extraction | Read) -> Read:
    """A document's pictures with their places, or those of a plain file."""
    if not isinstance(read, Extraction):
        return read
    return [(item.picture, Source(read.sha256, item.page, item.box)) for item in read.pictures]


def read_within(path: Path, settings: Settings) -> bytes:
    """The file's bytes. Raises `BodyTooLargeError`, `OSError`."""
    if (size := path.stat().st_size) > settings.max_body_bytes:
        raise BodyTooLargeError(f"The file has {size:,} bytes; {settings.max_body_bytes:,} are allowed.")
    return path.read_bytes()


# ---- in the worker process

_worker: tuple[Settings, Store]


def _start_worker(settings: Settings) -> None:
    global _worker
    _worker = settings, Store.open_from(settings)


def _read_file(path: Path, label: Label) -> Read | UUID:
    settings, store = _worker
    data = read_within(path, settings)
    if is_document(data):
        raise DecoderFailedError("It is a PDF.", "Rename it to end in .pdf.")
    if known := store.by_sha256(Sha256(hashlib.sha256(data).hexdigest())):
        seen = store.sightings.has(sighting_id(known.id, label.name, label.source, None, None))
        return () if seen else known.id
    picture = read_picture(
        data,
        ALGORITHMS[settings.algorithm or NEW.name],
        max_pixels=settings.max_pixels,
        keep_content=settings.keep_originals,
    )
    return ((picture, None),)
