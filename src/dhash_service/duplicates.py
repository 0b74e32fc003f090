"""Groups of duplicates: pictures with the same or a near fingerprint, and files with the same bytes.

One picture of each group is suggested to be kept, by a rule. Nothing is ever deleted.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from dhash_service.errors import BusyError
from dhash_service.facts import GroupDecision, Image, Sighting, Verdict, new_id
from dhash_service.search.pairs import components, near_pairs
from dhash_service.store.groups import group_id
from dhash_service.store.store import Store

LARGEST_GROUP = 1_000
"""Members that are shown of a group; a crowd of blank pictures may have many more."""


COLUMNS = ("group", "keep", "distance", "id", "sha256", "hash", "width", "height", "bytes", "source")
"""The columns of an exported list."""

FORMULAS = tuple("=+-@\t\r\n＝＋－＠")
"""What a cell begins with that a spreadsheet takes for a formula."""


class Rule(StrEnum):
    """A rule for the picture of a group to keep; ties go to the oldest, then to the smallest id."""

    LARGEST = "largest"  # most pixels, then most bytes
    OLDEST = "oldest"  # known for the longest time


RULES: Mapping[Rule, Callable[[Image], tuple[object, ...]]] = {
    Rule.LARGEST: lambda image: (
        -image.fingerprint.width * image.fingerprint.height,
        -image.size,
        image.created_at,
        image.id,
    ),
    Rule.OLDEST: lambda image: (image.created_at, image.id),
}


@dataclass(frozen=True, slots=True)
class Member:
    """A picture of a group, its distance to the suggested one, and the files that it was seen as."""

    image: Image
    distance: int
    files: Sequence[Sighting]


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Duplicates, the suggested one to keep first. `size` counts members that are not shown as well."""

    id: UUID
    members: Sequence[Member]
    size: int
    decision: GroupDecision | None

    @property
    def kept(self) -> UUID:
        """The picture to keep: the one that was decided on, or else the suggested one."""
        chosen = self.decision.kept if self.decision else None
        return next(
            (each.image.id for each in self.members if each.image.id == chosen), self.members[0].image.id
        )

    @property
    def exact(self) -> bool:
        """True where all members have one fingerprint."""
        return all(member.distance == 0 for member in self.members)


def rows(group: DuplicateGroup) -> Iterator[dict[str, object]]:
    """A row of `COLUMNS` for each file of a group; for a picture without a file, one."""
    for member in group.members:
        image = member.image
        sources = [file.source or file.name for file in member.files] or [""]
        for place, source in enumerate(sources):
            yield {
                "group": str(group.id),
                "keep": image.id == group.kept and place == 0,
                "distance": member.distance,
                "id": str(image.id),
                "sha256": image.sha256,
                "hash": image.fingerprint.hex,
                "width": image.fingerprint.width,
                "height": image.fingerprint.height,
                "bytes": image.size,
                "source": source,
            }


def spreadsheet_rows(group: DuplicateGroup) -> Iterator[dict[str, object]]:
    """The same for CSV, which people open in spreadsheets: none takes a name for a formula.

    See <https://owasp.org/www-community/attacks/CSV_Injection>.
    """
    for row in rows(group):
        source = str(row["source"])
        yield row | {"source": f"'{source}" if source.startswith(FORMULAS) else source}


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups of one moment, as keys of the store's feed: those of most members first."""

    keys: Sequence[NDArray[np.int64]]
    known: int

    def __len__(self) -> int:
        return len(self.keys)


class Duplicates:
    """Finds and decides groups of duplicates in one store. One search at a time; its result is kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._searching = threading.Lock()
        self._found: tuple[object, Grouping] | None = None

    def find(self, radius: int, within: str | None = None) -> Grouping:
        """Group what is in search by fingerprints within `radius` bits (0 to 8).

        `within` limits it to pictures with this part in a name or source. Raises `BusyError` while another
        search runs, `NotInstalledError`, `StoreError`.
        """
        if not self._searching.acquire(blocking=False):
            raise BusyError("Duplicates are being looked for already.")
        try:
            changes = self._store.feed.changes(None)
            asked = (radius, within, changes.position, self._store.sightings.count() if within else None)
            if self._found is None or self._found[0] != asked:
                self._found = asked, self._group(changes.keys, changes.values, radius, within)
            return self._found[1]
        finally:
            self._searching.release()

    def _group(
        self, keys: NDArray[np.int64], values: NDArray[np.uint64], radius: int, within: str | None
    ) -> Grouping:
        if within:
            chosen = np.isin(keys, self._store.sightings.keys_named(within))
            keys, values = keys[chosen], values[chosen]
        found = grouped(keys, values, radius)
        alone = np.setdiff1d(self._store.sightings.keys_of_copies(), np.concatenate([*found, keys[:0]]))
        found += [alone[place : place + 1] for place in np.flatnonzero(np.isin(alone, keys))]
        return Grouping(found, len(keys))

    def groups(
        self, grouping: Grouping, rule: Rule, start: int = 0, limit: int | None = None
    ) -> list[DuplicateGroup]:
        """Some of the groups, in their order; one whose members have left search meanwhile is left out."""
        chosen = grouping.keys[start : None if limit is None else start + limit]
        shown = [int(key) for keys in chosen for key in keys[:LARGEST_GROUP]]
        images = self._store.images_by_key(shown)
        named = {image.id: image for image in self._store.sightings.named(list(images.values()))}
        files = self._store.sightings.files_of(list(named))
        made = []
        for keys in chosen:
            members = {images[int(key)].id for key in keys[:LARGEST_GROUP] if int(key) in images}
            ordered = sorted((named[id] for id in members), key=RULES[rule])
            if not ordered or (len(ordered) == 1 and len(files.get(ordered[0].id, ())) < 2):
                continue
            best = ordered[0].fingerprint.value
            shown_members = [
                Member(image, (image.fingerprint.value ^ best).bit_count(), files.get(image.id, ()))
                for image in ordered
            ]
            made.append(DuplicateGroup(group_id(members), shown_members, len(keys), None))
        decided = self._store.groups.newest([group.id for group in made])
        return [replace(group, decision=decided.get(group.id)) for group in made]

    def decide(
        self, members: Sequence[UUID], kept: UUID | None, verdict: Verdict, reviewer: str, note: str
    ) -> int:
        """Decide a group; returns the number of waiting lookups decided with it. Raises `BadRequestError`."""
        decision = GroupDecision(
            new_id(),
            group_id(set(members)),
            kept,
            verdict,
            reviewer,
            note,
            self._store.release,
            datetime.now(UTC),
        )
        return self._store.groups.record(decision, members).result()


def grouped(keys: NDArray[np.int64], values: NDArray[np.uint64], radius: int) -> list[NDArray[np.int64]]:
    """The keys of each group of at least two, connected by steps of at most `radius` bits; largest first."""
    distinct, places = np.unique(values, return_inverse=True)
    labels = components(len(distinct), *near_pairs(distinct, radius))[places]
    del distinct, places
    several = np.bincount(labels)[labels] > 1  # most have no duplicate, and are dropped before all else
    keys, labels = keys[several], labels[several]
    order = np.lexsort((keys, labels))
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    found = np.split(keys[order], starts[1:]) if len(keys) else []
    return sorted(found, key=lambda group: (-len(group), int(group[0])))
