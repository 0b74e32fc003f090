"""All known fingerprints at one moment. A bank never changes: adding or removing gives the next one.

Most fingerprints stand in a segment; what was added since stands in a log that is compared one by one, and
what was removed since is a list of places in the segment that answers leave out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from dhash_service.search.segment import (
    BITS,
    Distances,
    Keys,
    Near,
    Places,
    Segment,
    Values,
    newest_of,
    scan,
    spans,
)

CROWD = 1000
"""Pictures that share a fingerprint when it no longer says which of them is meant."""

FEW, MANY = 16, 64
"""Fingerprints found, and pictures behind them, up to which plain Python sorts them sooner than NumPy."""

TOGETHER, NEARBY = 16, 11
"""Values asked about at once: what they meet among a million fits the cache. Bits beyond which a value may
meet a large part of all there is."""


class Hit(NamedTuple):
    """A picture near the queried fingerprint: its key, and how many bits differ."""

    key: int
    distance: int


@dataclass(frozen=True, slots=True)
class Found:
    """The nearest pictures, ties by key, as many as were asked for; `total` counts all within the radius.

    `crowded`: a fingerprint at the smallest distance found is shared by at least `CROWD` pictures. They are
    counted, not gone through, so a crowd costs no time. `values` are the fingerprints of the hits.
    """

    hits: tuple[Hit, ...]
    total: int
    crowded: bool
    values: tuple[int, ...]


NOTHING = Found((), 0, False, ())


class Log:
    """Fingerprints (`keys` int64[N], `values` uint64[N]) in the order they came; extended by a new log."""

    def __init__(
        self, keys: Keys, values: Values, buffer: "_Buffer | None" = None, newest: int | None = None
    ) -> None:
        self.keys, self.values = keys, values
        self.newest = newest_of(keys) if newest is None else newest
        self._buffer = buffer or _Buffer(keys, values, len(keys))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        return self._buffer.keys.nbytes + self._buffer.values.nbytes

    def extended(self, keys: Keys, values: Values) -> "Log":
        """This log, then these. Costs their length alone: logs share a buffer that has room to spare."""
        if not len(self):
            return Log(keys, values)
        start, end = len(self), len(self) + len(keys)
        buffer = self._buffer
        if buffer.filled != start or end > len(buffer.keys):
            buffer = buffer.grown(start, end + end // 2)
        buffer.keys[start:end], buffer.values[start:end] = keys, values
        buffer.filled = end
        newest = max(self.newest, newest_of(keys))
        return Log(buffer.keys[:end], buffer.values[:end], buffer, newest)

    def without(self, keys: Keys) -> "Log":
        keep = ~np.isin(self.keys, keys)
        return self if keep.all() else Log(self.keys[keep], self.values[keep])


class Bank:
    """The fingerprints of a segment, less those at the places `removed` (ascending), and those of a log."""

    def __init__(self, segment: Segment, removed: Places, log: Log) -> None:
        self.segment, self.removed, self.log = segment, removed, log

    @classmethod
    def of(cls, keys: Keys, values: Values) -> Self:
        return cls(Segment(keys, values), np.empty(0, np.int64), _empty_log())

    @classmethod
    def empty(cls) -> Self:
        return cls.of(np.empty(0, np.int64), np.empty(0, np.uint64))

    def __len__(self) -> int:
        return len(self.segment) - len(self.removed) + len(self.log)

    @property
    def nbytes(self) -> int:
        return self.segment.nbytes + self.removed.nbytes + self.log.nbytes

    @property
    def pending(self) -> int:
        """Changes since the segment was built: every search pays for them."""
        return len(self.log) + len(self.removed)

    def with_added(self, keys: Keys, values: Values) -> "Bank":
        """Also these. Those known already change nothing; those that were removed are back."""
        if np.any(keys[1:] <= keys[:-1]):
            keys, once = np.unique(keys, return_index=True)
            values = values[once]
        if keys[0] <= self.log.newest:  # or all are newer, as what was just written
            fresh = ~np.isin(keys, self.log.keys)
            keys, values = keys[fresh], values[fresh]
        removed = self.removed
        if len(keys) and keys[0] <= self.segment.newest:
            places = self.segment.find(keys, values)
            known = places >= 0
            keys, values = keys[~known], values[~known]
            removed = np.setdiff1d(removed, places[known], assume_unique=True)
        return Bank(self.segment, removed, self.log.extended(keys, values))

    def with_removed(self, keys: Keys) -> "Bank":
        """Without these. Keys that are not known change nothing."""
        places = np.flatnonzero(np.isin(self.segment.keys, keys))
        return Bank(self.segment, np.union1d(self.removed, places), self.log.without(keys))

    def _removed_between(self, starts: Places, ends: Places) -> Places:
        if not len(self.removed):
            return np.zeros_like(starts)
        return np.searchsorted(self.removed, ends) - np.searchsorted(self.removed, starts)

    def rebuilt(self) -> "Bank":
        """The same fingerprints, all in one segment."""
        if not len(self.segment):
            return Bank.of(self.log.keys, self.log.values)  # the first load, spared two copies
        return Bank.of(*self.contents())

    def contents(self) -> tuple[Keys, Values]:
        """Every key and its value, in no order."""
        keys = np.concatenate((np.delete(self.segment.keys, self.removed), self.log.keys))
        values = np.concatenate((np.delete(self.segment.everything(), self.removed), self.log.values))
        return keys, values

    def search(self, value: int, radius: int, limit: int) -> Found:
        """The `limit` nearest pictures that differ from `value` in at most `radius` bits."""
        logged = scan(self.log.values, value, radius)
        return self._nearest(self.segment.within(value, radius), logged, radius, limit)

    def search_many(self, values: Sequence[int], radius: int, limit: int) -> list[Found]:
        """The same for each of many values, some at a time, but where each finds much."""
        if len(values) == 1 or radius > NEARBY:
            return [self.search(value, radius, limit) for value in values]
        found: list[Found] = []
        for start in range(0, len(values), TOGETHER):
            some = values[start : start + TOGETHER]
            near = self.segment.within_many(some, radius)
            logged = [scan(self.log.values, value, radius) for value in some]
            found += [self._nearest(*both, radius, limit) for both in zip(near, logged, strict=True)]
        return found

    def _nearest(self, near: Near, logged: Near, radius: int, limit: int) -> Found:
        """What is nearest of the entries of the segment and the places in the log within a radius."""
        (entries, distances), (recent, recent_distances) = near, logged
        if not len(entries) and not len(recent):
            return NOTHING
        starts, ends = self.segment.places(entries)
        few = len(entries) + len(recent) <= FEW
        if few and not len(self.removed) and int((ends - starts).sum()) <= MANY:
            return self._few(entries, distances, starts, ends, logged, limit)
        gone = self._removed_between(starts, ends)
        counts = np.concatenate((ends - starts - gone, np.ones(len(recent), np.int64)))
        distances = np.concatenate((distances, recent_distances))
        total = int(counts.sum())
        if not total:
            return NOTHING

        farthest = radius if total <= limit else _farthest_needed(distances, counts, limit)
        wanted = distances[: len(entries)] <= farthest
        lengths = np.minimum(ends - starts, limit + gone)[wanted]
        places = spans(starts[wanted], lengths)
        bits = distances[: len(entries)][wanted].repeat(lengths)
        values = self.segment.values[entries[wanted]].repeat(lengths)
        if len(self.removed):
            # `removed` is sorted, so this costs what was found, not what was removed.
            following = np.minimum(np.searchsorted(self.removed, places), len(self.removed) - 1)
            alive = self.removed[following] != places
            places, bits, values = places[alive], bits[alive], values[alive]
        recently = recent_distances <= farthest
        keys = np.concatenate((self.segment.keys[places], self.log.keys[recent[recently]]))
        bits = np.concatenate((bits, recent_distances[recently]))
        values = np.concatenate((values, self.log.values[recent[recently]]))
        if len(keys) > max(limit, MANY):  # of those as near as the last one wanted, sort the oldest alone
            (tied,) = (bits == farthest).nonzero()
            needed = limit - (len(keys) - len(tied))
            kept = np.ones(len(keys), bool)
            kept[tied[np.argsort(keys[tied], kind="stable")[needed:]]] = False  # most are in order
            keys, bits, values = keys[kept], bits[kept], values[kept]
        order = np.lexsort((keys, bits))[:limit]
        hits = tuple(map(Hit, keys[order].tolist(), bits[order].tolist()))
        theirs = tuple(values[order].tolist())
        if total < CROWD:
            return Found(hits, total, False, theirs)
        everyone = np.concatenate((self.segment.values[entries], self.log.values[recent]))
        nearest = distances == bits.min()
        return Found(hits, total, _crowded(everyone[nearest], counts[nearest]), theirs)

    def _few(
        self,
        entries: Places,
        distances: Distances,
        starts: Places,
        ends: Places,
        logged: Near,
        limit: int,
    ) -> Found:
        """The same of a few that nothing was removed of: in plain Python, which then takes a third."""
        keys, values = self.segment.keys, self.segment.values
        found = [
            (bits, key, value)
            for bits, value, start, end in zip(
                distances.tolist(), values[entries].tolist(), starts.tolist(), ends.tolist(), strict=True
            )
            for key in keys[start:end].tolist()
        ]
        recent, recent_distances = logged
        found += zip(
            recent_distances.tolist(),
            self.log.keys[recent].tolist(),
            self.log.values[recent].tolist(),
            strict=True,
        )
        nearest = sorted(found)[:limit]
        hits = tuple(Hit(key, bits) for bits, key, _ in nearest)
        return Found(hits, len(found), False, tuple(value for _, _, value in nearest))


@dataclass(slots=True)
class _Buffer:
    """The rows of several logs. Rows below `filled` belong to a log and never change."""

    keys: Keys
    values: Values
    filled: int

    def grown(self, filled: int, capacity: int) -> "_Buffer":
        keys, values = np.empty(capacity, np.int64), np.empty(capacity, np.uint64)
        keys[:filled], values[:filled] = self.keys[:filled], self.values[:filled]
        return _Buffer(keys, values, filled)


def _empty_log() -> Log:
    return Log(np.empty(0, np.int64), np.empty(0, np.uint64))


def _farthest_needed(distances: Distances, counts: Places, wanted: int) -> int:
    """The smallest distance within which `wanted` pictures stand."""
    within = np.bincount(distances, counts, minlength=BITS + 1).cumsum()
    return int(np.searchsorted(within, wanted))


def _crowded(values: Values, counts: Places) -> bool:
    if (total := int(counts.sum())) < CROWD or (values == values[0]).all():
        return total >= CROWD
    _, which = np.unique(values, return_inverse=True)
    return bool(np.bincount(which, counts).max() >= CROWD)
