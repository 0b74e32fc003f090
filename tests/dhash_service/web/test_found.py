"""The words of the search page, and what it makes of what was typed: pure functions."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhash_service.facts import Image, Match, Neighbour, Status
from dhash_service.search.confidence import SENTENCES
from dhash_service.web.asked import Asked, Kind, kind_of
from dhash_service.web.found import Card, Told, sections, squares
from dhash_service.web.pages import short_release
from dhash_service.web.words import differ, headline, percent, sentences, size
from tests.dhash_service.store.facts import NOON, picture


def known(value: int = 0) -> Image:
    made = picture("a", value)
    return Image(made.id, made.sha256, "JPEG", 9, made.fingerprint, "r1", NOON)


def match(status: Status, distance: int | None, *reasons: str) -> Match:
    near = None if distance is None else Neighbour(known(), distance)
    return Match(status, 0.5, reasons, near, None, 10)


@pytest.mark.parametrize(
    ("judged", "says"),
    [
        (match(Status.NEW, None), "New: nothing known is within 10 bits"),
        (match(Status.MATCHED, 0, "known"), "Exact duplicate"),
        (match(Status.MATCHED, 0), "Known: the same fingerprint"),
        (match(Status.MATCHED, 1), "Known: 1 of 64 bits differs"),
        (match(Status.REVIEW, 7, "small_margin"), "Perhaps known: 7 of 64 bits differ"),
        (
            match(Status.REVIEW, None, "low_quality"),
            "Perhaps new: nothing known is near, which says little",
        ),
    ],
)
def test_what_matching_says_is_said_in_words(judged: Match, says: str) -> None:
    assert headline(judged, 10) == says


@pytest.mark.parametrize(
    ("release", "shown"),
    [
        ("1.4.0-3f2a91c0-0d4e15aa", ("3f2a91c0", False)),
        ("1.4.0-rc-1-3f2a91c0-dirty-0d4e15aa", ("3f2a91c0", True)),
        ("1.4.0-wheel-0d4e15aa", ("1.4.0-wheel-0d4e15aa", False)),
        ("development", ("development", False)),
    ],
)
def test_a_release_is_shown_by_its_commit(release: str, shown: tuple[str, bool]) -> None:
    assert short_release(release) == shown


def test_a_file_is_told_of_in_a_sentence_and_its_matches_in_three_parts() -> None:
    said = Told.of(match(Status.MATCHED, 0, "known"), known())
    assert said
    assert said.verb == "Exact duplicate of"
    assert Told.of(match(Status.NEW, None), None) is None
    cards = [Card.of(Neighbour(known(), distance), 0) for distance in (0, 0, 1, 6, 7, 20)]
    assert [(title, len(part)) for title, part in sections(cards)] == [
        ("Exact", 2),
        ("Very similar", 2),
        ("Maybe", 2),
    ]
    assert [card.alike for card in cards] == [100, 100, 98, 90, 89, 68]
    assert [size(number) for number in (999, 1000, 464_000, 2_340_000)] == [
        "999 B",
        "1.0 KB",
        "464 KB",
        "2.3 MB",
    ]


@pytest.mark.parametrize(
    ("typed", "kind"),
    [
        ("8f0f0f1f3f7fff00", Kind.HASH),
        ("0x12", Kind.HASH),
        ("8f0f0f1f3f7ff", Kind.HASH),  # meant to be one
        ("12345", Kind.NAME),
        ("beach", Kind.NAME),
        ("<b>x</b>", Kind.NAME),
        ("٠" * 16, Kind.NAME),
        ("AB" * 32, Kind.SHA256),
        ("0193D1F2-7c00-7000-8000-000000000000", Kind.ID),
    ],
)
def test_the_one_field_takes_what_it_is_given(typed: str, kind: Kind) -> None:
    assert kind_of(typed) is kind


def test_every_reason_has_a_sentence_of_its_own() -> None:
    reasons = [reason.value for reason in SENTENCES]
    said = sentences(reasons, ["tiny"])
    assert len(said) == len(set(said)) == len(reasons)  # all but `known`, which the headline says, and `tiny`
    assert all(sentence.endswith(".") for sentence in said)


@given(st.integers(0, 2**64 - 1))
def test_the_squares_of_a_fingerprint_are_its_set_bits(value: int) -> None:
    drawn = set()
    for piece in squares(value).split("M")[1:]:
        corner, _, run = piece.partition("h")
        column, row = map(int, corner.split())
        drawn |= {(row, column + step) for step in range(int(run.partition("v")[0]))}
    assert drawn == {
        (row, column) for row, column in product(range(8), range(8)) if value >> (63 - 8 * row - column) & 1
    }


@pytest.mark.parametrize(("share", "shown"), [(0.0, 0), (0.001, 1), (0.5, 50), (0.9999, 99), (1.0, 100)])
def test_only_certainty_is_a_hundred_percent(share: float, shown: int) -> None:
    assert percent(share) == shown


def test_distances_are_counted_in_bits() -> None:
    assert [differ(bits) for bits in (0, 1, 2)] == [
        "the same fingerprint",
        "1 of 64 bits differs",
        "2 of 64 bits differ",
    ]


@pytest.mark.parametrize("typed", ["8F0F0F1F3F7FFF00", " 8f0f0f1f3f7fff00\n", "0x8f0f0f1f3f7fff00"])
def test_a_hash_is_read_as_people_write_it(typed: str) -> None:
    assert Asked.read(typed, "", "", 10).value == 0x8F0F0F1F3F7FFF00


@given(st.text(max_size=40), st.text(max_size=12), st.text(max_size=12))
def test_whatever_is_typed_is_a_search_or_a_mistake(hash: str, radius: str, start: str) -> None:
    asked = Asked.read(hash, radius, start, 10)
    assert 0 <= asked.radius <= 32
    assert 0 <= asked.start <= 10_000
    assert (asked.mistake is None) == (asked.field is None)
    assert asked.value is None or asked.mistake is None


@pytest.mark.parametrize("radius", ["33", "-1", "x", "1e1", "²", "9" * 5000])
def test_a_radius_out_of_range_is_a_mistake(radius: str) -> None:
    asked = Asked.read("8f0f0f1f3f7fff00", radius, "", 10)
    assert (asked.field, asked.mistake) == ("radius", "Choose a radius from 0 to 32 bits.")
