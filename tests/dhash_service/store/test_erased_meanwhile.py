"""A picture that is erased between the moment it was found and the moment something is written about it."""

from datetime import timedelta

import pytest

from dhash_service.errors import TakenDownError
from dhash_service.facts import Label, new_id
from dhash_service.store.leases import Request
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import NOON, add, picture, queued, review
from tests.dhash_service.store.test_leases import signed_in


def test_only_what_was_said_of_it_is_dropped(store: Store) -> None:
    gone, stays = add(store, "gone"), add(store, "stays")
    asked = queued(store, "asked", stays)
    lost = queued(store, "lost", gone)
    assert store.erase([gone.id, picture("lost").id], "asked for", "ada", NOON) == 2

    with pytest.raises(TakenDownError):
        store.see(gone.id, Label("sea.jpg")).result(10)
    store.see(stays.id, Label("sea.jpg")).result(10)

    near = store.add_image(picture("near"), review(gone)).result(10)
    assert (near.created, near.match.nearest) == (True, None)
    assert near.lookup
    assert [each.match.nearest for each in store.queue.waiting([near.lookup]).values()] == [None]

    files = {new_id(): gone.id, new_id(): stays.id}
    store.files.add(files).result(10)
    assert list(store.files.images(list(files)).values()) == [stays.id]

    mine = signed_in(store, "rita")
    wanted = Request(mine, [lost, asked], 2, NOON, NOON + timedelta(minutes=5))
    assert [claim.lookup for claim in store.leases.take(wanted).result(10)] == [asked]
