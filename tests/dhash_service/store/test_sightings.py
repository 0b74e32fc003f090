"""Names, sources, documents and tags of pictures, on both databases."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from dhash_service.errors import BadRequestError
from dhash_service.facts import Label, Sha256, Source
from dhash_service.store.sightings import SightingFilter, file_label, label_of
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import NEW, NOON, add, hide_image, picture, quarantine, queued

PDF = Sha256("cd" * 32)


def keep(store: Store, which: str, source: str, *tags: str):  # type: ignore[no-untyped-def]
    return store.add_image(picture(which), NEW, label=label_of(None, source, tags)).result(10).image


def sources(store: Store, **filter: object) -> list[str]:
    return [each.source for each in store.sightings.page(SightingFilter(**filter)).sightings]  # type: ignore[arg-type]


def test_a_picture_is_found_by_parts_of_its_name_and_source_in_either_case(store: Store) -> None:
    keep(store, "a", "/2019/Beach/IMG_1.jpg")
    keep(store, "b", "/2020/Town/img_100%.jpg")
    assert sources(store, name="beach/") == ["/2019/Beach/IMG_1.jpg"]
    assert len(sources(store, name="IMG_1")) == 2
    assert sources(store, name="100%") == ["/2020/Town/img_100%.jpg"]
    assert sources(store, name="nowhere") == []


def test_known_bytes_seen_elsewhere_are_another_sighting_and_seen_again_are_none(
    open_store: Callable[..., Store],
) -> None:
    store, other = open_store(), open_store("r2")
    image = keep(store, "a", "/x/a.jpg", "trip")
    keep(other, "a", "/y/b.jpg", "trip", "best")
    keep(other, "a", "/y/b.jpg")
    store.see(image.id, Label("scan.pdf"), Source(PDF, 3, (0, 0, 1, 1))).result(10)
    (named,) = store.sightings.named([image])
    assert (named.sightings, named.names, named.tags) == (3, ("a.jpg", "b.jpg", "scan.pdf"), ("best", "trip"))
    assert sources(store, document=PDF) == [""]
    assert store.sightings.page(SightingFilter(document=PDF)).sightings[0].page == 3


def test_tags_are_whole_words_for_the_picture(store: Store) -> None:
    keep(store, "a", "/a.jpg", "logo")
    keep(store, "b", "/b.jpg", "logos")
    assert sources(store, tag="logo") == ["/a.jpg"]


def test_what_is_out_of_search_is_not_shown_and_comes_back_with_its_names(store: Store) -> None:
    image = keep(store, "a", "/a.jpg", "logo")
    store.add_tombstone(hide_image(image)).result(10)
    assert sources(store) == sources(store, tag="logo") == []
    store.add_tombstone(hide_image(image, hidden=False)).result(10)
    assert sources(store) == ["/a.jpg"]


def test_the_names_of_what_a_quarantined_release_wrote_are_not_shown(store: Store) -> None:
    image = store.add_image(picture("q"), NEW, label=label_of("q.jpg", "/q.jpg", ["q"])).result(10).image
    store.add_tombstone(quarantine(image.release)).result(10)
    assert store.sightings.page(SightingFilter("q.jpg")).sightings == []
    store.add_tombstone(quarantine(image.release, hidden=False, at=NOON + timedelta(1))).result(10)
    assert [each.name for each in store.sightings.page(SightingFilter("q.jpg")).sightings] == ["q.jpg"]


def test_pages_meet_every_sighting_once(store: Store) -> None:
    image = add(store, "a")
    for number in range(23):
        store.see(image.id, Label(f"{number}.jpg", f"/{number}.jpg")).result(10)
    found, cursor = [], None
    while True:
        page = store.sightings.page(SightingFilter(image=image.id), cursor, 5)
        found += [each.source for each in page.sightings]
        if (cursor := page.after) is None:
            break
    assert sorted(found) == sorted(f"/{number}.jpg" for number in range(23))


def test_a_lookups_pictures_come_with_their_names(store: Store) -> None:
    known = keep(store, "known", "/known.jpg")
    lookup = queued(store, "b", known)
    (found,), images = store.pictured([store.lookup(lookup)])
    assert found.match.nearest.image.names == ("known.jpg",)
    assert images[picture("b").id].names == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "a\0b"}, "cannot be shown"),
        ({"name": "a\ud800"}, "cannot be shown"),
        ({"source": "x" * 4097}, "4,097 characters"),
        ({"tags": ["  "]}, "A tag is empty"),
        ({"tags": [str(n) for n in range(21)]}, "21 tags"),
        ({"tags": ["\x1b[31m"]}, "cannot be shown"),
    ],
)
def test_hostile_words_are_refused_in_words(given: dict[str, object], said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        label_of(**given)  # type: ignore[arg-type]


def test_a_files_own_name_is_made_fit_rather_than_refused() -> None:
    assert file_label("C:\\Users\\me\\b\x07.png").name == "b\ufffd.png"
    assert file_label("../" * 9 + "x" * 300 + ".png").name == "x" * 251 + ".png"
    assert not file_label(None)
