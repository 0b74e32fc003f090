"""Whole folders into the store: every core reads, one place matches and writes, and it can be resumed.

A file that has not changed since it was indexed is not read, one that is known by its bytes is not decoded;
so a run that was interrupted goes on by being started again.
"""

import hashlib
import os
import signal
import stat
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from dhash_service.banks import MD5, SHA256, BankMatcher, queued_by, require_admitted
from dhash_service.documents import Extraction, is_document
from dhash_service.documents.extraction import HEADER_WITHIN
from dhash_service.documents.files import Answer, FileReader
from dhash_service.errors import BusyError, DhashError, RefusedByBankError, TakenDownError, as_error
from dhash_service.facts import UNLABELLED, Label, Match, Picture, Source
from dhash_service.files import read_file
from dhash_service.matcher import Matcher
from dhash_service.pictures.formats import SUFFIXES, sniff
from dhash_service.search.feed import Position
from dhash_service.search.index import Found
from dhash_service.settings import Settings
from dhash_service.store.files import is_settled, seen_id
from dhash_service.store.recorder import Candidate, Registered
from dhash_service.store.repository import chunks
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
        if os.path.isdir(path):  # False where a path cannot be looked at: reading it says why
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


UNIT = 32
"""Files read together, so that the store is asked once for all of them."""

UNITS_AHEAD = 4
"""Units read ahead for each process."""

GROUP = 256
"""Files kept together, in one commit."""


def index_files(
    files: Sequence[Path], settings: Settings, store: Store, matcher: Matcher, root: Path | None = None
) -> Generator[Step, None, None]:
    """Add every file's pictures to the store; yields once per file, when it is in the store for good.

    Each file's path is kept as a sighting, relative to `root` where it lies below.
    """
    progress = Progress(len(files))
    keeper = Keeper(store, matcher, settings.max_body_bytes)
    with closing(Readers(settings, store, root)) as readers:
        for group in readers.read_all(files):
            with interrupts_delayed():
                for file, outcome in zip(group, keeper.keep(group), strict=True):
                    progress = advanced(progress, file, outcome)
                    yield Step(file.path, progress, outcome if isinstance(outcome, DhashError) else None)


@contextmanager
def interrupts_delayed() -> Iterator[None]:
    """Let Ctrl-C wait until the end, so that what is committed is counted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


@dataclass(frozen=True, slots=True)
class File:
    """A file to index: its label, its id among those seen (None: it may change yet), and what was read."""

    path: Path
    label: Label
    seen: UUID | None = None
    answer: Answer | None = None  # None: it has not changed since it was indexed


@dataclass(frozen=True, slots=True)
class Kept:
    """The pictures of a file that were added, and those of a document that were refused."""

    added: int = 0
    refused: int = 0


def advanced(progress: Progress, file: File, outcome: Kept | DhashError) -> Progress:
    """The progress with one more file done."""
    kept = outcome if isinstance(outcome, Kept) else None
    document = file.answer if isinstance(file.answer, Extraction) else None
    empty = document is not None and not document.pictures and kept is not None
    skipped = Counter(progress.skipped)
    if document:
        skipped.update({reason.value: number for reason, number in document.skipped.items()})
        skipped.update({"refused": kept.refused} if kept and kept.refused else {})
    return replace(
        progress,
        done=progress.done + 1,
        pictures=progress.pictures + (kept.added if kept else 0),
        known=progress.known + bool(kept and not kept.added and not empty),
        failed=progress.failed + (kept is None),
        empty=progress.empty + empty,
        skipped=dict(skipped),
    )


class Readers:
    """Recognises files that have not changed, and has the others read, some ahead of what is waited for."""

    def __init__(self, settings: Settings, store: Store, root: Path | None) -> None:
        self._store = store
        self._root = root
        self._reader = FileReader(settings, store.algorithm)
        self._unit = (
            UNIT // 8 if settings.keep_originals else UNIT
        )  # whole files are held until they are kept

    def read_all(self, files: Sequence[Path]) -> Iterator[Sequence[File]]:
        """The files in their order, read, in groups of what is ready."""
        ahead: deque[Future[list[File]]] = deque()
        units = chunks(files, self._unit)
        while True:
            while len(ahead) < UNITS_AHEAD * self._reader.processes and (unit := next(units, None)):
                ahead.append(self._begin(unit))
            if not ahead:
                return
            group = ahead.popleft().result()
            while ahead and ahead[0].done() and len(group) < GROUP:
                group += ahead.popleft().result()
            yield group

    def _begin(self, paths: Sequence[Path]) -> "Future[list[File]]":
        read: Future[list[File]] = Future()
        try:
            files = [self._looked_at(path) for path in paths]
            seen = self._store.files.images([file.seen for file in files if file.seen])
            changed = [file for file in files if file.seen not in seen and file.answer is None]
        except Exception as error:  # the store is away: each file says so
            read.set_result([File(path, UNLABELLED, answer=as_error(error)) for path in paths])
            return read
        if not changed:
            read.set_result(files)
            return read

        def done(answers: "Future[list[Answer]]") -> None:
            try:
                answered = dict(zip((file.path for file in changed), answers.result(), strict=True))
            except BaseException as error:
                answered = dict.fromkeys(
                    (file.path for file in changed),
                    as_error(error) if isinstance(error, Exception) else BusyError("It was given up."),
                )
            read.set_result([replace(file, answer=answered.get(file.path, file.answer)) for file in files])

        wanted = [file.path for file in changed]
        self._reader.read(wanted, self._store.by_digests).add_done_callback(done)
        return read

    def _looked_at(self, path: Path) -> File:
        try:
            label = path_label(path, self._root)
            status = path.stat()
            return File(path, label, seen_id(label, status) if is_settled(status, time.time()) else None)
        except Exception as error:  # whatever it is, it is this file's
            return File(path, UNLABELLED, answer=as_error(error))

    def close(self) -> None:
        """Give up what is being read."""
        self._reader.close()


Place = tuple[int, Picture, Source | None]
"""The place of a picture's file in a group, the picture, and where in a document it is."""


class Keeper:
    """Matches pictures and writes them, a group of files to a commit."""

    def __init__(self, store: Store, matcher: Matcher, longest: int) -> None:
        self._store = store
        self._matcher = matcher
        self._banks = BankMatcher(store.banks, store.algorithm.name)
        self._longest = longest

    def keep(self, files: Sequence[File]) -> list[Kept | DhashError]:
        """Write the files' pictures under their labels; on return they are committed. Each fails alone.

        A file fails where a bank refuses its only picture; those of a document are counted.
        """
        try:
            return self._keep(files)
        except Exception as error:  # whatever it is, it is one file's
            if len(files) == 1:
                return [as_error(error)]
            return [outcome for file in files for outcome in self.keep([file])]

    def _keep(self, files: Sequence[File]) -> list[Kept | DhashError]:
        outcomes: list[Kept | DhashError] = []
        pictures: list[Place] = []
        for place, file in enumerate(files):
            outcomes.append(file.answer if isinstance(file.answer, DhashError) else Kept())
            pictures += [(place, picture, source) for picture, source in pictures_of(file.answer)]
        with self._store.expecting():  # one commit for all
            written = self._write(files, pictures)
            seen = [
                self._store.see(file.answer, file.label) for file in files if isinstance(file.answer, UUID)
            ]
            remembered = self._remember(files)
        for (place, _, source), result in zip(pictures, written, strict=True):
            so_far = outcomes[place]
            if isinstance(so_far, DhashError):
                continue
            try:
                registered = result.result() if isinstance(result, Future) else result
                if isinstance(registered, DhashError):
                    raise registered
                outcomes[place] = replace(
                    so_far, added=so_far.added + bool(registered and registered.created)
                )
            except (RefusedByBankError, TakenDownError) as error:
                outcomes[place] = replace(so_far, refused=so_far.refused + 1) if source else error
            except Exception as error:
                outcomes[place] = as_error(error)
        for future in (*seen, *remembered):
            future.result()
        return outcomes

    def _write(
        self, files: Sequence[File], pictures: Sequence[Place]
    ) -> list["Future[Registered] | Future[None] | DhashError"]:
        """Hand the pictures to the writer, matched; an error in place of one that is not to be kept."""
        known = self._store.by_digests([picture.sha256 for _, picture, _ in pictures])
        refused = self._store.refused([picture.id for _, picture, _ in pictures])
        after = self._matcher.follower.position  # before matching: the writer looks at what came since
        new = [picture for _, picture, _ in pictures if picture.sha256 not in known]
        fingerprints = [picture.fingerprint for picture in new]
        searches = self._matcher.search_all(fingerprints)
        matches = self._matcher.judge_all(fingerprints, searches)
        judged = dict(zip((picture.id for picture in new), zip(matches, searches, strict=True), strict=True))
        written: list[Future[Registered] | Future[None] | DhashError] = []
        for place, picture, source in pictures:
            file = files[place]
            if picture.sha256 in known:
                written.append(self._store.see(picture.id, file.label, source))
            elif error := refused.get(picture.id):
                written.append(error)
            else:
                written.append(self._add(file, picture, source, *judged[picture.id], after))
        return written

    def _add(
        self,
        file: File,
        picture: Picture,
        source: Source | None,
        match: Match,
        found: Found,
        after: Position | None,
    ) -> "Future[Registered] | DhashError":
        try:
            banks = self._banks.matches(
                picture.fingerprint.value, self._digests(file, picture, source), datetime.now(UTC)
            )
            require_admitted(banks)
        except DhashError as error:
            return error

        def judge(newer: Sequence[Candidate]) -> Match:
            (match,) = self._matcher.judge_all([picture.fingerprint], [found], newer)
            return queued_by(banks, match)

        unseen = self._matcher.unseen(after, judge)
        return self._store.add_image(picture, queued_by(banks, match), source, file.label, unseen)

    def _digests(self, file: File, picture: Picture, source: Source | None) -> dict[str, str]:
        digests = {SHA256: str(picture.sha256)}
        if source is None and self._banks.wants_md5():
            data = picture.content or read_file(file.path, self._longest)
            digests[MD5] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return digests

    def _remember(self, files: Sequence[File]) -> list["Future[None]"]:
        """Note the files that need not be read again; where one's picture is not kept, it is all the same."""
        answers = [(file.seen, file.answer) for file in files]
        images = {
            seen: answer if isinstance(answer, UUID) else answer.id
            for seen, answer in answers
            if seen and isinstance(answer, UUID | Picture)
        }
        return [self._store.files.add(images)] if images else []


def pictures_of(answer: Answer | None) -> Iterator[tuple[Picture, Source | None]]:
    """A document's pictures with their places, or the one of a plain file that was read."""
    if isinstance(answer, Picture):
        yield answer, None
    elif isinstance(answer, Extraction):
        for item in answer.pictures:
            yield item.picture, Source(answer.sha256, item.page, item.box)
