"""The use cases, without HTTP: submit, extract, search, decide, status.

Files are hashed in threads (Pillow releases the interpreter lock), PDFs in processes of their own, and
writes are acknowledged only once the store has committed them.
"""

import asyncio
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self, TypeVar
from uuid import UUID

from PIL import Image as PILImage

from dhash_service.banks import BankMatcher
from dhash_service.documents import DocumentReader, ExtractedPicture, Extraction, Skip
from dhash_service.documents.extraction import PictureReading
from dhash_service.duplicates import Duplicates
from dhash_service.errors import (
    BatchTooLargeError,
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
    Decision,
    Image,
    Label,
    Outcome,
    Picture,
    Sha256,
    Source,
    Subject,
    Tombstone,
    Verdict,
    new_id,
)
from dhash_service.matcher import Matcher, Neighbourhood
from dhash_service.metrics import Metrics
from dhash_service.pictures.fingerprint import read_picture
from dhash_service.pictures.samples import Samples
from dhash_service.settings import Settings
from dhash_service.store.durability import durability
from dhash_service.store.repository import chunks
from dhash_service.store.store import Store
from dhash_service.submitting import Submission, Submitter, Wish

QUICK_RADIUS = 11
"""Bits within which the index takes a fraction of a millisecond; beyond, it may have to scan."""

SHARES = 2
"""Parts of a batch for each thread that reads pictures: a part is matched, and asked about, together."""

FEW = 4
"""Pictures that are read from a SQLite store in a tenth of a millisecond, names included."""

T = TypeVar("T")


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
        # As many as cores: more would only wait for each other's turn with the interpreter.
        self._threads = settings.threads or max(2, os.cpu_count() or 1)
        self._hashers = ThreadPoolExecutor(self._threads, thread_name_prefix="hash")
        self._submitter = Submitter(
            self.store, self.matcher, self.banks, self.documents, self.samples, settings, metrics
        )
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
        self._hashers.submit(self._submitter.submit, [wish], register, as_admin)
        return await self._answered(wish, register, as_admin)

    async def _answered(self, wish: Wish, register: bool, as_admin: bool) -> Submission:
        answer = wish.answer.result() if wish.answer.done() else await asyncio.wrap_future(wish.answer)
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
            thumbnail=self._submitter.thumbnail(register),
            keep_content=self.settings.keep_originals,
        )
        with self.metrics.counting(number=0):
            picture: Picture = await asyncio.wrap_future(self.documents.apart(data, reading))
        return picture

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
        all_answered = answered([wish.answer for wish in wishes])
        for some in chunks(wishes, max(1, -(-len(wishes) // (SHARES * self._threads)))):
            self._hashers.submit(self._submitter.submit, some, register, as_admin)
        await all_answered

        async def one(wish: Wish) -> Submission | DhashError:
            try:
                return await self._answered(wish, register, as_admin)
            except Exception as error:  # whatever it is, it is this item's
                return as_error(error)

        return [await one(wish) for wish in wishes]

    # ---- documents

    async def extract(
        self, data: bytes, *, register: bool = True, label: Label = UNLABELLED, as_admin: bool = False
    ) -> DocumentSubmission:
        """Submit every picture of a PDF under its label.

        Raises the errors of `DocumentReader.extract`, and `StoreError`.
        """
        with self.metrics.counting(number=0):
            extraction = await asyncio.wrap_future(
                self.documents.extract(
                    data,
                    self.algorithm,
                    keep_content=self.settings.keep_originals,
                    thumbnails=self._submitter.thumbnail(register),
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
        looked = await self.read(lambda: self._submitter.look_extracted(item.picture, register))
        source = Source(extraction.sha256, item.page, item.box)
        if isinstance(looked, Submission):
            if register:
                await asyncio.wrap_future(self.store.see(looked.picture_id, label, source))
            return looked
        if not register:
            return looked.only()
        written = self._submitter.keep(looked, label, source, as_admin=as_admin)
        return self._submitter.kept(looked, await asyncio.wrap_future(written))

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
        with self.metrics.counting():
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
        """Remove an image and all that is about it, for good; when it went, the first time if it is gone.

        Raises `NotFoundError`, `StoreError`.
        """
        now = self.store.now()

        def erase() -> datetime:
            before = self.store.erased(image)
            if not before and not self.store.has(image):
                raise NotFoundError(f"There is no image {image}.")
            removed = self.store.erase([image], reason, actor, now)
            if self.samples is not None:
                self.samples.forget(self._submitter.is_erased)
            self.matcher.catch_up()
            return now if removed or not before else before

        return await self.read(erase)

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


def standing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there already."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


def answered(answers: Sequence[Future[T]]) -> asyncio.Future[None]:
    """Resolved on this loop once every one of the futures is; cancelling it cancels those not begun."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    left = iter(range(len(answers) - 1, -1, -1))  # its `next` is one step for all threads

    def resolve() -> None:
        if not done.done():
            done.set_result(None)

    def arrived(_: Future[T]) -> None:
        if not next(left):
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(resolve)

    def given_up(done: asyncio.Future[None]) -> None:
        if done.cancelled():
            for answer in answers:
                answer.cancel()

    if not answers:
        resolve()
    done.add_done_callback(given_up)
    for answer in answers:
        answer.add_done_callback(arrived)
    return done


def backups_until(settings: Settings, now: datetime) -> str:
    """A sentence that says what backups still hold of a picture erased now, and until when."""
    if settings.backup_days is None:
        until = "until they are deleted (set DHASH_BACKUP_DAYS to have this say when)"
    else:
        until = f"until {now + timedelta(days=settings.backup_days):%Y-%m-%d}"
        if settings.backup_count:
            until += f" and until {settings.backup_count} newer ones are there"
    return f"Backups from before {now:%Y-%m-%d %H:%M:%S} UTC still hold it, {until}; a merge leaves it out."


def warm_up(algorithm: Algorithm) -> None:
    """Decode and encode once: Pillow loads its codecs then, 0.2 s that no caller should wait for."""
    file = io.BytesIO()
    PILImage.new("RGB", (512, 512)).save(file, "JPEG")
    read_picture(file.getvalue(), algorithm)
