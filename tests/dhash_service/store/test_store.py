"""What a store promises, on both databases."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dhash_service.errors import (
    StoreAlgorithmError,
    StoreSchemaError,
    StoreUnreachableError,
    TakenDownError,
)
from dhash_service.facts import Algorithm, Sha256, Source
from dhash_service.pictures.fingerprint import VISUAL_FAST
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import (
    FAST,
    NEW,
    NOON,
    STEPS,
    Step,
    add,
    emptied,
    hide_image,
    in_search,
    picture,
    play,
    quarantine,
)

OpenStore = Callable[..., Store]


def test_a_picture_comes_back_as_it_went_in(store: Store) -> None:
    kept = picture("a", value=0xFFFF_FFFF_FFFF_FFFF)
    source = Source(Sha256("ab" * 32), 3, (0.5, 1.0, 200.25, 300.0))
    registered = store.add_image(kept, NEW, source).result(10)
    assert registered.created
    found = store.image(kept.id)
    assert found == registered.image
    assert found is not None
    assert found.fingerprint == kept.fingerprint
    assert found == store.by_sha256(kept.sha256)
    assert store.thumbnail(kept.id) == kept.thumbnail
    assert registered.lookup is not None
    lookup = store.lookup(registered.lookup)
    assert lookup is not None
    assert (lookup.image, lookup.match, lookup.source, lookup.release) == (kept.id, NEW, source, "r1")
    assert in_search(store) == {1: 0xFFFF_FFFF_FFFF_FFFF}
    assert store.images_by_key([1, 99]) == {1: found}
    assert store.count() == 1


def test_a_known_picture_adds_nothing(store: Store) -> None:
    first = store.add_image(picture("a"), NEW).result(10)
    again = store.add_image(picture("a"), NEW).result(10)
    assert (again.created, again.lookup, again.image) == (False, None, first.image)
    assert store.count() == 1


def test_one_picture_sent_by_many_at_once_is_kept_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        futures = list(threads.map(lambda _: store.add_image(picture("a"), NEW), range(50)))
    assert sum(future.result(10).created for future in futures) == 1
    assert store.count() == 1


def test_a_load_gives_each_key_its_value_also_where_numbers_are_missing(store: Store) -> None:
    images = [add(store, name) for name in "abcd"]
    values = dict(enumerate((each.fingerprint.value for each in images), 1))
    assert in_search(store) == values
    store.erase([images[1].id], "wrong", "ada", NOON)
    del values[2]
    assert in_search(store) == values
    store.erase([each.id for each in images], "wrong", "ada", NOON)
    assert in_search(store) == {}


def test_a_hidden_image_leaves_search_and_comes_back_when_an_admin_sends_it_again(store: Store) -> None:
    image = add(store, "a")
    add(store, "b")
    before = store.feed.changes(None)
    store.add_tombstone(hide_image(image)).result(10)
    assert store.image(image.id) is None
    assert store.thumbnail(image.id) is None
    assert store.count() == 1
    hidden = store.feed.changes(before.position)
    assert (hidden.removed.tolist(), hidden.keys.tolist()) == ([1], [])
    with pytest.raises(TakenDownError, match="asked for"):
        store.add_image(picture("a"), NEW).result(10)
    assert store.add_image(picture("a"), NEW, as_admin=True).result(10).created
    back = store.feed.changes(hidden.position)
    assert (back.removed.tolist(), back.keys.tolist()) == ([], [1])
    assert store.image(image.id) == image


def test_the_newest_tombstone_holds_even_if_its_clock_is_late(store: Store) -> None:
    image = add(store, "a")
    store.add_tombstone(hide_image(image)).result(10)
    lifted = store.add_tombstone(hide_image(image, hidden=False, at=NOON.replace(year=2020))).result(10)
    assert lifted.created_at > NOON
    assert store.image(image.id) == image


def test_a_quarantined_release_leaves_search_and_another_fingerprints_again_beside_it(
    open_store: OpenStore,
) -> None:
    bad, good = open_store("bad"), open_store("good")
    image = add(bad, "a")
    add(good, "b")
    before = good.feed.changes(None)
    good.add_tombstone(quarantine("bad")).result(10)
    assert good.image(image.id) is None
    assert good.count() == 1
    gone = good.feed.changes(before.position)
    assert gone.removed.tolist() == [1]
    again = good.add_image(picture("a"), NEW).result(10)
    assert again.created
    assert good.count() == 2
    came = good.feed.changes(gone.position)
    assert (came.keys.tolist(), came.removed.tolist()) == ([3], [])


def test_an_image_stands_in_search_once_after_its_quarantine_is_lifted(open_store: OpenStore) -> None:
    bad, good = open_store("bad"), open_store("good")
    image = add(bad, "a")
    good.add_tombstone(quarantine("bad")).result(10)
    add(good, "a")
    before = good.feed.changes(None)
    assert before.keys.tolist() == [2]
    good.add_tombstone(quarantine("bad", hidden=False)).result(10)
    lifted = good.feed.changes(before.position)
    assert (lifted.keys.tolist(), lifted.removed.tolist()) == ([1], [2])
    assert list(in_search(good)) == [1]
    assert good.count() == 1
    assert good.image(image.id) == image


def test_a_store_holds_one_algorithm_and_says_so(open_store: OpenStore) -> None:
    open_store()
    for other in (Algorithm("dhash-64", 1), Algorithm(FAST.name, 2)):
        with pytest.raises(StoreAlgorithmError, match="dhash-64-fast version 1"):
            open_store(algorithm=other)


def test_a_store_keeps_its_algorithm_where_none_is_set(open_store: OpenStore) -> None:
    assert open_store(algorithm=FAST).algorithm == FAST
    assert open_store(algorithm=None).algorithm == FAST


def test_a_new_store_is_visual_where_none_is_set(open_store: OpenStore) -> None:
    assert open_store(algorithm=None).algorithm == VISUAL_FAST
    assert open_store(algorithm=VISUAL_FAST).algorithm == VISUAL_FAST
    with pytest.raises(StoreAlgorithmError, match="dhash-64-visual-fast version 1"):
        open_store(algorithm=FAST)


def test_a_store_of_an_algorithm_of_the_future_is_refused(open_store: OpenStore) -> None:
    open_store(algorithm=Algorithm("dhash-128", 1))
    with pytest.raises(StoreAlgorithmError, match="does not know"):
        open_store(algorithm=None)


def test_a_store_that_is_not_there_is_not_made_by_opening_it(empty_url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreSchemaError, match="dhash db upgrade"):
        Store.open(empty_url, release="r1", algorithm=FAST)
    assert list(tmp_path.iterdir()) == []


def test_many_open_a_new_store_at_once(empty_url: str) -> None:
    def open_one(_: int) -> Store:
        return Store.open(empty_url, release="r1", algorithm=FAST, migrate=True)

    with ThreadPoolExecutor(4) as threads, contextlib.ExitStack() as stack:
        stores = [stack.enter_context(store) for store in threads.map(open_one, range(4))]
        for number, store in enumerate(stores):
            add(store, number)
        assert [store.count() for store in stores] == [4, 4, 4, 4]


def test_what_was_submitted_before_closing_is_written(open_store: OpenStore) -> None:
    store = open_store()
    futures = [store.add_image(picture(number), NEW) for number in range(500)]
    store.close()
    assert all(future.done() and future.result().created for future in futures)
    assert open_store().count() == 500


@pytest.fixture
def two_releases(open_store: OpenStore) -> tuple[Store, Store]:
    """Two releases with the same store open."""
    return open_store("r1"), open_store("r2")


@given(days=st.lists(STEPS, max_size=5))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_who_follows_the_feed_knows_what_who_reads_it_all_knows(
    days: list[list[Step]], two_releases: tuple[Store, Store]
) -> None:
    first, second = two_releases
    emptied(first)
    start = first.feed.changes(None)
    known: dict[int, int] = {}
    position = start.position
    for number, steps in enumerate(days):
        play((first, second)[number % 2], steps)
        changes = first.feed.changes(position)
        position = changes.position
        assert not set(changes.keys.tolist()) & set(changes.removed.tolist())
        for key in changes.removed.tolist():
            known.pop(key, None)
        known.update(zip(changes.keys.tolist(), changes.values.tolist(), strict=True))
        assert known == in_search(first)
        assert first.count() == len(known)
        images = first.images_by_key(list(known))
        assert len({image.id for image in images.values()}) == len(known)


def test_a_file_that_may_only_be_read_says_what_its_reader_lacks() -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "dhash.db"
        opened = {"url": f"sqlite:///{file}", "release": "r1", "algorithm": FAST}
        Store.open(**opened, migrate=True).close()  # type: ignore[arg-type]
        file.chmod(0o444)
        Path(name).chmod(0o555)
        user = os.geteuid()
        if user == 0:  # who may write everywhere
            os.seteuid(65534)
        try:
            with pytest.raises(StoreUnreachableError) as refused:
                Store.open(**opened)  # type: ignore[arg-type]
        finally:
            os.seteuid(user)
            Path(name).chmod(0o755)
        assert "ask a copy" in str(refused.value.hint)
