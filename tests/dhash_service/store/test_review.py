"""The review queue, decisions and tokens, on both databases."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest

from dhash_service.errors import BadRequestError, NotFoundError
from dhash_service.facts import Role, Sha256, Source, Token, Verdict, new_id
from dhash_service.store.review import Filter
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import (
    NOON,
    add,
    decision,
    hide_image,
    picture,
    quarantine,
    queued,
    review,
)

OpenStore = Callable[..., Store]
DOCUMENT = Sha256("cd" * 32)


def waiting(store: Store, **filters: object) -> list[UUID]:
    """The whole queue, read in small pages."""
    wanted = Filter(**filters)  # type: ignore[arg-type]
    found: list[UUID] = []
    page = store.queue.page(wanted, limit=2)
    while True:
        assert len(page.lookups) <= 2
        found += [lookup.id for lookup in page.lookups]
        if page.after is None:
            return found
        page = store.queue.page(wanted, page.after, 2)


def test_the_queue_holds_what_nobody_has_decided_the_oldest_first(store: Store) -> None:
    known = add(store, "known")
    lookups = [queued(store, number, known, "close") for number in range(5)]
    assert waiting(store) == sorted(lookups)
    store.verdicts.record(decision(lookups[2])).result(10)
    assert waiting(store) == sorted(set(lookups) - {lookups[2]})
    status = store.queue.status()
    assert (status.length, status.reasons) == (4, {"close": 4})
    assert status.oldest is not None


def test_an_empty_queue_has_no_oldest(store: Store) -> None:
    add(store, "known")
    status = store.queue.status()
    assert (status.length, status.reasons, status.oldest) == (0, {}, None)
    assert waiting(store) == []


def test_a_queued_lookup_carries_what_a_person_needs(store: Store) -> None:
    known = add(store, "known")
    source = Source(DOCUMENT, 4, (1, 2, 3, 4))
    id = queued(store, "a", known, "close", "flat", source=source)
    (lookup,) = store.queue.page().lookups
    assert lookup.id == id
    assert lookup.match == review(known, "close", "flat")
    assert lookup.source == source
    assert lookup.image == picture("a").id
    assert store.lookup(id) == lookup


def test_the_queue_is_filtered_by_reason_document_and_age(store: Store) -> None:
    known = add(store, "known")
    flat = queued(store, "a", known, "flat")
    both = queued(store, "b", known, "flat", 'od"d %_ re\\ason', source=Source(DOCUMENT, 1, (0, 0, 1, 1)))
    assert waiting(store, reason="flat") == [flat, both]
    assert waiting(store, reason='od"d %_ re\\ason') == [both]
    assert waiting(store, reason="fl") == []
    assert waiting(store, reason="%") == []
    assert waiting(store, document=DOCUMENT) == [both]
    assert waiting(store, document=Sha256("00" * 32)) == []
    lookup = store.lookup(both)
    assert lookup is not None
    assert waiting(store, older_than=lookup.created_at) == [flat]
    assert waiting(store, older_than=lookup.created_at + timedelta(seconds=1)) == [flat, both]
    assert store.queue.status().reasons == {"flat": 2, 'od"d %_ re\\ason': 1}


def test_a_lookup_leaves_with_its_image_or_its_nearest_and_returns_with_them(store: Store) -> None:
    known, other = add(store, "known"), add(store, "other")
    first, second = queued(store, "a", known), queued(store, "b", other)
    store.add_tombstone(hide_image(known)).result(10)
    assert waiting(store) == [second]
    image = store.image(picture("b").id)
    assert image is not None
    store.add_tombstone(hide_image(image)).result(10)
    assert waiting(store) == []
    assert store.queue.status().length == 0
    store.add_tombstone(hide_image(known, hidden=False)).result(10)
    assert waiting(store) == [first]
    assert store.lookup(second) is not None


def test_a_quarantine_takes_a_releases_lookups_out_of_the_queue(open_store: OpenStore) -> None:
    good, bad = open_store("good"), open_store("bad")
    known = add(good, "known")
    kept = queued(good, "a", known)
    queued(bad, "b", known)
    by_bad = add(bad, "c")
    queued(good, "d", by_bad)
    assert good.queue.status().length == 3
    good.add_tombstone(quarantine("bad")).result(10)
    assert waiting(good) == [kept]
    assert good.queue.status().length == 1
    good.add_tombstone(quarantine("bad", hidden=False)).result(10)
    assert good.queue.status().length == 3


def test_the_newest_decision_holds_and_none_is_removed(store: Store) -> None:
    lookup = queued(store, "a", add(store, "known"))
    store.verdicts.record(decision(lookup, Verdict.SAME, "sure")).result(10)
    late_clock = decision(lookup, Verdict.DIFFERENT, "no: look at the ears", at=NOON - timedelta(days=3))
    assert store.verdicts.record(late_clock).result(10)[0].created_at > NOON
    made = [judged.decision for judged in store.verdicts.about(lookup)]
    assert [each.verdict for each in made] == [Verdict.DIFFERENT, Verdict.SAME]
    assert made[0].note == "no: look at the ears"


def test_an_unsure_lookup_leaves_the_queue_and_is_listed_for_a_second_opinion(store: Store) -> None:
    lookup = queued(store, "a", add(store, "known"))
    store.verdicts.record(decision(lookup, Verdict.UNSURE)).result(10)
    assert (waiting(store), waiting(store, unsure=True)) == ([], [lookup])
    store.verdicts.record(decision(lookup, Verdict.SAME)).result(10)
    assert (waiting(store), waiting(store, unsure=True)) == ([], [])


def test_a_decision_on_nothing_fails_alone(store: Store) -> None:
    lookup = queued(store, "a", add(store, "known"))
    futures = [store.verdicts.record(decision(each)) for each in (lookup, new_id(), lookup)]
    with pytest.raises(NotFoundError):
        futures[1].result(10)
    assert [futures[each].result(10)[0].lookup for each in (0, 2)] == [lookup, lookup]


@pytest.mark.parametrize("note", ["nul \0", "half \ud83d"])
def test_text_that_cannot_be_stored_is_the_callers_fault(store: Store, note: str) -> None:
    lookup = queued(store, "a", add(store, "known"))
    with pytest.raises(BadRequestError):
        store.verdicts.record(decision(lookup, note=note)).result(10)
    assert waiting(store) == [lookup]


def token(name: str, secret: str, role: Role = Role.REVIEWER) -> Token:
    digest = Sha256(hashlib.sha256(secret.encode()).hexdigest())
    return Token(new_id(), name, role, digest, "r1", NOON)


def test_a_token_is_found_by_its_secret_until_it_is_revoked(store: Store) -> None:
    made = store.add_token(token("rita", "s3cret")).result(10)
    assert store.token("s3cret") == made
    assert store.token("s3cre") is None
    assert store.token("\ud800") is None
    assert store.revoke_token("rita").result(10) == 1
    assert store.token("s3cret") is None
    (kept,) = store.tokens()
    assert (kept.name, kept.revoked_at is not None) == ("rita", True)
    with pytest.raises(NotFoundError):
        store.revoke_token("rita").result(10)


def test_a_name_in_use_is_refused_and_free_again_once_revoked(store: Store) -> None:
    store.add_token(token("rita", "one")).result(10)
    with pytest.raises(BadRequestError, match="rita already"):
        store.add_token(token("rita", "two")).result(10)
    store.revoke_token("rita").result(10)
    store.add_token(token("rita", "two", Role.ADMIN)).result(10)
    found = store.token("two")
    assert found is not None
    assert found.role is Role.ADMIN
    assert store.token("one") is None
