"""Leases: no two sessions get the same pair, whichever process or release serves them, on both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select

from dhash_service.facts import Claim, Role, Session, Sha256, Token, new_id
from dhash_service.store.check import check
from dhash_service.store.engine import reading
from dhash_service.store.leases import Request
from dhash_service.store.merge import merge
from dhash_service.store.review import Filter
from dhash_service.store.snapshot import take
from dhash_service.store.store import Store
from dhash_service.store.tables import claims
from tests.dhash_service.store.facts import FAST, add, decision, hide_image, queued

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

OpenStore = Callable[..., Store]


def signed_in(store: Store, name: str, now: datetime = NOW) -> UUID:
    """A session of a new token."""
    token = Token(new_id(), name, Role.REVIEWER, Sha256(new_id().hex * 2), "r1", now)
    store.add_token(token).result(10)
    digest = Sha256(new_id().hex * 2)
    session = Session(new_id(), token.id, name, token.role, digest, now + 60 * MINUTE, "r1", now)
    return store.sessions.open(session).result(10).id


def claimed(
    store: Store, session: UUID, number: int, now: datetime = NOW, *, lookups: list[UUID] | None = None
) -> list[Claim]:
    """What a session gets when it asks for so many pairs."""
    ids = lookups or store.queue.free(Filter(), None, 2 * number, session=session, now=now)
    return store.leases.take(Request(session, ids, number, now, now + 5 * MINUTE)).result(10)


def lookups_of(found: list[Claim]) -> list[UUID]:
    return [claim.lookup for claim in found]


@pytest.fixture
def waiting(store: Store) -> list[UUID]:
    """Eight pairs in the queue."""
    known = add(store, "known")
    return sorted(queued(store, number, known) for number in range(8))


def test_each_session_gets_pairs_of_its_own(store: Store, waiting: list[UUID]) -> None:
    rita, sam = signed_in(store, "rita"), signed_in(store, "sam")
    assert lookups_of(claimed(store, rita, 3)) == waiting[:3]
    assert lookups_of(claimed(store, sam, 3)) == waiting[3:6]
    assert lookups_of(claimed(store, rita, 3)) == waiting[:3]  # asking again gives the same


def test_two_releases_that_race_for_the_same_pairs_share_them_out(
    open_store: OpenStore, waiting: list[UUID], store: Store
) -> None:
    stable, candidate = open_store("stable"), open_store("candidate")
    sessions = [signed_in(store, f"reviewer {number}") for number in range(4)]

    def work(turn: int) -> list[UUID]:
        serving = (stable, candidate)[turn % 2]
        # All have seen the same pairs to be free before anybody claims one.
        return lookups_of(claimed(serving, sessions[turn], 2, lookups=waiting))

    with ThreadPoolExecutor(4) as threads:
        got = list(threads.map(work, range(4)))
    assert [len(each) for each in got] == [2, 2, 2, 2]
    assert sorted(id for each in got for id in each) == waiting


def test_a_claim_ends_by_itself_unless_it_is_renewed(store: Store, waiting: list[UUID]) -> None:
    rita, sam = signed_in(store, "rita"), signed_in(store, "sam")
    claimed(store, rita, 8)
    assert claimed(store, sam, 8, NOW + 4 * MINUTE) == []
    renewed = claimed(store, rita, 2, NOW + 4 * MINUTE, lookups=waiting[:2])
    assert lookups_of(renewed) == waiting[:2]
    assert lookups_of(claimed(store, sam, 8, NOW + 6 * MINUTE)) == waiting[2:]
    assert claimed(store, rita, 8, NOW + 6 * MINUTE, lookups=waiting[2:]) == []


def test_what_is_given_back_is_free_at_once(store: Store, waiting: list[UUID]) -> None:
    rita, sam = signed_in(store, "rita"), signed_in(store, "sam")
    held = claimed(store, rita, 3)
    assert store.leases.give_back(rita, [held[0].id], NOW + MINUTE).result(10) == 1
    assert lookups_of(claimed(store, sam, 1, NOW + MINUTE)) == [held[0].lookup]
    assert store.leases.give_back(rita, None, NOW + 2 * MINUTE).result(10) == 2
    assert store.leases.give_back(rita, None, NOW + 3 * MINUTE).result(10) == 0


def test_leaving_late_does_not_end_what_was_claimed_anew(store: Store, waiting: list[UUID]) -> None:
    rita, sam = signed_in(store, "rita"), signed_in(store, "sam")
    before = claimed(store, rita, 2)
    after = claimed(store, rita, 2)
    assert lookups_of(before) == lookups_of(after)
    assert store.leases.give_back(rita, [claim.id for claim in before], NOW).result(10) == 0
    assert not set(lookups_of(claimed(store, sam, 8))) & set(lookups_of(after))


def test_nobody_gives_back_what_somebody_else_holds(store: Store, waiting: list[UUID]) -> None:
    rita, sam = signed_in(store, "rita"), signed_in(store, "sam")
    held = claimed(store, rita, 2)
    assert store.leases.give_back(sam, [claim.id for claim in held], NOW).result(10) == 0
    assert not set(lookups_of(claimed(store, sam, 8))) & set(lookups_of(held))


def test_what_is_decided_is_not_claimed_but_for_a_second_opinion(store: Store, waiting: list[UUID]) -> None:
    rita = signed_in(store, "rita")
    store.verdicts.record(decision(waiting[0])).result(10)
    assert lookups_of(claimed(store, rita, 2, lookups=waiting)) == waiting[1:3]
    again = Request(rita, waiting, 1, NOW, NOW + MINUTE, decided=True)
    assert lookups_of(store.leases.take(again).result(10)) == waiting[:1]


def test_a_decision_ends_the_claim_of_whoever_made_it(store: Store, waiting: list[UUID]) -> None:
    rita, sam = signed_in(store, "rita"), signed_in(store, "sam")
    first = claimed(store, rita, 2)[0].lookup
    assert store.leases.done_with(sam, first, NOW).result(10) == 0
    assert store.leases.done_with(rita, first, NOW).result(10) == 1
    assert lookups_of(claimed(store, sam, 1)) == [first]


def test_a_session_that_has_ended_holds_nothing(store: Store, waiting: list[UUID]) -> None:
    rita, sam, tom = (signed_in(store, name) for name in ("rita", "sam", "tom"))
    claimed(store, rita, 2)
    claimed(store, sam, 2)
    assert lookups_of(claimed(store, tom, 1)) == [waiting[4]]
    store.sessions.end(rita, NOW).result(10)
    assert lookups_of(claimed(store, tom, 2)) == waiting[:2]
    store.revoke_token("sam").result(10)
    assert lookups_of(claimed(store, tom, 4)) == waiting[:4]


def test_a_hidden_picture_leaves_the_queue_and_its_claim_does_no_harm(
    store: Store, waiting: list[UUID]
) -> None:
    rita = signed_in(store, "rita")
    first = claimed(store, rita, 1)[0].lookup
    lookup = store.lookup(first)
    assert lookup is not None
    image = store.image(lookup.image)
    assert image is not None
    store.add_tombstone(hide_image(image)).result(10)
    assert store.queue.waiting([first]) == {}
    assert first not in store.queue.free(Filter(), None, 8, session=rita, now=NOW)
    store.add_tombstone(hide_image(image, hidden=False)).result(10)
    assert list(store.queue.waiting([first])) == [first]


def test_claims_and_sessions_go_along_with_a_snapshot_and_merge_twice_the_same(
    store: Store, waiting: list[UUID], tmp_path: Path, open_store: OpenStore
) -> None:
    rita = signed_in(store, "rita")
    held = claimed(store, rita, 3)
    store.leases.give_back(rita, [held[0].id], NOW + MINUTE).result(10)
    copy = take(store.engine, tmp_path / "copy.db").path
    restored = open_store("r2", f"sqlite:///{tmp_path / 'restored.db'}")
    assert merge(restored.engine, copy, algorithm=FAST).added["claims"] == 4
    assert merge(restored.engine, copy, algorithm=FAST).added["claims"] == 0
    sam = signed_in(restored, "sam")
    assert set(lookups_of(claimed(restored, sam, 8, NOW + MINUTE))) == {*waiting} - {*lookups_of(held[1:])}
    assert [finding for finding in check(restored.engine, FAST) if not finding.ok] == []
    with reading(store.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(claims)) == 4
