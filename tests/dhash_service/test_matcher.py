"""A match is judged by what the index holds; what is named was read from the store at that moment."""

from dataclasses import replace
from datetime import UTC, datetime

from dhash_service.facts import Image, Label, Match
from dhash_service.matcher import Matcher
from dhash_service.settings import Settings
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import FAST, NEW, hide_image, picture

LABEL = Label("a.jpg", "/b/a.jpg", ("y", "x"))


def opened(url: str) -> tuple[Store, Matcher]:
    """A store, and a matcher that has read it once and does not follow it."""
    store = Store.open(url, release="r1", algorithm=FAST)
    matcher = Matcher(store, Settings(store=url))  # type: ignore[arg-type]
    assert matcher.follower.catch_up()
    return store, matcher


def test_what_another_process_has_just_taken_down_is_not_named(store_url: str) -> None:
    with Store.open(store_url, release="r1", algorithm=FAST) as other:
        values = (0, 0b1, 0b11)
        near = [other.add_image(picture(value, value), NEW, None, LABEL).result(30).image for value in values]
        store, matcher = opened(store_url)
        with store:
            asked = picture("asked", 0).fingerprint
            assert nearest(matcher.match(asked)) == (near[0].id, 0, ("a.jpg",), ("x", "y"))
            for image in near[:2]:
                other.add_tombstone(hide_image(image, at=datetime.now(UTC))).result(30)
            assert len(matcher.index) == 3  # it does not know yet
            assert nearest(matcher.match(asked)) == (near[2].id, 2, ("a.jpg",), ("x", "y"))
            other.add_tombstone(hide_image(near[2], at=datetime.now(UTC))).result(30)
            assert matcher.match(asked).nearest is None


def nearest(match: Match) -> tuple[object, ...]:
    """The image that a match names, and what is said of it."""
    assert match.nearest is not None
    image = match.nearest.image
    return image.id, match.nearest.distance, image.names, image.tags


def test_what_was_read_is_not_read_again(store_url: str) -> None:
    store, matcher = opened(store_url)
    with store:
        known = store.add_image(picture("known", 0), NEW).result(30).image
        assert matcher.follower.catch_up()
        asked = picture("asked", 1).fingerprint
        read: dict[int, Image] = {}
        found = matcher.search_all([asked])
        (first,) = matcher.judge_all([asked], found, read=read)
        assert list(read.values()) == [known]
        (key,) = read
        store.see(known.id, LABEL).result(30)
        assert matcher.judge_all([asked], found, read=read) == [first]
        fresh = matcher.match(asked)
        assert fresh.nearest is not None
        assert fresh.nearest.image == replace(read[key], names=("a.jpg",), tags=("x", "y"), sightings=1)
