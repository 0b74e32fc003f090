"""Submitted pictures, in threads: what is not known is read, matched, and handed to the writer.

Pictures that came together are asked about, matched and written together. Whatever fails for one of them
fails for it alone.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import UUID

from dhash_service.banks import MD5, SHA256, BankMatcher, queued_by, require_admitted
from dhash_service.documents import DocumentReader
from dhash_service.errors import as_error
from dhash_service.facts import (
    BankMatch,
    Fingerprint,
    Image,
    Label,
    Match,
    Neighbour,
    Picture,
    Sha256,
    Source,
    Status,
    image_id,
)
from dhash_service.matcher import Matcher
from dhash_service.metrics import Metrics
from dhash_service.pictures.samples import Samples
from dhash_service.search.feed import Position
from dhash_service.search.index import Found
from dhash_service.settings import Settings
from dhash_service.store.recorder import Candidate, Registered
from dhash_service.store.store import Store

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Submission:
    """The result for one submitted picture. `created` is False for a known one, or one only looked up.

    `thumbnail` is there for one only looked up: the store has none of it.
    """

    picture_id: UUID
    sha256: Sha256
    fingerprint: Fingerprint
    match: Match
    created: bool
    lookup: UUID | None
    thumbnail: bytes | None = None
    banks: Sequence[BankMatch] = ()


@dataclass(frozen=True, slots=True)
class Looked:
    """A picture that is not known, its match with what the index held `after` a position, and its banks.

    The match was judged by `found`; `read` has the images that were read for it, by key.
    """

    picture: Picture
    match: Match
    found: Found
    after: Position | None
    read: dict[int, Image]
    banks: Sequence[BankMatch] = ()

    def only(self) -> Submission:
        """The result where it was not to be kept."""
        picture = self.picture
        return Submission(
            picture.id,
            picture.sha256,
            picture.fingerprint,
            self.match,
            False,
            None,
            picture.thumbnail,
            self.banks,
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """A picture to be submitted. `apart` is what a worker process read already, if one did.

    The answer is the picture's own bytes where one has to, and nobody has `looked_at` that before.
    """

    read: Callable[[], bytes]
    label: Label
    apart: Picture | None = None
    looked_at: bool = False
    answer: Future[Submission | bytes] = field(default_factory=Future)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless there is an answer."""
        if not self.answer.done():
            self.answer.set_exception(carried(error))

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answer with whatever is raised."""
        try:
            yield
        except BaseException as error:
            self.fail(error)


Received = tuple[Wish, bytes, Sha256]
Seen = tuple[Wish, bytes, Submission | Looked]


class Submitter:
    """Takes pictures into a store. Any thread may call; one that calls waits for pixels and for the store."""

    def __init__(
        self,
        store: Store,
        matcher: Matcher,
        banks: BankMatcher,
        documents: DocumentReader,
        samples: Samples | None,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._store, self._matcher, self._banks, self._documents = store, matcher, banks, documents
        self._samples, self._settings, self._metrics = samples, settings, metrics

    def submit(self, wishes: Sequence[Wish], register: bool, as_admin: bool) -> None:
        """From the bytes to the writer's queue: going back to the event loop in between would cost a tenth of
        a millisecond each time."""
        wanted = [
            wish for wish in wishes if wish.answer.set_running_or_notify_cancel()
        ]  # callers that stayed
        with self._store.expecting():
            for wish, data, looked in self._look(self._received(wanted), register):
                with wish.answering():
                    with self._metrics.counting():
                        looked = self._with_banks(looked, data, register)
                        if isinstance(looked, Looked) and register and self._samples is not None:
                            self._samples.offer(data, self.is_erased)
                    self._answer(wish, looked, register, as_admin)

    def look_extracted(self, picture: Picture, register: bool) -> Submission | Looked:
        """What a picture of a document is. Raises `StoreError`, `RefusedByBankError`."""
        known = self._store.with_digests([picture.sha256])
        (looked,) = self._known(list(known.values())) or self._looked([picture], register)
        return self._with_banks(looked, None, register)

    def keep(
        self, looked: Looked, label: Label, source: Source | None = None, *, as_admin: bool = False
    ) -> Future[Registered]:
        """Write a picture; it is judged again if one like it came while it was being matched."""

        def judge(newer: Sequence[Candidate]) -> Match:
            fingerprints, found = [looked.picture.fingerprint], [looked.found]
            (match,) = self._matcher.judge_all(fingerprints, found, newer, looked.read)
            return queued_by(looked.banks, match)

        unseen = self._matcher.unseen(looked.after, judge)
        return self._store.add_image(looked.picture, looked.match, source, label, unseen, as_admin)

    def kept(self, looked: Looked, written: Registered) -> Submission:
        """The result for a picture that was written."""
        picture = looked.picture
        if not written.created:  # somebody else sent the same picture at the same moment
            (known,) = self._known([written.image])
            return replace(known, banks=looked.banks)
        return Submission(
            picture.id,
            picture.sha256,
            picture.fingerprint,
            written.match,
            True,
            written.lookup,
            banks=looked.banks,
        )

    def thumbnail(self, register: bool) -> bool:
        """True if a small copy is needed: to be kept, or to show what is not kept."""
        return self._settings.keep_thumbnails or not register

    def is_erased(self, sha256: str) -> bool:
        """True of the digest of a picture that was erased."""
        return self._store.erased(image_id(Sha256(sha256))) is not None

    def _received(self, wishes: Sequence[Wish]) -> list[Received]:
        received: list[Received] = []
        for wish in wishes:
            with wish.answering():
                data = wish.read()
                if not wish.looked_at and self._documents.is_apart(data):
                    wish.answer.set_result(data)
                else:
                    digest = wish.apart.sha256 if wish.apart else Sha256(hashlib.sha256(data).hexdigest())
                    received.append((wish, data, digest))
        return received

    def _look(self, received: Sequence[Received], register: bool) -> list[Seen]:
        """What each is, without those that failed. Where many fail together, each is tried alone."""
        try:
            return self._look_together(received, register)
        except BaseException as error:
            if len(received) == 1:
                received[0][0].fail(error)
                return []
            left = [each for each in received if not each[0].answer.done()]
            return [seen for each in left for seen in self._look([each], register)]

    def _look_together(self, received: Sequence[Received], register: bool) -> list[Seen]:
        """The store is asked once for what is known, the index once for what is not."""
        images = self._store.with_digests([digest for _, _, digest in received])
        known = dict(zip(images, self._known(list(images.values())), strict=True))
        seen: list[Seen] = []
        new: list[tuple[Wish, bytes, Picture]] = []
        for wish, data, digest in received:
            if digest in known:
                seen.append((wish, data, known[digest]))
            else:
                with wish.answering(), self._metrics.counting(number=0):
                    new.append((wish, data, wish.apart or self._read_picture(data, digest, register)))
        looked = self._looked([picture for _, _, picture in new], register)
        return seen + [(wish, data, each) for (wish, data, _), each in zip(new, looked, strict=True)]

    def _read_picture(self, data: bytes, sha256: Sha256, register: bool) -> Picture:
        with self._metrics.hashing():
            return self._documents.picture(
                data,
                self._store.algorithm,
                thumbnail=self.thumbnail(register),
                keep_content=self._settings.keep_originals,
                sha256=sha256,
            )

    def _looked(self, pictures: Sequence[Picture], register: bool) -> list[Looked]:
        if not register and pictures:
            self._matcher.require_current()  # nobody looks again at what came since
        after = self._matcher.follower.position  # before matching: the writer looks at what came since
        read: dict[int, Image] = {}
        fingerprints = [picture.fingerprint for picture in pictures]
        searches = self._matcher.search_all(fingerprints)
        matches = self._matcher.judge_all(fingerprints, searches, read=read)
        return [
            Looked(picture, match, found, after, read)
            for picture, match, found in zip(pictures, matches, searches, strict=True)
        ]

    def _known(self, images: Sequence[Image]) -> list[Submission]:
        held = len(self._matcher.index)
        return [
            Submission(
                image.id,
                image.sha256,
                image.fingerprint,
                Match(Status.MATCHED, 1.0, ("known",), Neighbour(image, 0), None, held),
                False,
                None,
            )
            for image in self._store.sightings.named(images)
        ]

    def _with_banks(
        self, looked: Submission | Looked, data: bytes | None, register: bool
    ) -> Submission | Looked:
        """The same with the banks it matches. Raises `RefusedByBankError` for one that is not to be kept."""
        known = looked if isinstance(looked, Submission) else looked.picture
        digests = {SHA256: str(known.sha256)}
        if data is not None and self._banks.wants_md5():
            digests[MD5] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        found = self._banks.matches(known.fingerprint.value, digests, self._store.now())
        if not found:  # as most often
            return looked
        if register:
            require_admitted(found)
        if isinstance(looked, Looked):
            return replace(looked, banks=found, match=queued_by(found, looked.match))
        return replace(looked, banks=found)

    def _answer(self, wish: Wish, looked: Submission | Looked, register: bool, as_admin: bool) -> None:
        if isinstance(looked, Looked):
            if register:
                written = self.keep(looked, wish.label, as_admin=as_admin)
                pass_on(written, wish.answer, lambda written: self.kept(looked, written))
            else:
                wish.answer.set_result(looked.only())
        elif register and wish.label:
            pass_on(self._store.see(looked.picture_id, wish.label), wish.answer, lambda _: looked)
        else:
            wish.answer.set_result(looked)


def carried(error: BaseException) -> BaseException:
    """The error as one that a future of asyncio can carry: `StopIteration` would leave it waiting forever."""
    return as_error(error) if isinstance(error, StopIteration) else error


def pass_on(future: Future[T], answer: Future[R], result: Callable[[T], R]) -> None:
    """Resolve an answer when a future is, with a result made of the future's."""

    def done(future: Future[T]) -> None:
        if error := future.exception():
            answer.set_exception(carried(error))
        else:
            try:
                answer.set_result(result(future.result()))
            except Exception as error:
                answer.set_exception(carried(error))

    future.add_done_callback(done)
