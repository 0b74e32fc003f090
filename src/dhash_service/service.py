"""The use cases, without HTTP: submit, extract, search, decide, status.

Files are hashed in threads (Pillow releases the interpreter lock), PDFs in processes of their own, and
writes are acknowledged only once the store has committed them.
"""

import asyncio
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self, TypeVar
from uuid import UUID

from PIL import Image as PILImage

from dhash_service.banks import MD5, SHA256, BankMatcher, queued_by, require_admitted
from dhash_service.documents import DocumentReader, ExtractedPicture, Extraction, Skip
from dhash_service.documents.extraction import PictureReading
from dhash_service.duplicates import Duplicates
from dhash_service.errors import (
    BatchTooLargeError,
    BusyError,
    DhashError,
    NotFoundError,
    RefusedByBankError,
    StoreError,
    TakenDownError,
    as_error,
)
from dhash_service.facts import (
    UNLABELLED,
    Algorithm,
    BankMatch,
    Decision,
    Fingerprint,
    Image,
    Label,
    Match,
    Neighbour,
    Outcome,
    Picture,
    Sha256,
    Source,
    Status,
    Subject,
    Tombstone,
    Verdict,
    image_id,
    new_id,
)
from dhash_service.matcher import Matcher, Neighbourhood
from dhash_service.metrics import Metrics
from dhash_service.pictures.fingerprint import read_picture
from dhash_service.pictures.samples import Samples
from dhash_service.search.feed import Position
from dhash_service.search.index import Found
from dhash_service.settings import Settings
from dhash_service.store.durability import durability
from dhash_service.store.recorder import Candidate, Registered
from dhash_service.store.repository import chunks
from dhash_service.store.store import Store

QUICK_RADIUS = 11
"""Bits within which the index takes a fraction of a millisecond; beyond, it may have to scan."""

FEW = 4
"""Pictures that are read from a SQLite store in a tenth of a millisecond, names included."""

SHARES = 4
"""Parts of a batch for each thread that reads pictures: a part is matched, and asked about, together."""

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

    `read` has the images that were read for the match, by key.
    """

    picture: Picture
    match: Match
    found: Found
    after: Position | None
    read: dict[int, Image]
    banks: Sequence[BankMatch] = ()


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
Found = tuple[Wish, bytes, Submission | Looked]


@dataclass(frozen=True, slots=True)
class DocumentSubmission:
    """The pictures of one document, in page order, and how many were left out for which reason."""

    sha256: Sha256
    pages: int
    pictures: Sequence[tuple[ExtractedPicture, Submission]]
    skipped: dict[str, int]


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of a health check, with the sentence that explains it."""

    ok: bool
    detail: str


class Service:
    """A running service: its store, the index that follows it, and the workers that read files."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.metrics = metrics
        self.store = Store.open_from(settings)
        self.algorithm = self.store.algorithm
        self.settings = settings = settings.model_copy(update={"algorithm": self.algorithm.name})
        self.matcher = Matcher(self.store, settings)
        self.duplicates = Duplicates(self.store)
        self.banks = BankMatcher(self.store.banks, self.algorithm.name)
        self.documents = DocumentReader(settings)
        samples = settings.samples or (settings.uds.with_name("samples") if settings.uds else None)
        self.samples = Samples(samples) if samples else None
        # One more than cores: while one thread asks the store, another keeps its core busy.
        self._threads = settings.threads or (os.cpu_count() or 1) + 1
        self._hashers = ThreadPoolExecutor(self._threads, thread_name_prefix="hash")
        # Apart from the hashers, so that a search never waits behind a 100-megapixel picture.
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="read")

    def start(self) -> Self:
        """Begin to follow the store, and return once every known picture can be found."""
        self.matcher.start(self._warm_up)
        # A file that was restored may have brought something back.
        self._readers.submit(self.store.erase_again, everywhere=False)
        return self

    def _warm_up(self) -> None:
        """Do what the first callers would wait for."""
        self.documents.warm()
        warm_up(self.algorithm)
        self.store.now()  # the first time, it asks the server

    def close(self) -> None:
        """Finish what is under way, then let go of everything."""
        self._hashers.shutdown()
        self._readers.shutdown()
        self.documents.close()
        self.matcher.close()
        self.store.close()

    async def read(self, call: Callable[[], T]) -> T:
        """Run a call that reads the store or the index outside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    # ---- submit

    async def submit(
        self, data: bytes, *, register: bool = True, label: Label = UNLABELLED, as_admin: bool = False
    ) -> Submission:
        """Fingerprint a picture, find its match, and (unless only looking up) keep it and its label.

        Returns once the store has committed. Raises the errors of `read_picture`, `StoreError`, and
        `TakenDownError` for one that was erased, or taken down unless it is sent `as_admin`.
        """
        apart = await self._read_apart(data, register) if self.documents.is_apart(data) else None
        wish = Wish(lambda: data, label, apart, looked_at=True)
        self._hashers.submit(self._submit, [wish], register, as_admin)
        return await self._answered(wish, register, as_admin)

    async def _answered(self, wish: Wish, register: bool, as_admin: bool) -> Submission:
        answer = await asyncio.wrap_future(wish.answer)
        if isinstance(answer, bytes):
            return await self.submit(answer, register=register, label=wish.label, as_admin=as_admin)
        return answer

    async def _read_apart(self, data: bytes, register: bool) -> Picture | None:
        """A picture whose decoder runs in a worker process, so that no hasher waits for it; None if known."""
        sha256 = Sha256(hashlib.sha256(data).hexdigest())
        if await self.read(lambda: self.store.by_sha256(sha256)):
            return None
        reading = PictureReading(
            self.algorithm,
            self.settings.opening,
            thumbnail=self._thumbnail(register),
            keep_content=self.settings.keep_originals,
        )
        with self._counting(number=0):
            picture: Picture = await asyncio.wrap_future(self.documents.apart(data, reading))
        return picture

    def _submit(self, wishes: Sequence[Wish], register: bool, as_admin: bool) -> None:
        """In a hasher's thread, from the bytes to the writer's queue: going back to the event loop in between
        would cost a tenth of a millisecond each time. Whatever fails for one fails for it alone."""
        wanted = [
            wish for wish in wishes if wish.answer.set_running_or_notify_cancel()
        ]  # callers that stayed
        with self.store.expecting():
            for wish, data, looked in self._look(self._received(wanted), register):
                with wish.answering():
                    with self._counting():
                        looked = self._with_banks(looked, data, register)
                        if isinstance(looked, Looked) and register and self.samples is not None:
                            self.samples.offer(data, self._is_erased)
                    self._answer(wish, looked, register, as_admin)

    def _answer(self, wish: Wish, looked: Submission | Looked, register: bool, as_admin: bool) -> None:
        if isinstance(looked, Looked):
            if register:
                written = self._keep(looked, wish.label, as_admin=as_admin)
                pass_on(written, wish.answer, lambda written: self._kept(looked, written))
            else:
                wish.answer.set_result(only_looked_up(looked))
        elif register and wish.label:
            pass_on(self.store.see(looked.picture_id, wish.label), wish.answer, lambda _: looked)
        else:
            wish.answer.set_result(looked)

    def _received(self, wishes: Sequence[Wish]) -> list[Received]:
        received: list[Received] = []
        for wish in wishes:
            with wish.answering():
                data = wish.read()
                if not wish.looked_at and self.documents.is_apart(data):
                    wish.answer.set_result(data)
                else:
                    digest = wish.apart.sha256 if wish.apart else Sha256(hashlib.sha256(data).hexdigest())
                    received.append((wish, data, digest))
        return received

    def _look(self, received: Sequence[Received], register: bool) -> list[Found]:
        """What each is, without those that failed. Where many fail together, each is tried alone."""
        try:
            return self._look_together(received, register)
        except BaseException as error:
            if len(received) == 1:
                received[0][0].fail(error)
                return []
            left = [each for each in received if not each[0].answer.done()]
            return [found for each in left for found in self._look([each], register)]

    def _look_together(self, received: Sequence[Received], register: bool) -> list[Found]:
        """The store is asked once for what is known, the index once for what is not."""
        images = self.store.with_digests([digest for _, _, digest in received])
        known = dict(zip(images, self._known(list(images.values())), strict=True))
        found: list[Found] = []
        new: list[tuple[Wish, bytes, Picture]] = []
        for wish, data, digest in received:
            if digest in known:
                found.append((wish, data, known[digest]))
            else:
                with wish.answering(), self._counting(number=0):
                    new.append((wish, data, wish.apart or self._read_picture(data, digest, register)))
        looked = self._looked([picture for _, _, picture in new], register)
        return found + [(wish, data, each) for (wish, data, _), each in zip(new, looked, strict=True)]

    def _read_picture(self, data: bytes, sha256: Sha256, register: bool) -> Picture:
        with self.metrics.hashing():
            return self.documents.picture(
                data,
                self.algorithm,
                thumbnail=self._thumbnail(register),
                keep_content=self.settings.keep_originals,
                sha256=sha256,
            )

    def _is_erased(self, sha256: str) -> bool:
        return self.store.erased(image_id(Sha256(sha256)))

    def _thumbnail(self, register: bool) -> bool:
        """True if a small copy is needed: to be kept, or to show what is not kept."""
        return self.settings.keep_thumbnails or not register

    def _looked(self, pictures: Sequence[Picture], register: bool) -> list[Looked]:
        if not register and pictures:
            self.matcher.require_current()  # nobody looks again at what came since
        after = self.matcher.follower.position  # before matching: the writer looks at what came since
        read: dict[int, Image] = {}
        fingerprints = [picture.fingerprint for picture in pictures]
        searches = self.matcher.search_all(fingerprints)
        matches = self.matcher.judge_all(fingerprints, searches, read=read)
        return [
            Looked(picture, match, found, after, read)
            for picture, match, found in zip(pictures, matches, searches, strict=True)
        ]

    def _with_banks(
        self, looked: Submission | Looked, data: bytes | None, register: bool
    ) -> Submission | Looked:
        """The same with the banks it matches. Raises `RefusedByBankError` for one that is not to be kept."""
        known = looked if isinstance(looked, Submission) else looked.picture
        digests = {SHA256: str(known.sha256)}
        if data is not None and self.banks.wants_md5():
            digests[MD5] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        found = self.banks.matches(known.fingerprint.value, digests, self.store.now())
        if register:
            require_admitted(found)
        if isinstance(looked, Looked):
            return replace(looked, banks=found, match=queued_by(found, looked.match))
        return replace(looked, banks=found)

    def _keep(
        self, looked: Looked, label: Label, source: Source | None = None, *, as_admin: bool = False
    ) -> Future[Registered]:
        """Write a picture; it is judged again if one like it came while it was being matched."""

        def judge(newer: Sequence[Candidate]) -> Match:
            (match,) = self.matcher.judge_all(
                [looked.picture.fingerprint], [looked.found], newer, looked.read
            )
            return queued_by(looked.banks, match)

        unseen = self.matcher.unseen(looked.after, judge)
        return self.store.add_image(looked.picture, looked.match, source, label, unseen, as_admin)

    def _kept(self, looked: Looked, written: Registered) -> Submission:
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

    def _known(self, images: Sequence[Image]) -> list[Submission]:
        held = len(self.matcher.index)
        return [
            Submission(
                image.id,
                image.sha256,
                image.fingerprint,
                Match(Status.MATCHED, 1.0, ("known",), Neighbour(image, 0), None, held),
                False,
                None,
            )
            for image in self.store.sightings.named(images)
        ]

    async def submit_batch(
        self,
        items: Sequence[tuple[Callable[[], bytes], Label]],
        *,
        register: bool = True,
        as_admin: bool = False,
    ) -> list[Submission | DhashError]:
        """Submit many with labels; an item's bytes are made when its turn comes, and each fails alone."""
        if len(items) > self.settings.max_batch:
            raise BatchTooLargeError(
                f"{len(items)} items; {self.settings.max_batch} are allowed in one batch."
            )

        wishes = [Wish(read, label) for read, label in items]
        for some in chunks(wishes, max(1, -(-len(wishes) // (SHARES * self._threads)))):
            self._hashers.submit(self._submit, some, register, as_admin)

        async def one(wish: Wish) -> Submission | DhashError:
            try:
                return await self._answered(wish, register, as_admin)
            except Exception as error:  # whatever it is, it is this item's
                return as_error(error)

        return await asyncio.gather(*(one(wish) for wish in wishes))

    # ---- documents

    async def extract(
        self, data: bytes, *, register: bool = True, label: Label = UNLABELLED, as_admin: bool = False
    ) -> DocumentSubmission:
        """Submit every picture of a PDF under its label.

        Raises the errors of `DocumentReader.extract`, and `StoreError`.
        """
        with self._counting(number=0):
            extraction = await asyncio.wrap_future(
                self.documents.extract(
                    data,
                    self.algorithm,
                    keep_content=self.settings.keep_originals,
                    thumbnails=self._thumbnail(register),
                )
            )
        self.metrics.count_image(Outcome.FAILED, extraction.skipped.get(Skip.DECODER_FAILED, 0))
        self.metrics.count_image(Outcome.REJECTED, extraction.skipped.get(Skip.DAMAGED, 0))
        submissions = await asyncio.gather(
            *(
                self._submit_extracted(extraction, item, register, label, as_admin)
                for item in extraction.pictures
            ),
            return_exceptions=True,
        )
        refused = [each for each in submissions if isinstance(each, RefusedByBankError | TakenDownError)]
        for each in submissions:
            if isinstance(each, BaseException) and each not in refused:
                raise each
        return DocumentSubmission(
            extraction.sha256,
            extraction.pages,
            [
                (picture, submission)
                for picture, submission in zip(extraction.pictures, submissions, strict=True)
                if isinstance(submission, Submission)
            ],
            {reason.value: number for reason, number in extraction.skipped.items()}
            | ({"refused": len(refused)} if refused else {}),
        )

    async def _submit_extracted(
        self, extraction: Extraction, item: ExtractedPicture, register: bool, label: Label, as_admin: bool
    ) -> Submission:
        self.metrics.count_image(Outcome.OK)
        looked = await self.read(lambda: self._look_extracted(item.picture, register))
        source = Source(extraction.sha256, item.page, item.box)
        if isinstance(looked, Submission):
            if register:
                await asyncio.wrap_future(self.store.see(looked.picture_id, label, source))
            return looked
        if not register:
            return only_looked_up(looked)
        return self._kept(
            looked, await asyncio.wrap_future(self._keep(looked, label, source, as_admin=as_admin))
        )

    def _look_extracted(self, picture: Picture, register: bool) -> Submission | Looked:
        known = self.store.with_digests([picture.sha256])
        (looked,) = self._known(list(known.values())) or self._looked([picture], register)
        return self._with_banks(looked, None, register)

    # ---- search

    async def search(self, value: int, radius: int, limit: int, skip: int = 0) -> Neighbourhood:
        """Known images within `radius` bits, nearest first: at most `limit`, after the first `skip`."""
        (found,) = await self.search_many([value], radius, limit, skip)
        return found

    async def search_many(
        self, values: Sequence[int], radius: int, limit: int, skip: int = 0
    ) -> list[Neighbourhood]:
        """The same for many fingerprints at one moment, which finds all that was acknowledged before."""
        index, most = self.matcher.index, skip + limit
        if len(values) == 1 and radius <= QUICK_RADIUS and self.matcher.follower.is_current():
            # From memory, in less time than another thread takes to wake. What was found is read here, too,
            # where it is little: a SQLite file whose version was just read has nobody to wait for.
            found = index.search(values[0], radius, most)
            if len(found.hits) <= skip + FEW:
                return self.matcher.around([found], skip, named=True)
            return await self.read(lambda: self.matcher.around([found], skip, named=True))

        def read() -> list[Neighbourhood]:
            self.matcher.require_current()
            return self.matcher.around(index.search_many(values, radius, most), skip, named=True)

        return await self.read(read)

    async def search_turned(self, data: bytes, radius: int, limit: int) -> tuple[int, Neighbourhood]:
        """Known images near a picture or a turned or mirrored copy of it; and the picture's own fingerprint.

        Raises the errors of `read_picture`, and `StoreError`.
        """
        with self._counting():
            if self.documents.is_apart(data):
                reading = PictureReading(self.algorithm, self.settings.opening, turns=True)
                prints = await asyncio.wrap_future(self.documents.apart(data, reading))
            else:
                draw = partial(self.documents.variants, data, self.algorithm)
                prints = await asyncio.get_running_loop().run_in_executor(self._hashers, draw)
        turns = [(each.turn, each.fingerprint.value) for each in prints]

        def read() -> Neighbourhood:
            self.matcher.require_current()
            found = self.matcher.neighbours_turned(turns, radius, limit)
            return replace(found, neighbours=self.store.sightings.named_neighbours(found.neighbours))

        return turns[0][1], await self.read(read)

    def image(self, id: UUID) -> Image | None:
        """The known image with this id and its names. Reads the store: call it outside the event loop."""
        found = self.store.image(id)
        return self.store.sightings.named([found])[0] if found else None

    # ---- review

    async def decide(self, lookup: UUID, verdict: Verdict, reviewer: str, note: str) -> Decision:
        """Record a person's verdict as a new fact. Raises `NotFoundError`, `StoreError`."""
        if await self.read(lambda: self.store.lookup(lookup)) is None:
            raise NotFoundError(f"There is no lookup {lookup}.")
        decision = Decision(
            new_id(), lookup, verdict, reviewer, note, self.settings.release, self.store.now()
        )
        await asyncio.wrap_future(self.store.verdicts.record(decision))
        return decision

    async def hide(self, image: UUID, reason: str, actor: str) -> None:
        """Take an image out of search. Nothing is deleted; an admin who sends it again brings it back."""
        if await self.read(lambda: self.store.image(image)) is None:
            raise NotFoundError(f"There is no image {image}.")
        tombstone = Tombstone(
            new_id(),
            Subject.IMAGE,
            str(image),
            True,
            reason,
            actor,
            self.settings.release,
            self.store.now(),
        )
        await asyncio.wrap_future(self.store.add_tombstone(tombstone))

    async def erase(self, image: UUID, reason: str, actor: str) -> datetime:
        """Remove an image and all that is about it, for good. Raises `NotFoundError`, `StoreError`."""
        now = self.store.now()

        def erase() -> None:
            if not self.store.has(image) and not self.store.erased(image):
                raise NotFoundError(f"There is no image {image}.")
            self.store.erase([image], reason, actor, now)
            if self.samples is not None:
                self.samples.forget(self._is_erased)
            self.matcher.catch_up()

        await self.read(erase)
        return now

    # ---- status

    def queue_length(self) -> int:
        """The number of lookups that wait for a person. Reads the store: call it outside the event loop."""
        return self.store.queue.status().length

    def status(self) -> dict[str, object]:
        """The state of every part, for operators. Reads the store: call it outside the event loop."""
        return {
            "release": self.settings.release,
            "algorithm": {"name": self.algorithm.name, "version": self.algorithm.version},
            "started_at": self.metrics.started_at,
            "known": len(self.matcher.index),
            "failover": asdict(failover) if (failover := self.matcher.follower.failover) else None,
            "index_lag_seconds": round(self.matcher.follower.lag_seconds, 3),
            "queue_length": self.queue_length(),
            "checks": {name: check.ok for name, check in self.checks().items()},
            "tokens": sorted(token.name for token in self.store.tokens() if not token.revoked_at),
            "settings": self.settings.public(),
        }

    def checks(self) -> dict[str, Check]:
        """Every health check by name. Reads the store: call it outside the event loop."""
        return {
            "store": self._check_store(),
            "index": self._check_index(),
            "documents": Check(*self.documents.health()),
            "disk": self._check_disk(),
        }

    def _check_store(self) -> Check:
        try:
            self.store.ping()
            kept = durability(self.store.engine)
        except StoreError as error:
            return Check(False, str(error))
        return Check(True, f"The store answers and its writer runs. {kept.detail}")

    def _check_index(self) -> Check:
        if not self.matcher.follower.ready.is_set():
            return Check(False, "The index is being loaded.")
        if (lag := self.matcher.follower.lag_seconds) > 30:
            return Check(
                False,
                f"The index has not seen the store for {lag:.0f} s: {self.matcher.follower.last_error}.",
            )
        said = f"{len(self.matcher.index):,} fingerprints, {lag:.1f} s behind the store."
        failover = self.matcher.follower.failover
        return Check(True, f"{said} {failover}" if failover else said)

    def _check_disk(self) -> Check:
        """The disks that this process writes to: its store's where that is a file, and its originals'."""
        originals = self.store.originals.folder if self.store.originals else None
        folders = [("the store is", self.store.folder), ("originals are", originals)]
        free = {what: shutil.disk_usage(standing(folder)).free for what, folder in folders if folder}
        for what, left in free.items():
            if left < 64 * 1024**2:
                return Check(False, f"{left / 1024**2:.0f} MB free where {what}; writes need more.")
        if not free:
            return Check(True, "What is kept is kept on other machines.")
        return Check(True, f"{min(free.values()) / 1024**3:.1f} GB free.")

    @contextmanager
    def _counting(self, number: int = 1) -> Iterator[None]:
        """Count how a file ended: `number` pictures that went well, or one that did not."""
        try:
            yield
        except (BusyError, StoreError):  # says nothing about the file
            raise
        except DhashError as error:
            self.metrics.count_image(error.outcome)
            raise
        except Exception:
            self.metrics.count_image(Outcome.FAILED)
            raise
        self.metrics.count_image(Outcome.OK, number)


def standing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there already."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


def carried(error: BaseException) -> BaseException:
    """The error as one that a future of asyncio can carry: `StopIteration` would leave it waiting forever."""
    return as_error(error) if isinstance(error, StopIteration) else error


def backups_until(settings: Settings, now: datetime) -> str:
    """A sentence that says what backups still hold of a picture erased now, and until when."""
    if settings.backup_days is None:
        until = "until they are deleted (set DHASH_BACKUP_DAYS to have this say when)"
    else:
        until = f"until {now + timedelta(days=settings.backup_days):%Y-%m-%d}"
        if settings.backup_count:
            until += f" and until {settings.backup_count} newer ones are there"
    return f"Backups from before {now:%Y-%m-%d %H:%M:%S} UTC still hold it, {until}; a merge leaves it out."


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


def only_looked_up(looked: Looked) -> Submission:
    """A picture that was not to be kept."""
    picture = looked.picture
    return Submission(
        picture.id,
        picture.sha256,
        picture.fingerprint,
        looked.match,
        False,
        None,
        picture.thumbnail,
        looked.banks,
    )


def warm_up(algorithm: Algorithm) -> None:
    """Decode and encode once: Pillow loads its codecs then, 0.2 s that no caller should wait for."""
    file = io.BytesIO()
    PILImage.new("RGB", (512, 512)).save(file, "JPEG")
    read_picture(file.getvalue(), algorithm)
