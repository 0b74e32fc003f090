"""What neighbours say, and that nothing which speaks against a match ever makes it surer."""

from datetime import UTC, datetime
from math import comb, exp

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dhash_service.facts import Algorithm, Fingerprint, Image, Match, Neighbour, Sha256, Status, image_id
from dhash_service.search.confidence import (
    COPY,
    LEAST_KNOWN,
    LIKENESS,
    NOTICEABLE,
    SENTENCES,
    Reason,
    expected_by_chance,
    match,
)

ALGORITHM = Algorithm("dhash-64-fast", 1)
QUERY = 0x0F1E2D3C4B5A6978


def fingerprint(value: int = QUERY, quality: float = 1.0) -> Fingerprint:
    return Fingerprint(value, ALGORITHM, quality, (), 640, 480)


def neighbour(distance: int, *, first_bit: int = 0) -> Neighbour:
    """A known image whose fingerprint differs from the query's in `distance` bits from the given one on."""
    value = QUERY
    for bit in range(distance):
        value ^= 1 << (first_bit + bit) % 64
    sha256 = Sha256(f"{value:016x}" * 4)
    created = datetime(2024, 5, 1, tzinfo=UTC)
    return Neighbour(
        Image(image_id(sha256), sha256, "JPEG", 1000, fingerprint(value), "r1", created), distance
    )


def judged(
    *distances: int,
    quality: float = 1.0,
    known: int = 1000,
    radius: int = 10,
    review_below: float = 0.9,
    crowded: bool = False,
) -> Match:
    """A match among neighbours apart from each other: the first differs in low bits, others in high ones."""
    neighbours = [neighbour(d, first_bit=0 if i == 0 else 32) for i, d in enumerate(distances)]
    return match(
        neighbours,
        fingerprint(quality=quality),
        known,
        radius=radius,
        review_below=review_below,
        crowded=crowded,
    )


# ---- what is said


def test_a_near_picture_of_good_quality_is_matched_without_reservation() -> None:
    found = judged(2)
    assert (found.status, found.reasons, found.runner_up, found.known) == (Status.MATCHED, (), None, 1000)
    assert found.nearest == neighbour(2)
    assert found.confidence > 0.9999


def test_with_nothing_near_a_picture_is_new() -> None:
    found = judged()
    assert (found.status, found.confidence, found.reasons) == (Status.NEW, 1.0, ())
    assert (found.nearest, found.runner_up) == (None, None)


@pytest.mark.parametrize("quality", [0.0, 1.0])
def test_to_an_empty_store_every_picture_is_new(quality: float) -> None:
    found = judged(known=0, quality=quality, radius=0)
    assert (found.status, found.confidence, found.reasons) == (Status.NEW, 1.0, ())


def test_the_radius_itself_still_counts_and_one_bit_more_does_not() -> None:
    assert judged(10, radius=10).status is Status.MATCHED
    assert judged(11, radius=10).nearest is None
    assert judged(11, radius=10).status is Status.NEW


def test_among_ten_million_pictures_ten_bits_are_far_from_certain() -> None:
    found = judged(10, known=10_000_000)
    assert (found.status, found.reasons) == (Status.REVIEW, (Reason.FAR_FROM_CERTAIN,))
    assert judged(10, known=1_000_000).status is Status.MATCHED
    assert judged(6, known=10_000_000).status is Status.MATCHED


def test_a_flat_picture_goes_to_review_even_at_distance_zero_and_with_a_single_known_one() -> None:
    found = judged(0, quality=0.1, known=1)
    assert (found.status, found.reasons) == (Status.REVIEW, (Reason.LOW_QUALITY,))


def test_a_flat_picture_with_nothing_near_is_new_unless_the_radius_is_too_small_to_tell() -> None:
    assert judged(quality=0.1).status is Status.NEW
    narrow = judged(quality=0.1, radius=2)
    assert (narrow.status, narrow.reasons) == (Status.REVIEW, (Reason.LOW_QUALITY,))


def test_two_different_pictures_equally_near_leave_a_small_margin() -> None:
    found = judged(4, 4)
    assert (found.status, found.reasons, found.runner_up) == (Status.REVIEW, (Reason.SMALL_MARGIN,), 4)
    assert found.confidence == pytest.approx(0.5, abs=1e-6)
    assert judged(4, 8).status is Status.MATCHED


def test_copies_of_one_picture_leave_no_doubt_that_it_is_known() -> None:
    copies = [neighbour(3), neighbour(3), neighbour(5)]
    found = match(copies, fingerprint(), 1000, radius=10, review_below=0.9)
    assert (found.status, found.reasons, found.runner_up) == (Status.MATCHED, (), None)


def test_the_runner_up_stands_behind_the_copies_of_the_nearest() -> None:
    near = [neighbour(3), neighbour(4), neighbour(5, first_bit=32)]
    assert match(near, fingerprint(), 1000, radius=10, review_below=0.9).runner_up == 5
    at_the_edge = [neighbour(3), neighbour(COPY - 3, first_bit=32)]
    assert match(at_the_edge, fingerprint(), 1000, radius=10, review_below=0.9).runner_up is None


def test_a_crowd_goes_to_review() -> None:
    found = judged(0, crowded=True)
    assert (found.status, found.reasons) == (Status.REVIEW, (Reason.CROWDED,))


def test_the_weakest_point_is_the_first_reason() -> None:
    assert judged(5, 7, quality=0.5).reasons == (Reason.LOW_QUALITY, Reason.SMALL_MARGIN)
    assert judged(4, 4, quality=0.5).reasons == (Reason.SMALL_MARGIN, Reason.LOW_QUALITY)


def test_every_reason_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Reason)
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())


@pytest.mark.parametrize("distance", [0, 3, 10, 32, 64])
def test_chance_is_the_binomial_tail_times_the_known_images(distance: int) -> None:
    tail = sum(comb(64, k) for k in range(distance + 1)) / 2**64
    assert expected_by_chance(distance, 5_000_000) == pytest.approx(LIKENESS * 5_000_000 * tail)
    assert expected_by_chance(distance, 3) == pytest.approx(LIKENESS * LEAST_KNOWN * tail)
    if distance <= 10:
        assert judged(distance, known=5_000_000).confidence == pytest.approx(
            exp(-LIKENESS * 5_000_000 * tail)
        )


# ---- what may never happen

distances = st.integers(0, 32)
qualities = st.floats(0, 1)
sizes = st.integers(0, 10**9)


@given(distances, distances, qualities, sizes, st.none() | distances)
def test_a_farther_picture_is_never_surer_to_be_the_same(
    near: int, far: int, quality: float, known: int, runner_up: int | None
) -> None:
    assume(near <= far)
    others = [] if runner_up is None else [max(runner_up, far)]

    def at(distance: int) -> float:
        return judged(distance, *others, quality=quality, known=known, radius=32).confidence

    # Where the two are copies of each other there is no runner-up; compare like with like.
    assume(not others or near + others[0] > COPY)
    assert at(far) <= at(near)


@given(distances, qualities, sizes, sizes)
def test_more_known_pictures_never_make_a_match_surer(
    distance: int, quality: float, some: int, more: int
) -> None:
    few, many = sorted((some, more))

    def among(known: int) -> float:
        return judged(distance, quality=quality, known=known, radius=32).confidence

    assert among(many) <= among(few)


@given(st.none() | distances, qualities, qualities, sizes, st.integers(0, 32))
def test_lower_quality_never_makes_anything_surer(
    distance: int | None, one: float, other: float, known: int, radius: int
) -> None:
    low, high = sorted((one, other))
    near = () if distance is None else (distance,)

    def of(quality: float) -> float:
        return judged(*near, quality=quality, known=known, radius=radius).confidence

    assert of(low) <= of(high) * (1 + 1e-12)


@given(distances, distances, distances, qualities)
def test_a_nearer_runner_up_never_makes_a_match_surer(
    distance: int, one: int, other: int, quality: float
) -> None:
    near, far = sorted((max(one, distance), max(other, distance)))
    assume(distance + near > COPY)

    def with_runner_up(at: int) -> float:
        return judged(distance, at, quality=quality, radius=32).confidence

    assert (
        with_runner_up(near) <= with_runner_up(far) <= judged(distance, quality=quality, radius=32).confidence
    )


@given(
    st.lists(distances, max_size=4).map(sorted),
    qualities,
    sizes,
    st.integers(0, 32),
    st.floats(0, 1),
    st.booleans(),
)
def test_status_follows_confidence_and_a_review_has_a_reason(
    near: list[int], quality: float, known: int, radius: int, review_below: float, crowded: bool
) -> None:
    found = judged(
        *near, quality=quality, known=known, radius=radius, review_below=review_below, crowded=crowded
    )
    assert 0 <= found.confidence <= 1
    assert (found.status is Status.REVIEW) == (found.confidence < review_below)
    if found.status is Status.REVIEW:
        assert found.reasons
    else:
        within = [d for d in near if d <= radius]
        assert found.status is (Status.MATCHED if within else Status.NEW)
    if not found.reasons:
        assert found.confidence >= NOTICEABLE**4
    assert set(found.reasons) <= set(Reason)
