"""Every answer equals that of comparing with each fingerprint in turn, whatever was written before."""

import gc
import threading
import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhash_service.search import bank as bank_module
from dhash_service.search.bank import Bank
from dhash_service.search.index import CROWD, Found, HammingIndex, Hit
from dhash_service.search.segment import SMALL, Segment, scan

ALL_BITS = (1 << 64) - 1


def by_comparing(rows: dict[int, int], value: int, radius: int, limit: int) -> Found:
    """The oracle: no index at all."""
    distances = ((key, (known ^ value).bit_count()) for key, known in rows.items())
    near = [Hit(key, distance) for key, distance in distances if distance <= radius]
    near.sort(key=lambda hit: (hit.distance, hit.key))
    nearest = [rows[hit.key] for hit in near if hit.distance == near[0].distance]
    crowd = max((nearest.count(each) for each in set(nearest)), default=0)
    theirs = tuple(rows[hit.key] for hit in near[:limit])
    return Found(tuple(near[:limit]), len(near), crowd >= CROWD, theirs)


def index_of(rows: dict[int, int], **options: float) -> HammingIndex:
    index = HammingIndex(**options)  # type: ignore[arg-type]
    index.append(list(rows), list(rows.values()))
    return index


def flipped(value: int, bits: Iterable[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def family(random: np.random.Generator, parent: int, count: int, most: int) -> list[int]:
    return [
        flipped(parent, random.choice(64, random.integers(0, most + 1), replace=False).tolist())
        for _ in range(count)
    ]


# ---- whatever is written, in whatever order

values = st.one_of(
    st.integers(0, ALL_BITS),
    st.sampled_from([0, 1, ALL_BITS, 1 << 63, 0xFFFF, 0xFFFF << 48]),
    st.builds(flipped, st.just(0x0F1E2D3C4B5A6978), st.sets(st.integers(0, 63), max_size=12)),
)
keys = st.integers(-5, 60)
writes = st.one_of(
    st.tuples(st.just("append"), st.lists(keys, max_size=12)),
    st.tuples(st.just("remove"), st.lists(keys, max_size=6)),
    st.tuples(st.just("settle"), st.just([])),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(values, min_size=66, max_size=66),
    st.lists(writes, max_size=12),
    values,
    st.integers(0, 64),
    st.integers(1, 70),
)
def test_answers_equal_comparing_after_any_writes(
    value_of: list[int], done: list[tuple[str, list[int]]], asked: int, radius: int, limit: int
) -> None:
    index = HammingIndex(log_rows=4, log_share=0)
    rows: dict[int, int] = {}
    for write, its_keys in done:
        if write == "append":
            index.append(its_keys, [value_of[key] for key in its_keys])
            rows |= {key: value_of[key] for key in its_keys}
        elif write == "remove":
            index.remove(its_keys)
            rows = {key: value for key, value in rows.items() if key not in its_keys}
        else:
            index.settle()
        assert len(index) == len(rows)
        assert index.search(asked, radius, limit) == by_comparing(rows, asked, radius, limit)
    index.settle()
    assert index.search(asked, radius, limit) == by_comparing(rows, asked, radius, limit)
    assert index.nearest(asked, limit).hits == by_comparing(rows, asked, 64, limit).hits


# ---- with band tables: more than SMALL distinct values


def uniform(random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 1 << 64, 3 * SMALL, dtype=np.uint64)


def clustered(random: np.random.Generator) -> np.ndarray:
    parents = random.integers(0, 1 << 64, 3 * SMALL // 20, dtype=np.uint64)
    return np.array([v for p in parents.tolist() for v in family(random, p, 20, 8)], np.uint64)


def sharing_a_band(random: np.random.Generator) -> np.ndarray:
    return uniform(random) & np.uint64(0xFFFF_FFFF_0000_FFFF)


def of_few_bits(random: np.random.Generator) -> np.ndarray:
    return uniform(random) & uniform(random) & uniform(random)


@pytest.fixture(scope="module", params=[uniform, clustered, sharing_a_band, of_few_bits])
def large(request: pytest.FixtureRequest) -> Segment:
    values = request.param(np.random.default_rng(7))
    assert len(np.unique(values)) > SMALL
    return Segment(np.arange(len(values)), values)


def test_band_tables_find_what_comparing_finds_at_every_radius(large: Segment) -> None:
    random = np.random.default_rng(8)
    for radius in range(65):
        for known in random.choice(large.values, 6).tolist():
            for value in [known, *family(random, known, 2, min(64, radius + 1)), known ^ ALL_BITS]:
                entries, distances = large.within(value, radius)
                expected, expected_distances = scan(large.values, value, radius)
                assert np.array_equal(entries, expected)
                assert np.array_equal(distances, expected_distances)


def test_many_at_once_find_what_each_finds_alone(large: Segment) -> None:
    random = np.random.default_rng(9)
    near = [value for known in large.values[::500].tolist() for value in family(random, known, 2, 9)]
    asked = [*near, *uniform(random)[:40].tolist(), 0, ALL_BITS]
    for radius in (0, 3, 7, 10, 15, 18, 64):
        alone = [large.within(value, radius) for value in asked]
        for many in (1, 2, 37, len(asked)):
            together = large.within_many(asked[:many], radius)
            assert len(together) == many
            for (entries, distances), (expected, expected_distances) in zip(together, alone, strict=False):
                assert np.array_equal(entries, expected)
                assert np.array_equal(distances, expected_distances)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(0, 20))
def test_a_fingerprint_is_found_from_every_direction(data: st.DataObject, radius: int) -> None:
    segment = of_everything()
    entry = data.draw(st.integers(0, segment.distinct - 1))
    bits = data.draw(st.sets(st.integers(0, 63), min_size=radius, max_size=radius))
    entries, distances = segment.within(flipped(int(segment.values[entry]), bits), radius)
    assert distances[np.flatnonzero(entries == entry)].tolist() == [radius]


_everything: list[Segment] = []


def of_everything() -> Segment:
    if not _everything:
        random = np.random.default_rng(11)
        values = np.concatenate([bank(random) for bank in (uniform, clustered, sharing_a_band, of_few_bits)])
        _everything.append(Segment(np.arange(len(values)), values))
    return _everything[0]


def test_a_large_index_answers_like_comparing_through_removals_returns_and_rebuilds() -> None:
    random = np.random.default_rng(5)
    known = np.concatenate((uniform(random), np.repeat(uniform(random)[:50], 40)))
    rows = dict(enumerate(known.tolist()))
    index = index_of(rows)
    asked = random.choice(known, 4).tolist()

    def check() -> None:
        assert len(index) == len(rows)
        for value in asked:
            for radius, limit in ((0, 5), (10, 100), (24, 7)):
                assert index.search(value, radius, limit) == by_comparing(rows, value, radius, limit)
        for radius, limit in ((10, 100), (24, 7)):
            alone = [index.search(value, radius, limit) for value in asked]
            assert index.search_many(asked, radius, limit) == alone

    check()
    assert index.settle(60)
    assert index.rebuilds == 1
    check()
    gone = random.choice(len(known), 3000, replace=False).tolist()
    index.remove(gone)
    rows = {key: value for key, value in rows.items() if key not in set(gone)}
    check()
    back = {key: int(known[key]) for key in gone[:1000]}
    index.append(list(back), list(back.values()))
    rows |= back
    check()


# ---- small cases that must work


def test_an_empty_index_finds_nothing() -> None:
    assert HammingIndex().search(0, 64, 10) == Found((), 0, False, ())
    assert HammingIndex().nearest(0, 3) == Found((), 0, False, ())


def test_a_single_picture_is_found() -> None:
    index = index_of({7: 0xABCDEF})
    assert index.search(0xABCDEF, 0, 10).hits == (Hit(7, 0),)
    assert index.search(0xABCDEE, 1, 10).hits == (Hit(7, 1),)
    assert index.search(0xABCDEE, 0, 10).hits == ()
    assert index.nearest(0xABCDEF ^ ALL_BITS, 1).hits == (Hit(7, 64),)


def test_an_index_emptied_again_finds_nothing() -> None:
    index = index_of({1: 5, 2: 5}, log_rows=1)
    index.settle()
    index.remove([1, 2, 3])
    assert len(index) == 0
    assert index.search(5, 64, 10) == Found((), 0, False, ())


def test_adding_or_removing_twice_changes_nothing() -> None:
    index = index_of({1: 5, 2: 9})
    index.append([2, 1, 1], [9, 5, 5])
    assert len(index) == 2
    index.remove([1, 1])
    index.remove([1])
    assert len(index) == 1
    assert index.search(5, 0, 10).hits == ()


def test_arrays_given_may_be_reused_by_the_caller() -> None:
    index = HammingIndex()
    keys, values = np.array([1]), np.array([5], np.uint64)
    index.append(keys, values)
    keys[0], values[0] = 2, 6
    assert index.search(5, 0, 10).hits == (Hit(1, 0),)


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_a_value_that_is_no_fingerprint_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        HammingIndex().search(value, 10, 1)


def test_a_radius_or_limit_out_of_range_is_refused() -> None:
    for radius in (-1, 65):
        with pytest.raises(ValueError, match="radius"):
            HammingIndex().search(0, radius, 1)
    with pytest.raises(ValueError, match="At least one"):
        HammingIndex().search(0, 1, 0)


def test_keys_without_values_are_refused() -> None:
    with pytest.raises(ValueError, match="one value for each key"):
        HammingIndex().append([1, 2], [3])


# ---- crowds


def test_a_crowd_is_flagged_and_counted_across_segment_and_log() -> None:
    index = HammingIndex(log_rows=CROWD - 2)
    index.append(range(CROWD - 1), [5] * (CROWD - 1))
    assert index.settle(30)
    assert index.search(5, 10, 3) == Found((Hit(0, 0), Hit(1, 0), Hit(2, 0)), CROWD - 1, False, (5, 5, 5))
    index.append([-1], [5])
    assert index.search(5, 10, 3) == Found((Hit(-1, 0), Hit(0, 0), Hit(1, 0)), CROWD, True, (5, 5, 5))
    index.remove([1])
    assert index.search(5, 10, 3) == Found((Hit(-1, 0), Hit(0, 0), Hit(2, 0)), CROWD - 1, False, (5, 5, 5))


def test_of_many_as_near_the_oldest_are_found_in_whatever_order_they_came() -> None:
    random = np.random.default_rng(5)
    rows = {key: 1 << key % 3 for key in random.permutation(400).tolist()}
    index = index_of(rows)
    for limit in (1, 16, 100, 399):
        assert index.search(0, 1, limit) == by_comparing(rows, 0, 1, limit)
        assert index.search(1, 2, limit) == by_comparing(rows, 1, 2, limit)


def test_a_crowd_behind_the_nearest_is_no_matter() -> None:
    index = index_of(dict.fromkeys(range(CROWD), 5) | {-3: 4})
    assert index.search(4, 10, 2) == Found((Hit(-3, 0), Hit(0, 1)), CROWD + 1, False, (4, 5))


def test_a_crowd_is_never_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Bank.of(np.arange(300_000), np.full(300_000, 5, np.uint64))
    lengths: list[int] = []
    monkeypatch.setattr(
        bank_module, "spans", lambda starts, sizes: lengths.append(sizes.sum()) or np.repeat(starts, sizes)
    )
    assert crowd.search(5, 10, 10).total == 300_000
    assert lengths == [10]


# ---- while it changes


def test_searches_never_miss_what_was_written_before_while_segments_are_swapped() -> None:
    index = HammingIndex(log_rows=500, log_share=0)
    random = np.random.default_rng(3)
    values = random.integers(0, 1 << 64, 40_000, dtype=np.uint64)
    written = 0
    missed: list[int] = []
    stop = threading.Event()

    def search(seed: int) -> None:
        mine = np.random.default_rng(seed)
        while not stop.is_set():
            if known := written:
                key = int(mine.integers(known))
                if Hit(key, 0) not in index.search(int(values[key]), 4, 10).hits:
                    missed.append(key)

    threads = [threading.Thread(target=search, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    try:
        for start in range(0, len(values), 100):
            index.append(np.arange(start, start + 100), values[start : start + 100])
            written = start + 100
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert index.settle(60)
    assert index.rebuilds >= 1
    assert missed == []
    assert len(index) == len(values)


def test_what_is_written_during_a_rebuild_is_in_the_next_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    building, go_on = threading.Event(), threading.Event()
    rebuilt = Bank.rebuilt

    def slowly(bank: Bank) -> Bank:
        building.set()
        assert go_on.wait(30)
        return rebuilt(bank)

    monkeypatch.setattr(Bank, "rebuilt", slowly)
    index = index_of({1: 1, 2: 2, 3: 3}, log_rows=2)
    assert building.wait(30)
    index.remove([1, 2])
    index.append([2, 4], [2, 4])
    expected = by_comparing({2: 2, 3: 3, 4: 4}, 0, 64, 10)
    assert index.search(0, 64, 10) == expected
    assert not index.settle(0)
    go_on.set()
    assert index.settle(30)
    assert index.rebuilds == 1
    assert index.search(0, 64, 10) == expected


def test_a_rebuild_that_fails_loses_nothing_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rebuilt = Bank.rebuilt

    def without_memory(bank: Bank) -> Bank:
        raise MemoryError

    monkeypatch.setattr(Bank, "rebuilt", without_memory)
    index = index_of({1: 1, 2: 2, 3: 3}, log_rows=2)
    assert index.settle(30)
    assert index.rebuilds == 0
    monkeypatch.setattr(Bank, "rebuilt", rebuilt)
    index.append([4], [4])
    assert index.rebuilds == 0
    index.append([5], [5])
    assert index.settle(30)
    assert index.rebuilds == 1
    assert index.search(0, 64, 10) == by_comparing({n: n for n in range(1, 6)}, 0, 64, 10)


def test_memory_does_not_grow_over_a_hundred_rebuilds() -> None:
    random = np.random.default_rng(2)
    values = random.integers(0, 1 << 64, SMALL + 100, dtype=np.uint64)
    index = HammingIndex(log_rows=0, log_share=0)
    index.append(np.arange(len(values)), values)
    assert index.settle(30)
    held = []
    tracemalloc.start()
    try:
        for wanted in (10, 110):
            while index.rebuilds < wanted:
                index.remove([0])
                assert index.settle(30)
                index.append([0], values[:1])
                assert index.settle(30)
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[1] <= held[0] * 1.1  # a hundred of them would be ten times as much


def test_an_index_takes_at_most_60_bytes_a_fingerprint() -> None:
    count = 1_000_000
    index = HammingIndex()
    index.append(np.arange(count), np.random.default_rng(1).integers(0, 1 << 64, count, dtype=np.uint64))
    assert index.settle(60)
    assert index.nbytes / count <= 60
