"""Browsing in the order that pictures came, on both databases."""

from datetime import UTC, datetime, timedelta

from dhash_service.store.added import AddedFilter
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import NEW, hide_image, picture
from tests.dhash_service.store.test_sightings import keep


def names(store: Store, **filter: object) -> list[str]:
    return [image.names[0] for image in store.added.page(AddedFilter(**filter)).images]  # type: ignore[arg-type]


def test_pictures_are_browsed_by_name_tag_time_and_id_the_newest_first(store: Store) -> None:
    kept = [keep(store, name, f"/album/{name}.jpg", tag) for name, tag in (("sea", "trip"), ("hill", "home"))]
    store.add_image(picture("unnamed"), NEW).result(10)
    assert len(store.added.page(AddedFilter()).images) == 3
    assert names(store, name="ALBUM/") == ["hill.jpg", "sea.jpg"]
    assert names(store, tag="trip") == ["sea.jpg"]
    assert names(store, images=[kept[1].id]) == ["hill.jpg"]
    assert names(store, images=[]) == []
    now = datetime.now(UTC)
    assert names(store, name="sea", since=kept[0].created_at, until=now + timedelta(days=1)) == ["sea.jpg"]
    assert names(store, until=kept[0].created_at) == []
    assert store.added.tags(10) == ["home", "trip"]
    store.add_tombstone(hide_image(kept[1])).result(10)
    assert names(store, name="album") == ["sea.jpg"]


def test_pages_go_on_where_the_last_one_ended(store: Store) -> None:
    for number in range(5):
        keep(store, f"p{number}", f"/{number}.jpg")
    first = store.added.page(AddedFilter(), limit=3)
    rest = store.added.page(AddedFilter(), first.after, limit=3)
    assert [image.names[0] for image in (*first.images, *rest.images)] == [
        f"{n}.jpg" for n in (4, 3, 2, 1, 0)
    ]
    assert rest.after is None
