"""An immutable set of fingerprints in which all within a Hamming radius are found exactly.

Multi-index hashing (Norouzi, Punjani, Fleet: "Fast Exact Search in Hamming Space with Multi-Index
Hashing", TPAMI 2014): a value is four bands of 16 bits, and each band has a table of all values sorted by
that band. Values within radius r cannot differ much in every band: for any four probe radii t₀…t₃ (-1 skips a
band) that add up to r - 3, some band b differs in at most t_b bits (the general pigeonhole principle of Qin
et al.: "GPH: Similarity Search in Hamming Space", ICDE 2018). So probing each band at its radius misses
nothing, and the radii are free to avoid a band that much of the bank has in common. Where even the best
choice costs more than comparing with every value, every value is compared.

Pictures that share a fingerprint are one entry here, however many they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
Values = NDArray[np.uint64]
Places = NDArray[np.int64]
Numbers = NDArray[np.int64] | NDArray[np.int32]
Distances = NDArray[np.uint8]
Near = tuple[Places, Distances]

BITS = 64
BANDS = 4
CODES = 1 << 16  # per band
WIDEST = 4  # bits of a band that a probe may differ in; beyond, comparing everything is cheaper
SMALL = 16_384  # values: below, comparing everything takes less time than one probe
CHUNK = 65_536  # values compared at once: fits the cache
BLOCK = 8  # values fetched together, 64 bytes: where a code's values stand, some of its neighbours' are met

# What things cost, in units of comparing one more value in a row (0.5 ns where this was measured).
FETCH = 38.0  # of a block
PROBE = 50.0
THINKING = 1_000_000.0  # above this, a look at wider probes is worth its 0.1 ms

_SHIFTS = (48, 32, 16, 0)
_SHIFTS_OF_64 = np.array(_SHIFTS, np.uint64)[:, None]
_LAST_CODE = np.uint64(CODES - 1)
_FIRST_CODES = (np.arange(BANDS) * CODES)[:, None]
_NUMBERS = np.arange(CODES, dtype=np.uint16)
_MASKS = np.argsort(np.bitwise_count(_NUMBERS), kind="stable")  # all 16-bit masks, those of fewer bits first
_WITHIN = (0, 1, 17, 137, 697, 2517)  # how many masks have at most -1, 0, 1, 2, 3, 4 bits
_ENDS = np.array(_WITHIN)


class Segment:
    """Fingerprints `values` (uint64[N]) with their keys (int64[N]), in any order, each key once.

    Takes at most 52 bytes a fingerprint and 2 MB. Pictures stand in order of value, then key; a *place* is an
    index into `keys`, an *entry* an index into `values`, which holds each distinct value once.
    """

    def __init__(self, keys: Keys, values: Values) -> None:
        order = np.argsort(values)
        values, self.keys = values.take(order), keys.take(order)
        del order
        repeats = np.flatnonzero(values[1:] == values[:-1]) + 1  # places that share the value before them
        self._shared, counts = np.unique(repeats - np.arange(1, len(repeats) + 1), return_counts=True)
        self._surplus = np.concatenate(([0], counts.cumsum()))
        if len(repeats):
            _sort_within(self.keys, self._shared + self._surplus[:-1], counts + 1)
            values = np.delete(values, repeats)
        self.newest = newest_of(keys)
        self.distinct = len(values)
        if self.distinct < SMALL:
            self._tables, self._entries, self._reaches = values, _NO_ENTRIES, None
        else:
            self._tables, self._entries, self._reaches = _band_tables(values)

    @classmethod
    def empty(cls) -> Self:
        return cls(np.empty(0, np.int64), np.empty(0, np.uint64))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def values(self) -> Values:
        """The distinct values, ascending: the table of the first band."""
        return self._tables.ravel()[: self.distinct]

    @property
    def nbytes(self) -> int:
        reaches = 0 if self._reaches is None else self._reaches.nbytes
        parts = (self.keys, self._tables, self._entries, self._shared, self._surplus)
        return reaches + sum(part.nbytes for part in parts)

    def places(self, entries: Places) -> tuple[Places, Places]:
        """The start and end in `keys` of each entry's pictures."""
        ends = entries + 1 + self._surplus[np.searchsorted(self._shared, entries, side="right")]
        return entries + self._surplus[np.searchsorted(self._shared, entries)], ends

    def find(self, keys: Keys, values: Values) -> Places:
        """The place of each (key, value), -1 where there is none."""
        if not len(self):
            return np.full(len(keys), -1, np.int64)
        entries = np.minimum(np.searchsorted(self.values, values), self.distinct - 1)
        low, high = self.places(entries)
        high = np.where(self.values[entries] == values, high, low)
        ends = high
        while np.any(searching := low < high):
            middle = (low + high) // 2
            below = searching & (self.keys[np.minimum(middle, len(self) - 1)] < keys)
            low = np.where(below, middle + 1, low)
            high = np.where(searching & ~below, middle, high)
        there = (low < ends) & (self.keys[np.minimum(low, len(self) - 1)] == keys)
        return np.where(there, low, -1)

    def everything(self) -> Values:
        """The value of each place (uint64[N])."""
        starts, ends = self.places(np.arange(self.distinct))
        return np.repeat(self.values, ends - starts)

    def within(self, value: int, radius: int) -> Near:
        """The entries that differ from `value` in at most `radius` bits, ascending, and in how many."""
        blocks = self._blocks(value, radius)
        if blocks is None:
            return scan(self.values, value, radius)
        distances = np.bitwise_count(self._tables.take(blocks, axis=0) ^ np.uint64(value)).ravel()
        (near,) = (distances <= radius).nonzero()
        return self._entries_at(blocks[near // BLOCK] * BLOCK + near % BLOCK, distances[near])

    def within_many(self, values: Sequence[int], radius: int) -> list[Near]:
        """The same for each of a few values, in less time: where to look is looked up for all of them."""
        asked = np.array(values, np.uint64)
        if self._reaches is None or radius // BANDS > WIDEST:
            return [scan(self.values, value, radius) for value in values]
        choices = _choices(radius, radius // BANDS)
        codes = (asked >> _SHIFTS_OF_64 & _LAST_CODE).astype(np.int64) + _FIRST_CODES
        probes = codes[:, :, None] ^ _MASKS[: _WITHIN[radius // BANDS + 1]]
        reaches = self._reaches.take(probes, axis=0)
        starts, lengths = reaches[..., 0], reaches[..., 1]
        radii, costs = choices.cheapest_of_many(lengths)
        ordinary = costs < min(THINKING, self.distinct)  # others are worth a look each
        lengths[np.arange(lengths.shape[2]) >= _ENDS[radii + 1][:, :, None]] = 0
        lengths[:, ~ordinary] = 0
        met = lengths.sum(axis=2).ravel() * BLOCK
        blocks = spans(starts.ravel(), lengths.ravel())
        theirs = self._tables.take(blocks, axis=0).ravel()
        theirs ^= np.tile(asked, BANDS).repeat(met)
        distances = np.bitwise_count(theirs)
        (near,) = (distances <= radius).nonzero()
        askers = np.searchsorted(met.cumsum(), near, side="right") % len(asked)
        candidates, distances = blocks[near // BLOCK] * BLOCK + near % BLOCK, distances[near]
        return [
            self._entries_at(candidates[askers == asker], distances[askers == asker])
            if ordinary[asker]
            else self.within(int(value), radius)
            for asker, value in enumerate(asked)
        ]

    def _entries_at(self, places: Places, distances: Distances) -> Near:
        """The entries at these places in the tables, ascending and each once, with their distances."""
        if not len(places):  # as nearly always, and finding that out would take an eighth of a search
            return _NOTHING_NEAR
        elsewhere = np.flatnonzero(places >= self.distinct)
        places[elsewhere] = self._entries[places[elsewhere] - self.distinct]
        entries, once = np.unique(places, return_index=True)
        return entries, distances[once]

    def _blocks(self, value: int, radius: int) -> Places | None:
        """The blocks of the tables with all that may be within the radius; None where a scan is cheaper."""
        if self._reaches is None:
            return None
        codes = np.array([(value >> shift & 0xFFFF) + CODES * i for i, shift in enumerate(_SHIFTS)])[:, None]
        enough = radius // BANDS
        for reach in (enough, enough + 1):
            if reach > WIDEST:
                return None
            probes = codes ^ _MASKS[: _WITHIN[reach + 1]]
            reaches = self._reaches.take(probes, axis=0)
            starts, lengths = reaches[..., 0], reaches[..., 1]
            radii, cost = _choices(radius, reach).cheapest(lengths)
            if cost < THINKING:
                break
        if cost >= self.distinct:
            return None
        for band, probe_radius in enumerate(radii):
            lengths[band, _WITHIN[probe_radius + 1] :] = 0
        return spans(starts.ravel(), lengths.ravel())


def newest_of(keys: Keys) -> int:
    """The largest key; one below any where there is none."""
    return int(keys.max(initial=np.iinfo(np.int64).min))


def scan(values: Values, value: int, radius: int) -> Near:
    """Compare with every value: the indices of those within the radius, ascending, and their distances."""
    found, near = [], []
    for start in range(0, len(values), CHUNK):
        distances = np.bitwise_count(values[start : start + CHUNK] ^ np.uint64(value))
        (places,) = (distances <= radius).nonzero()  # `flatnonzero` takes longer to begin than this to end
        if len(places):
            found.append(places + start)
            near.append(distances[places])
    if not found:
        return _NOTHING_NEAR
    return np.concatenate(found), np.concatenate(near)


def spans(starts: Numbers, lengths: Numbers) -> Places:
    """The numbers start … start + length - 1 of every span, one after another."""
    ends = lengths.cumsum()
    numbers = np.repeat(starts - ends + lengths, lengths)
    numbers += np.arange(len(numbers))
    return numbers


_NO_ENTRIES = np.empty(0, np.uint32)
_NOTHING_NEAR: Near = (np.empty(0, np.int64), np.empty(0, np.uint8))


def _band_tables(values: Values) -> tuple[Values, NDArray[np.uint32], NDArray[np.int32]]:
    """The four tables end to end, in blocks; the entries behind the last three; each code's first block, and
    in how many its values stand. The last block is filled up with the last value."""
    count = len(values)
    end = BANDS * count
    tables = np.empty(end + -end % BLOCK, np.uint64)
    entries = np.empty(len(tables) - count, np.uint32)
    reaches = np.empty((BANDS * CODES, 2), np.int32)
    tables[:count] = values
    for band in range(BANDS):
        codes = values.astype("<u8", copy=False).view("<u2")[BANDS - 1 - band :: BANDS].astype(np.uint16)
        if band:
            order = np.argsort(codes, kind="stable")  # of 16-bit numbers: a radix sort
            values.take(order, out=tables[band * count : (band + 1) * count], mode="clip")
            entries[(band - 1) * count : band * count] = order
            codes = codes.take(order)
        ends = band * count + np.searchsorted(codes, _NUMBERS, side="right")
        starts = np.concatenate(([band * count], ends[:-1]))
        first = starts // BLOCK
        here = reaches[band * CODES : (band + 1) * CODES]
        here[:, 0], here[:, 1] = first, np.where(ends > starts, -(-ends // BLOCK) - first, 0)
    tables[end:], entries[end - count :] = tables[end - 1], entries[end - count - 1]
    return tables.reshape(-1, BLOCK), entries, reaches


def _sort_within(keys: Keys, starts: Places, sizes: Places) -> None:
    """Sort the keys of each span in place."""
    places = spans(starts, sizes)
    keys[places] = keys[places][np.lexsort((keys[places], np.repeat(starts, sizes)))]


@dataclass(frozen=True, slots=True)
class _Choices:
    """Every four probe radii, none above some reach, that together miss nothing within some search radius."""

    radii: tuple[tuple[int, ...], ...]
    included: NDArray[
        np.float64
    ]  # [choice, band and mask weight]: whether it probes with masks of that weight
    probing: NDArray[np.float64]  # [choice]: cost of the probes alone

    def cheapest(self, lengths: Numbers) -> tuple[tuple[int, ...], float]:
        """The choice with the least to look at, where probe [band, mask] meets `lengths` blocks; its cost."""
        reach = self.included.shape[1] // BANDS - 1
        met = np.add.reduceat(lengths, _WITHIN[: reach + 1], axis=1)
        costs = self.included @ met.ravel() * FETCH + self.probing
        best = int(costs.argmin())
        return self.radii[best], float(costs[best])

    def cheapest_of_many(self, lengths: Numbers) -> tuple[Places, NDArray[np.float64]]:
        """The same of many values, by `lengths` [band, value, mask]: radii [band, value], costs [value]."""
        reach = self.included.shape[1] // BANDS - 1
        met = np.add.reduceat(lengths, _WITHIN[: reach + 1], axis=2).transpose(0, 2, 1)
        met = met.reshape(self.included.shape[1], -1)
        costs = self.included @ met * FETCH + self.probing[:, None]
        return np.array(self.radii)[costs.argmin(axis=0)].T, costs.min(axis=0)


@lru_cache(maxsize=BITS * (WIDEST + 1))
def _choices(radius: int, reach: int) -> _Choices:
    each_radius = range(-1, reach + 1)
    radii = [each for each in product(each_radius, repeat=BANDS) if sum(each) == radius - (BANDS - 1)]
    included = [[weight <= probe for probe in each for weight in range(reach + 1)] for each in radii]
    probing = [PROBE * sum(_WITHIN[probe + 1] for probe in each) for each in radii]
    return _Choices(tuple(radii), np.array(included, np.float64), np.array(probing))
