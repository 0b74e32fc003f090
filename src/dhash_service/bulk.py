"""Whole folders into the store: every core hashes, one place matches and writes, and it can be resumed.

What is known by its bytes is skipped after reading it, so a run that was interrupted goes on by being started
again. Pictures are hashed in worker processes, because threads share one interpreter lock.
"""

import hashlib
import os
import signal
import stat
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, StrEnum
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from pebble import ProcessPool

from dhash_service.banks import MD5, SHA256, BankMatcher, queued_by, require_admitted
from dhash_service.documents import DocumentReader, Extraction, is_document
from dhash_service.documents.extraction import HEADER_WITHIN, PictureReading
from dhash_service.errors import DhashError, RefusedByBankError, TakenDownError, as_error
from dhash_service.facts import Label, Match, Neighbour, Picture, Sha256, Source, sighting_id
from dhash_service.files import read_file
from dhash_service.matcher import Matcher
from dhash_service.pictures.fingerprint import ALGORITHMS, NEW, read_picture
from dhash_service.pictures.formats import SUFFIXES, is_apart, sniff
from dhash_service.settings import Settings
from dhash_service.store.sightings import path_label
from dhash_service.store.store import Store


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run. `pictures` counts those added: a PDF may hold many, a known file adds none.
    `empty` are the documents of which nothing was taken; `skipped` counts what they show and was not taken.
    """

    files: int
    done: int = 0
    pictures: int = 0
    known: int = 0
    failed: int = 0
    empty: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """A file that is done, the run's progress so far, and the error if the file failed."""

    path: Path
    progress: Progress
    error: DhashError | None


class LeftOut(StrEnum):
    """The reason for not taking something found in a folder."""

    SUFFIX = "suffix"  # no picture's; without one, its beginning decides
    LINK = "link"  # to a folder, to nothing, or to itself
    SPECIAL = "special"  # a FIFO, a socket, a device
    UNREADABLE = "unreadable"  # a folder that cannot be listed, or a file that cannot be looked at


@dataclass(frozen=True, slots=True)
class Selection:
    """The files to index, in a stable order; what was left out, counted, and what could not be looked at."""

    files: Sequence[Path]
    left_out: Mapping[LeftOut, int]
    suffixes: Mapping[str, int]  # of those left out for it
    unreadable: Sequence[tuple[Path, str]]


def find(paths: Iterable[Path]) -> Selection:
    """Select the files to index: those named, and those below the folders named."""
    search = _Search()
    for path in paths:
        if path.is_dir():
            search.walk(path)
        else:
            search.found[path] = None
    return Selection(list(search.found), dict(search.left_out), dict(search.suffixes), search.unreadable)


class _Search:
    def __init__(self) -> None:
        self.found: dict[Path, None] = {}
        self.left_out: Counter[LeftOut] = Counter()
        self.suffixes: Counter[str] = Counter()
        self.unreadable: list[tuple[Path, str]] = []

    def walk(self, top: Path) -> None:
        for folder, folders, names in os.walk(top, onerror=self._fail):
            folders.sort()
            self.left_out[LeftOut.LINK] += sum(os.path.islink(os.path.join(folder, name)) for name in folders)
            for name in sorted(names):
                path = Path(folder, name)
                try:
                    if reason := self._reason(path):
                        self.left_out[reason] += 1
                    else:
                        self.found[path] = None
                except OSError as error:
                    self._fail(error)
        self.left_out += Counter()  # drops what counts nothing

    def _reason(self, path: Path) -> LeftOut | None:
        try:
            mode = path.stat().st_mode
        except OSError:
            if path.is_symlink():
                return LeftOut.LINK
            raise
        if not stat.S_ISREG(mode):
            return LeftOut.SPECIAL
        suffix = path.suffix.strip().lower()
        if suffix in SUFFIXES:
            return None
        if not suffix:
            with path.open("rb") as file:
                start = file.read(HEADER_WITHIN)
            if is_document(start) or sniff(start) not in (None, "TGA"):
                return None
        self.suffixes[suffix] += 1
        return LeftOut.SUFFIX

    def _fail(self, error: OSError) -> None:
        self.left_out[LeftOut.UNREADABLE] += 1
        self.unreadable.append((Path(os.fsdecode(error.filename or "")), f"{error.strerror or error}."))


def index_files(
    files: Sequence[Path], settings: Settings, store: Store, matcher: Matcher, root: Path | None = None
) -> Generator[Step, None, None]:
    """Add every file's pictures to the store; yields once per file, when it is in the store for good.

    Each file's path is kept as a sighting, relative to `root` where it lies below.
    """
    settings = settings.model_copy(update={"algorithm": store.algorithm.name})
    progress = Progress(len(files))
    with (
        closing(Readers(settings, root)) as readers,
        closing(Keeper(store, matcher, settings.max_body_bytes)) as keeper,
    ):
        for path, reading in readers.read_all(files):
            error = None
            added, read = 0, None
            try:
                read = reading.result()
                added = keeper.keep(read, path_label(path, root), path)
            except Exception as caught:  # whatever it is, it is this file's
                error = as_error(caught)
            empty = isinstance(read, Extraction) and not read.pictures
            skipped = Counter(progress.skipped)
            if isinstance(read, Extraction):
                skipped.update({reason.value: number for reason, number in read.skipped.items()})
                skipped.update({"refused": keeper.refused} if keeper.refused else {})
                keeper.refused = 0
            progress = replace(
                progress,
                done=progress.done + 1,
                pictures=progress.pictures + added,
                known=progress.known + (not added and not error and not empty),
                failed=progress.failed + bool(error),
                empty=progress.empty + (empty and not error),
                skipped=skipped,
            )
            yield Step(path, progress, error)


class Elsewhere(Enum):
    """The answer for a file that is not to be read in the pool."""

    APART = "apart"


APART = Elsewhere.APART

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
        """Read in the pool; what turns out to be a document or a further format, in the limited processes."""
        read: Future[Any] = Future()
        future: Future[Any] = self._pool.schedule(
            _read_file, args=(path, path_label(path, self._root)), timeout=120
        )

        def done(future: "Future[Any]") -> None:
            try:
                result = future.result()
                if result is not APART:
                    read.set_result(result)
                    return
                self._read_apart(path).add_done_callback(lambda other: pass_on(other, read))
            except BaseException as error:
                read.set_exception(error)

        future.add_done_callback(done)
        return read

    def _read_apart(self, path: Path) -> "Future[Any]":
        data = read_file(path, self._settings.max_body_bytes)
        algorithm = ALGORITHMS[self._settings.algorithm or NEW.name]
        keep, small = self._settings.keep_originals, self._settings.keep_thumbnails
        if is_document(data):
            return self._documents.extract(data, algorithm, keep_content=keep, thumbnails=small)
        return self._documents.apart(
            data, PictureReading(algorithm, self._settings.opening, small, keep_content=keep)
        )

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

    def __init__(self, store: Store, matcher: Matcher, longest: int) -> None:
        self._store = store
        self._matcher = matcher
        self._banks = BankMatcher(store.banks, store.algorithm.name)
        self._longest = longest
        self.refused = 0  # pictures of documents, by banks or taken down
        self._writing: list[Future[Any]] = []
        self._seeing: list[Future[None]] = []

    def keep(self, read: "Extraction | Picture | Read | UUID", label: Label, path: Path) -> int:
        """Write a file's pictures under its label; returns the number of those that were not known.

        Of a file that is known, its image's id is enough. Raises `RefusedByBankError` where a bank refuses
        the file's only picture; those of a document are counted in `refused`.
        """
        if isinstance(read, UUID):
            self._see(read, label, None)
            return 0
        added = 0
        for picture, source in pictures_of(read):
            try:
                added += self._keep(picture, source, label, path)
            except (RefusedByBankError, TakenDownError):
                if source is None:
                    raise
                self.refused += 1
        return added

    def _see(self, image: UUID, label: Label, source: Source | None) -> None:
        if len(self._seeing) >= self.GROUP:
            self.flush()
        self._seeing.append(self._store.see(image, label, source))

    def _keep(self, picture: Picture, source: Source | None, label: Label, path: Path) -> bool:
        if self._store.by_sha256(picture.sha256):
            self._see(picture.id, label, source)
            return False
        self._store.refuse(picture.id)  # at once, and not with the group, whose files it would take along
        digests = {SHA256: str(picture.sha256)}
        if source is None and self._banks.wants_md5():
            digests[MD5] = hashlib.md5(read_file(path, self._longest), usedforsecurity=False).hexdigest()
        banks = self._banks.matches(picture.fingerprint.value, digests, datetime.now(UTC))
        require_admitted(banks)
        if len(self._writing) >= self.GROUP:
            self.flush()
        after = self._matcher.follower.position

        def judge(newer: Sequence[Neighbour] = ()) -> Match:
            return queued_by(banks, self._matcher.match(picture.fingerprint, newer))

        match = judge()
        unseen = self._matcher.unseen(after, judge)
        self._writing.append(self._store.add_image(picture, match, source, label, unseen))
        return True

    def flush(self) -> None:
        """Wait until all that was written is committed and can be found."""
        waiting = (*self._writing, *self._seeing)
        self._writing.clear()  # first: what failed is told once, and not of every file after it
        self._seeing.clear()
        for future in waiting:
            future.result()

    def close(self) -> None:
        self.flush()


def pass_on(future: "Future[Any]", read: "Future[Any]") -> None:
    """Resolve one future as another one was."""
    if error := future.exception():
        read.set_exception(error)
    else:
        read.set_result(future.result())


def pictures_of(read: Extraction | Picture | Read) -> Read:
    """A document's pictures with their places, or those of a plain file."""
    if isinstance(read, Picture):
        return ((read, None),)
    if not isinstance(read, Extraction):
        return read
    return [(item.picture, Source(read.sha256, item.page, item.box)) for item in read.pictures]


# ---- in the worker process

_worker: tuple[Settings, Store]


def _start_worker(settings: Settings) -> None:
    global _worker
    _worker = settings, Store.open_from(settings)


def _read_file(path: Path, label: Label) -> "Read | UUID | Literal[Elsewhere.APART]":
    settings, store = _worker
    data = read_file(path, settings.max_body_bytes)
    if is_document(data):
        return APART
    if known := store.by_sha256(Sha256(hashlib.sha256(data).hexdigest())):
        seen = store.sightings.has(sighting_id(known.id, label.name, label.source, None, None))
        return () if seen else known.id
    if is_apart(data, settings.opening.formats):
        return APART
    picture = read_picture(
        data,
        ALGORITHMS[settings.algorithm or NEW.name],
        settings.opening,
        thumbnail=settings.keep_thumbnails,
        keep_content=settings.keep_originals,
    )
    return ((picture, None),)
