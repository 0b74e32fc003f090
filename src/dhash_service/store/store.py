"""The store: facts go in through one writer, are read by any thread, and outlive the process."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.dialects import postgresql, sqlite

from dhash_service.errors import StoreAlgorithmError, StoreError, StoreSchemaError, TakenDownError
from dhash_service.facts import (
    UNLABELLED,
    Algorithm,
    Image,
    Label,
    Lookup,
    Match,
    Picture,
    Sha256,
    Source,
    Token,
    Tombstone,
    image_id,
)
from dhash_service.objects import is_object_store
from dhash_service.pictures.bucket import originals_at
from dhash_service.pictures.fingerprint import ALGORITHMS, NEW
from dhash_service.pictures.originals import Originals
from dhash_service.settings import Settings
from dhash_service.store import erasure, schema
from dhash_service.store.added import Added
from dhash_service.store.banks import Banks
from dhash_service.store.changes import Feed
from dhash_service.store.clock import Clock, clock_of, utc_now
from dhash_service.store.engine import (
    LOCK_SECONDS,
    connect,
    existing,
    parse_url,
    reading,
    scrub,
    sqlite_path,
    writing,
)
from dhash_service.store.erasure import Erased, Erasure
from dhash_service.store.files import SeenFiles
from dhash_service.store.groups import GroupDecisions
from dhash_service.store.leases import Leases
from dhash_service.store.listening import bell_for
from dhash_service.store.loading import Loader
from dhash_service.store.prompt import driver_of, glancing
from dhash_service.store.recorder import NewImage, NewSighting, Recorder, Registered, Unseen, present
from dhash_service.store.repository import CHUNK, Repository
from dhash_service.store.review import ReviewQueue
from dhash_service.store.sessions import Sessions
from dhash_service.store.sightings import Sightings, named_by_key
from dhash_service.store.tables import meta
from dhash_service.store.verdicts import Verdicts
from dhash_service.store.writer import Writer


class Store(Repository):
    """An open store. Writes return futures that are resolved after the durable commit; reads answer at once.

    Every method may be called from any thread. Everything raises `StoreError` when the database fails.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        release: str,
        algorithm: Algorithm,
        originals: Originals | None,
        clock: Clock,
        lock_seconds: float,
        direct: str | None = None,
    ) -> None:
        super().__init__(engine, algorithm)
        self.release = release
        self.feed = Feed(engine)
        self.bell = bell_for(engine, direct)
        path = sqlite_path(engine.url)
        self.folder: Path | None = path.parent if path else None
        self.originals = originals
        self._recorder = Recorder(release, algorithm, clock)
        at_once = originals.at_once if originals else 1
        self._keepers = ThreadPoolExecutor(at_once, thread_name_prefix="originals")
        self.now = clock_of(engine, self._keepers.submit)
        self._writer = Writer(engine, lock_seconds=lock_seconds)
        self.expecting = self._writer.expecting
        self.sightings = Sightings(engine)
        self.added = Added(engine, algorithm)
        self.queue = ReviewQueue(engine, algorithm)
        self.sessions = Sessions(engine, self._writer, release)
        self.leases = Leases(self._writer, release)
        self.verdicts = Verdicts(engine, self._writer, self._recorder, algorithm)
        self.banks = Banks(engine, self._writer, release)
        self.files = SeenFiles(engine, self._writer, release)
        self.loader = Loader(self._writer, release, clock)
        self.groups = GroupDecisions(engine, self._writer, self._recorder, self.queue)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        release: str,
        algorithm: Algorithm | None,
        otherwise: Algorithm = NEW,
        migrate: bool = False,
        originals: str | Path | None = None,
        clock: Clock = utc_now,
        lock_seconds: float = LOCK_SECONDS,
        direct: str | None = None,
    ) -> Self:
        """Open the store at a URL; the first to open it sets its algorithm: `otherwise` where None is given.

        `migrate` makes a new store, and gives an old one the expanding revisions it lacks. `originals` is the
        folder, or the object store's URL, where pictures are kept whole; `direct` is the URL past a pooler.
        Raises `StoreSchemaError`, `StoreAlgorithmError`, `StoreDamagedError`, `StoreUnreachableError`,
        `SettingError`.
        """
        if migrate:
            migrate_for(url, release=release, lock_seconds=lock_seconds)
        engine = connect(url, lock_seconds=lock_seconds)
        try:
            if (path := sqlite_path(engine.url)) and not path.exists():
                raise StoreSchemaError(f"There is no store at {path}.", "Run `dhash db upgrade`.")
            with reading(engine) as connection:
                schema.require_fit(schema.applied(connection))
            algorithm = settled_algorithm(engine, algorithm, otherwise, release=release, now=clock())
            return cls(
                engine,
                release=release,
                algorithm=algorithm,
                originals=originals_at(originals) if originals else None,
                clock=clock,
                lock_seconds=lock_seconds,
                direct=direct,
            )
        except BaseException:
            engine.dispose()
            raise

    @classmethod
    def open_from(cls, settings: Settings, *, migrate: bool = False, otherwise: Algorithm = NEW) -> Self:
        """Open the store that the settings name; see `open`.

        Originals that were kept once are shown, and erased, even if no more are kept.
        """
        there = is_object_store(settings.originals) or Path(settings.originals).is_dir()
        kept = settings.keep_originals or there
        return cls.open(
            settings.store.get_secret_value(),
            release=settings.release,
            algorithm=ALGORITHMS[settings.algorithm] if settings.algorithm else None,
            originals=settings.originals if kept else None,
            migrate=migrate,
            otherwise=otherwise,
            direct=settings.store_direct.get_secret_value() if settings.store_direct else None,
        )

    def close(self) -> None:
        """Write all that was submitted, then let go of the database."""
        self._keepers.shutdown()
        self._writer.close()
        self.feed.close()
        self.bell.close()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ping(self) -> None:
        """Raise `StoreError` unless the database answers and the writer runs."""
        with reading(self.engine) as connection:
            connection.execute(text("SELECT 1"))
        if not self._writer.alive:
            raise StoreError("The writer has ended.", "Restart the service.")

    def pictured(self, lookups: Sequence[Lookup]) -> tuple[list[Lookup], dict[UUID, Image]]:
        """Lookups, and those of their images that are in search; all images have names."""
        images = self.images([lookup.image for lookup in lookups])
        named = self.sightings.named(list(images.values()))
        return self.sightings.named_lookups(lookups), {image.id: image for image in named}

    def named_by_key(self, keys: Sequence[int]) -> dict[int, Image]:
        """The images in search behind these keys of the feed, with their names; a hidden one is left out."""
        if not keys:
            return {}
        with glancing(self.engine, once=len(keys) <= CHUNK) as driver:
            return named_by_key(driver, keys, self.algorithm)

    # ---- writes

    def on_commit(self, call: Callable[[Sequence[int]], object]) -> None:
        """Call this with the new fingerprints after each of our commits, before it is acknowledged.

        It must not raise.
        """

        def committed(results: Sequence[object]) -> None:
            new = (each for each in results if isinstance(each, Registered) and each.created)
            call([each.image.fingerprint.value for each in new])

        self._writer.committed = committed

    def add_image(
        self,
        picture: Picture,
        match: Match,
        source: Source | None = None,
        label: Label = UNLABELLED,
        unseen: Unseen | None = None,
        as_admin: bool = False,
    ) -> Future[Registered]:
        """Keep a picture, its fingerprint, thumbnail, lookup and sighting; of a known one, its sighting.

        With `unseen`, it is matched again if a picture near it was committed since it was matched. Fails with
        `TakenDownError` for one that was erased, or, unless sent `as_admin`, one that was taken down.
        Where originals are kept and the picture carries its bytes, they are there before the rest is.
        """
        new = NewImage(picture, match, source, label, unseen, as_admin)
        if self.originals is None or picture.content is None:
            return self._writer.submit(self._recorder.add_images, new)
        return self._add_with_original(self.originals, new, picture.content)

    def add_images(self, new: Sequence[NewImage]) -> list[Future[Registered]]:
        """Keep many, in as few commits as their number allows. Each succeeds or fails alone."""
        return [
            self.add_image(item.picture, item.match, item.source, item.label, item.unseen, item.as_admin)
            for item in new
        ]

    def see(self, image: UUID, label: Label, source: Source | None = None) -> Future[None]:
        """Keep the sighting and tags of a known image. The same sighting again adds nothing.

        Fails with `TakenDownError` where it was erased meanwhile.
        """
        return self._writer.submit(self._recorder.see, NewSighting(image, label, source))

    def _add_with_original(self, originals: Originals, new: NewImage, content: bytes) -> Future[Registered]:
        answer: Future[Registered] = Future()

        def keep() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                with reading(self.engine) as connection:
                    erasure.refuse(connection, [new.picture.id])
                originals.put(content, new.picture.sha256)
                self._writer.submit(self._recorder.add_images, new).add_done_callback(pass_on)
            except BaseException as error:
                answer.set_exception(error)

        def pass_on(written: Future[Registered]) -> None:
            if error := written.exception():
                try:
                    if isinstance(error, TakenDownError) and self.erased(new.picture.id):
                        originals.remove(new.picture.sha256)  # erased while it was being kept
                except StoreError as failed:
                    error = failed
                answer.set_exception(error)
            else:
                answer.set_result(written.result())

        self._keepers.submit(keep)
        return answer

    def erased(self, image: UUID) -> datetime | None:
        """When an image was erased first; None for one that was not."""
        with reading(self.engine) as connection:
            found = erasure.find(connection, [image])
        return found[image].created_at if found else None

    def refused(self, images: Sequence[UUID]) -> dict[UUID, TakenDownError]:
        """The errors for those of these images that were erased or taken down."""
        with reading(self.engine) as connection:
            return erasure.refused_hidden(connection, images) | erasure.refused(connection, images)

    def has(self, image: UUID) -> bool:
        """True of an image that is in the store, in search or not."""
        with reading(self.engine) as connection:
            return bool(present(driver_of(connection), [image]))

    def has_original(self, image: Image) -> bool:
        """True of an image that is kept whole. May ask another machine: call it outside the event loop."""
        return self.originals is not None and self.originals.has(image.sha256)

    def erase(self, images: Sequence[UUID], reason: str, actor: str, at: datetime) -> int:
        """Remove pictures and all that is about them, now and whenever they come back; how many there were.

        Waits until originals, rows and what the database keeps of removed rows are gone. Originals go first:
        where that fails nothing was done, and the next try knows what to remove.
        """
        if self.originals:
            with reading(self.engine) as connection:
                here = erasure.digests_of(connection, images)
            for original in here.values():
                self.originals.remove(original)
        wishes = [Erasure(image, reason, actor, at) for image in images]
        removed = [self._writer.submit(self._recorder.erase, wish) for wish in wishes]
        found = [digest for each in removed if (digest := each.result())]
        self._forget(found)
        return len(found)

    def erase_again(self, *, everywhere: bool = True) -> int:
        """Remove erased pictures that came back with a merge or a restored file; how many there were.

        `everywhere`: also from originals that are not on this machine, where listing them may take minutes.
        """
        with reading(self.engine) as connection:
            erased = Erased(connection)
            back = erasure.came_back(connection, erased)
        if back:
            with writing(self.engine) as connection:
                erasure.remove(connection, back)
        found = set(back.values())
        if erased and self.originals and (everywhere or self.originals.folder):
            found |= {digest for digest in self.originals.digests() if erased.has(image_id(digest))}
        if found:
            self._forget(found)
        return len(found)

    def _forget(self, digests: Iterable[Sha256]) -> None:
        """Remove originals, and what the database still has of removed rows."""
        for digest in digests:
            if self.originals:
                self.originals.remove(digest)
        scrub(self.engine)

    def add_tombstone(self, tombstone: Tombstone) -> Future[Tombstone]:
        """Take a subject out of search, or bring it back. Fails with `NotFoundError` for an unknown image."""
        return self._writer.submit(self._recorder.add_tombstones, tombstone)

    def add_token(self, token: Token) -> Future[Token]:
        """Keep a token. Fails with `BadRequestError` where a token in force has its name."""
        return self._writer.submit(self._recorder.add_tokens, token)

    def revoke_token(self, name: str) -> Future[int]:
        """Revoke the tokens of this name; how many there were. Fails with `NotFoundError` for none."""
        return self._writer.submit(self._recorder.revoke_tokens, name)


def migrate_for(url: str, *, release: str, lock_seconds: float) -> None:
    """Make a new store whole; give an old one only what no other release can mind."""
    had: list[schema.Applied] = []
    path = sqlite_path(parse_url(url))
    if path is None or path.exists():
        with existing(url) as engine, reading(engine) as connection:
            had = schema.applied(connection)
        if had and not schema.lacking(had):
            return

    from dhash_service.store import migrate  # Alembic is slow to import, and seldom needed

    migrate.upgrade(url, release=release, expand_only=bool(had), lock_seconds=lock_seconds)


def settled_algorithm(
    engine: Engine, wanted: Algorithm | None, otherwise: Algorithm, *, release: str, now: datetime
) -> Algorithm:
    """The store's algorithm; one that has none is given the one that is wanted, or `otherwise`.

    Raises `StoreAlgorithmError` where it has another than the one that is wanted.
    """
    algorithm = wanted or otherwise
    with reading(engine) as connection:
        held = stored_algorithm(connection)
    if held is None:
        dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
        with writing(engine) as connection:
            connection.execute(
                dialect.insert(meta).on_conflict_do_nothing(),
                {
                    "name": "algorithm",
                    "value": f"{algorithm.name}/{algorithm.version}",
                    "release": release,
                    "created_at": now,
                },
            )
            held = stored_algorithm(connection)
    assert held is not None
    known = held in ALGORITHMS.values()
    if held == algorithm or (wanted is None and known):
        return held
    if wanted is None:
        raise StoreAlgorithmError(
            f"The store holds {held.name} version {held.version}, which this release does not know.",
            "Use the release that made the store, or a newer one.",
        )
    raise StoreAlgorithmError(
        f"The store holds {held.name} version {held.version}; this release is set to"
        f" {algorithm.name} version {algorithm.version}."
    )


def stored_algorithm(connection: Connection) -> Algorithm | None:
    """The algorithm that the first to open the store set."""
    value = connection.scalar(select(meta.c.value).where(meta.c.name == "algorithm"))
    if value is None:
        return None
    name, _, version = value.rpartition("/")
    return Algorithm(name, int(version))
