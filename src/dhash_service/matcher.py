"""Matches fingerprints against an index that follows a store."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Self
from uuid import UUID

from dhash_service.errors import StoreError
from dhash_service.facts import Fingerprint, Image, Match, Neighbour, Status
from dhash_service.search.confidence import judge
from dhash_service.search.feed import FingerprintFeed, Position
from dhash_service.search.follower import Follower
from dhash_service.search.index import Found, HammingIndex, Index
from dhash_service.settings import Settings
from dhash_service.store import bands
from dhash_service.store.recorder import Candidate, Unseen
from dhash_service.store.store import Store

CANDIDATES = 16
"""Neighbours fetched to judge a match: the nearest, its runner-up, and room for hidden or repeated ones."""


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Known images near a fingerprint, nearest first: the first of `total` ones.

    `crowded` as in `index.Found`; `known` is the number of fingerprints searched.
    """

    neighbours: Sequence[Neighbour]
    total: int
    crowded: bool
    known: int


def nearest_turn(found: Iterable[tuple[str, Sequence[Neighbour]]]) -> list[Neighbour]:
    """The neighbours of a picture's orientations together, each image once: by its nearest, then first."""
    nearest: dict[UUID, Neighbour] = {}
    for turn, neighbours in found:
        for each in neighbours:
            known = nearest.get(each.image.id)
            if known is None or each.distance < known.distance:
                nearest[each.image.id] = replace(each, turn=turn)
    return sorted(nearest.values(), key=lambda each: each.distance)


def index_of(store: Store, settings: Settings) -> tuple[Index, FingerprintFeed]:
    """The index that the settings want, and its feed. Raises `SettingError`, `StoreSchemaError`."""
    if settings.index == "memory":
        return HammingIndex(), store.feed
    bands.require(store.engine)
    return bands.StoreIndex(store.engine, store.count()), bands.Tail(store.feed)


class Matcher:
    """Matches fingerprints against an index that follows a store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._radius = settings.match_radius
        self._review_below = settings.review_below
        self._queueing = settings.queueing
        self.index, feed = index_of(store, settings)
        self.follower = Follower(self.index, feed, store.bell)

    def start(self, meanwhile: Callable[[], object] = lambda: None) -> Self:
        """Begin to follow the store, and return once every known picture can be found.

        From then on, whatever this process writes can be found before its writing is acknowledged. What the
        caller has to do before it is ready, too, is done `meanwhile`.
        """
        self.follower.start()
        meanwhile()
        while not self.follower.ready.wait(1):
            if self.follower.failures:
                self.close()
                raise StoreError(f"The index cannot be loaded: {self.follower.last_error}")
        self._store.on_commit(self.follower.committed)
        return self

    def close(self) -> None:
        """Stop following."""
        self.follower.stop()

    __enter__ = start

    def __exit__(self, *error: object) -> None:
        self.close()

    def match(self, fingerprint: Fingerprint) -> Match:
        """Judge a fingerprint by the known images."""
        (judged,) = self.judge_all([fingerprint], self.search_all([fingerprint]))
        return judged

    def search_all(self, fingerprints: Sequence[Fingerprint]) -> list[Found]:
        """All that `judge_all` needs of the index about each."""
        values = [fingerprint.value for fingerprint in fingerprints]
        return self.index.search_many(values, self._radius, CANDIDATES)

    def judge_all(
        self,
        fingerprints: Sequence[Fingerprint],
        searches: Sequence[Found],
        newer: Sequence[Candidate] = (),
        read: dict[int, Image] | None = None,
    ) -> list[Match]:
        """Judge each by what a search found and by `newer` ones; the nearest ones with their names.

        Only the nearest are read, together: from `read`, by key, which is given what it lacks, or from the
        store.
        """
        judged: dict[int, Match] = {}
        read = {} if read is None else read
        gone: set[int] = set()
        while left := [place for place in range(len(fingerprints)) if place not in judged]:
            made = [self._judged(fingerprints[place], searches[place], gone, newer) for place in left]
            unread = {near[2] for _, near in made if near and isinstance(near[2], int)} - read.keys()
            read |= self._store.named_by_key(list(unread))
            gone |= unread - read.keys()  # taken out of search just now, and perhaps by somebody else
            for place, (match, near) in zip(left, made, strict=True):
                if near is None:
                    judged[place] = match
                elif image := near[2] if isinstance(near[2], Image) else read.get(near[2]):
                    judged[place] = replace(match, nearest=Neighbour(image, near[0]))
                # or it is gone: once more, without it
        return [self._queued(judged[place]) for place in range(len(fingerprints))]

    def _judged(
        self, fingerprint: Fingerprint, found: Found, gone: set[int], newer: Sequence[Candidate]
    ) -> tuple[Match, Candidate | None]:
        """The judgement without the nearest image, and which that is."""
        near: list[Candidate] = [
            (distance, value, key)
            for (key, distance), value in zip(found.hits, found.values, strict=True)
            if key not in gone
        ]
        if newer:
            there = gone.union(hit.key for hit in found.hits)
            near += [each for each in newer if isinstance(each[2], Image) or each[2] not in there]
            near.sort(key=itemgetter(0))
        judged = judge(
            [(distance, value) for distance, value, _ in near],
            fingerprint,
            len(self.index) + sum(isinstance(each[2], Image) for each in newer),
            radius=self._radius,
            review_below=self._review_below,
            crowded=found.crowded and near[:1] != [] and near[0][0] == found.hits[0].distance,
        )
        return judged, near[0] if near else None

    def _queued(self, judged: Match) -> Match:
        """The match, but that nobody is asked about what the settings leave out of the queue."""
        if judged.status is not Status.REVIEW or not self._queueing.isdisjoint(judged.reasons):
            return judged
        return replace(judged, status=Status.MATCHED if judged.nearest else Status.NEW)

    def unseen(self, after: Position | None, judge: Callable[[Sequence[Candidate]], Match]) -> Unseen | None:
        """Tells the writer how to judge again, with what came after the index's position before matching."""
        return None if after is None else Unseen(after, self._radius, judge)

    def catch_up(self) -> bool:
        """Return once everything can be found that was committed before; False where it cannot be read."""
        return self.follower.is_current() or self.follower.catch_up()

    def require_current(self) -> None:
        """Return once everything can be found that was committed before. Raises `StoreError` where it cannot.

        An answer from what the index had before might lack what somebody else has been told is kept.
        """
        if not self.catch_up():
            why = self.follower.last_error
            raise (
                why
                if isinstance(why, StoreError)
                else StoreError(f"The index cannot follow the store: {why}.")
            )

    def neighbours_turned(self, turns: Sequence[tuple[str, int]], radius: int, limit: int) -> Neighbourhood:
        """Known images near a picture in any of its orientations, each given with its value; nearest first.

        `total` counts the images found, of at most `limit` for each orientation.
        """
        found = [(turn, self.neighbours(value, radius, limit)) for turn, value in turns]
        near = nearest_turn((turn, each.neighbours) for turn, each in found)
        crowded = any(each.crowded for _, each in found)
        return Neighbourhood(near[:limit], len(near), crowded, len(self.index))

    def neighbours(self, value: int, radius: int, limit: int, skip: int = 0) -> Neighbourhood:
        """Known images within `radius` bits, nearest first, at most `limit` after the first `skip`."""
        (found,) = self.around([self.index.search(value, radius, skip + limit)], skip)
        return found

    def around(self, searches: Sequence[Found], skip: int = 0, *, named: bool = False) -> list[Neighbourhood]:
        """The images that searches found, after the first `skip` of each, all read in one transaction."""
        wanted = list({hit.key: None for found in searches for hit in found.hits[skip:]})
        images = self._store.named_by_key(wanted) if named else self._store.images_by_key(wanted)
        answers, known = [], len(self.index)
        for found in searches:
            neighbours: dict[UUID, Neighbour] = {}
            for hit in found.hits[skip:]:  # nearest first: an image's nearest fingerprint counts
                if image := images.get(hit.key):
                    neighbours.setdefault(image.id, Neighbour(image, hit.distance))
            answers.append(Neighbourhood(list(neighbours.values()), found.total, found.crowded, known))
        return answers
