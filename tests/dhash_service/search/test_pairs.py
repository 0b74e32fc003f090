"""All pairs of near fingerprints: equal to comparing each with each."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhash_service.search.pairs import components, connect, cost, join_masks, near_pairs, read_parquet

near = st.builds(
    lambda value, turned: value ^ turned, st.sampled_from([0, 2**64 - 1, 0xA5A5 << 20]), st.integers(0, 2**12)
)


def brute(values: np.ndarray, radius: int) -> list[tuple[int, int]]:  # type: ignore[type-arg]
    one, other = np.nonzero(np.triu(np.bitwise_count(values[:, None] ^ values[None, :]) <= radius, 1))
    return list(zip(one.tolist(), other.tolist(), strict=True))


@given(values=st.lists(near | st.integers(0, 2**64 - 1), max_size=60), radius=st.integers(0, 8))
@settings(max_examples=60, deadline=None)
def test_the_pairs_are_those_of_brute_force(values: list[int], radius: int) -> None:
    distinct = np.unique(np.array(values, np.uint64))
    one, other = near_pairs(distinct, radius)
    assert list(zip(one.tolist(), other.tolist(), strict=True)) == brute(distinct, radius)


@pytest.mark.parametrize("radius", [2, 4, 8])
def test_the_pairs_among_thousands_are_those_of_brute_force_in_little_memory(
    radius: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(radius)
    values = random.integers(0, 2**64, 4_000, dtype=np.uint64)
    for _ in range(radius):
        values[2_000:] = values[:2_000] if _ == 0 else values[2_000:]
        values[2_000:] ^= np.uint64(1) << random.integers(0, 64, 2_000).astype(np.uint64)
    distinct = np.unique(values)
    one, other = near_pairs(distinct, radius, memory=64 * 1024**2, folder=tmp_path)
    assert list(zip(one.tolist(), other.tolist(), strict=True)) == brute(distinct, radius)
    assert len(one) > 1_000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("radius", "count"), itertools.product((1, 4, 8), (10, 1_000_000, 100_000_000)))
def test_any_turned_bits_within_the_radius_leave_one_join_whole(radius: int, count: int) -> None:
    masks = list(join_masks(radius, count))
    random = np.random.default_rng(1)
    for _ in range(300):
        turned = sum(1 << int(bit) for bit in random.choice(64, radius, replace=False))
        assert any(not turned & mask for mask in masks)


def test_more_fingerprints_are_joined_on_more_bits() -> None:
    fewest = [min(mask.bit_count() for mask in join_masks(4, count)) for count in (1_000, 1_000_000, 10**9)]
    assert fewest == sorted(fewest)
    assert fewest[0] < fewest[-1]
    assert cost(4, 2, 1_000_000) < cost(4, 1, 1_000_000)


@given(pairs=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_components_are_what_walking_along_the_pairs_reaches(pairs: list[tuple[int, int]]) -> None:
    one, other = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    reached = {place: {place} for place in range(30)}
    for _ in range(30):
        for a, b in pairs:
            union = reached[a] | reached[b]
            for member in union:
                reached[member] = union
    assert components(30, one, other).tolist() == [min(reached[place]) for place in range(30)]


def test_a_parquet_file_has_ids_and_hashes_as_digits_or_numbers(tmp_path: Path) -> None:
    connection = connect(64 * 1024**2, tmp_path)
    file = tmp_path / "known.parquet"
    connection.execute(f"COPY (SELECT 'a' AS id, 'ffffffffffffffff' AS hash) TO '{file}'")
    assert read_parquet(file)[1].tolist() == [2**64 - 1]
    connection.execute(f"COPY (SELECT 7 AS id, 18446744073709551615::UBIGINT AS hash) TO '{file}'")
    ids, values = read_parquet(file)
    assert (ids, values.tolist()) == (["7"], [2**64 - 1])
