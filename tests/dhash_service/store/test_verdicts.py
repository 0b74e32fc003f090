"""Decisions that are sent twice, taken back, counted and told page by page, on both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from dhash_service.errors import ConflictError, NotFoundError
from dhash_service.facts import Decision, Role, Session, Sha256, Token, Verdict, Withdrawal, new_id
from dhash_service.store.review import Filter
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import NOON, add, decision, queued

MINUTE = timedelta(minutes=1)


@pytest.fixture
def waiting(store: Store) -> list[UUID]:
    known = add(store, "known")
    return sorted(queued(store, number, known) for number in range(3))


def withdrawal(made: Decision, who: str = "ada") -> Withdrawal:
    return Withdrawal(new_id(), made.id, who, "r1", NOON)


def test_a_decision_that_comes_twice_is_there_once(store: Store, waiting: list[UUID]) -> None:
    made = decision(waiting[0])
    first = store.verdicts.record(made).result(10)
    later = replace(made, created_at=NOON + MINUTE, release="r2")
    second = store.verdicts.record(later).result(10)
    assert (first[1], second[1]) == (True, False)
    assert second[0] == first[0]
    assert [each.decision for each in store.verdicts.about(waiting[0])] == [first[0]]


def test_a_decision_that_comes_from_everywhere_at_once_is_there_once(
    store: Store, open_store: Callable[..., Store], waiting: list[UUID]
) -> None:
    made = decision(waiting[0])
    stores = [store, open_store("r2")]
    with ThreadPoolExecutor(8) as threads:
        sent = threads.map(lambda turn: stores[turn % 2].verdicts.record(made).result(10)[1], range(16))
    assert sorted(sent) == [False] * 15 + [True]
    assert len(store.verdicts.about(waiting[0])) == 1


def test_an_id_cannot_be_used_for_another_decision(store: Store, waiting: list[UUID]) -> None:
    made = decision(waiting[0])
    store.verdicts.record(made).result(10)
    for other in (
        replace(made, verdict=Verdict.DIFFERENT),
        replace(made, lookup=waiting[1]),
        replace(made, reviewer="eve"),
        replace(made, note="?"),
    ):
        with pytest.raises(ConflictError):
            store.verdicts.record(other).result(10)
    with pytest.raises(NotFoundError):
        store.verdicts.record(decision(new_id())).result(10)


def test_taking_the_only_decision_back_puts_the_pair_into_the_queue_again(
    store: Store, waiting: list[UUID]
) -> None:
    made = decision(waiting[0])
    store.verdicts.record(made).result(10)
    assert store.queue.status().length == 2
    taken = store.verdicts.withdraw(withdrawal(made)).result(10)
    assert store.queue.status().length == 3
    assert store.queue.page().lookups[0].id == waiting[0]
    assert store.verdicts.withdraw(withdrawal(made, "bob")).result(10) == taken  # once is enough
    assert [each.withdrawal for each in store.verdicts.history().judged] == [taken]
    assert len(store.verdicts.about(waiting[0])) == 1  # nothing is deleted


def test_taking_a_later_decision_back_lets_the_earlier_one_hold_again(
    store: Store, waiting: list[UUID]
) -> None:
    store.verdicts.record(decision(waiting[0], Verdict.UNSURE)).result(10)
    second = decision(waiting[0], Verdict.SAME, at=NOON + MINUTE)
    store.verdicts.record(second).result(10)
    assert store.queue.page(Filter(unsure=True)).lookups == []
    store.verdicts.withdraw(withdrawal(second)).result(10)
    assert [lookup.id for lookup in store.queue.page(Filter(unsure=True)).lookups] == [waiting[0]]
    assert store.queue.status().length == 2
    with pytest.raises(NotFoundError):
        store.verdicts.withdraw(Withdrawal(new_id(), new_id(), "ada", "r1", NOON)).result(10)


def test_the_history_is_told_page_by_page_the_newest_first(store: Store, waiting: list[UUID]) -> None:
    made = [
        replace(decision(waiting[turn % 3], at=NOON + turn * MINUTE), reviewer=("ada", "bob")[turn % 2])
        for turn in range(7)
    ]
    for each in made:
        store.verdicts.record(each).result(10)
    told: list[UUID] = []
    before = None
    while True:
        page = store.verdicts.history(before, 3)
        told += [each.decision.id for each in page.judged]
        before = page.before
        if before is None:
            break
    assert told == [each.id for each in reversed(made)]
    assert {each.decision.reviewer for each in store.verdicts.history(reviewer="bob").judged} == {"bob"}
    assert store.verdicts.reviewers() == ["ada", "bob"]


def test_only_what_stands_is_counted(store: Store, waiting: list[UUID]) -> None:
    made = [replace(decision(id, at=NOON + turn * MINUTE), reviewer=("ada", "bob")[turn % 2])
            for turn, id in enumerate(waiting)]  # fmt: skip
    for each in made:
        store.verdicts.record(each).result(10)
    counted = store.verdicts.count("ada", NOON)
    assert (counted.mine, counted.all) == (2, 3)
    store.verdicts.withdraw(withdrawal(made[2])).result(10)
    counted = store.verdicts.count("ada", NOON)
    assert (counted.mine, counted.all) == (1, 2)
    assert store.verdicts.count("ada", NOON + 1.5 * MINUTE).all == 0


def test_a_session_ends_at_its_time_by_signing_out_and_with_its_token(
    store: Store, open_store: Callable[..., Store]
) -> None:
    import hashlib

    def opened(secret: str) -> Session:
        digest = Sha256(hashlib.sha256(secret.encode()).hexdigest())
        return Session(new_id(), token.id, "rita", Role.REVIEWER, digest, NOON + 60 * MINUTE, "r1", NOON)

    token = Token(new_id(), "rita", Role.REVIEWER, Sha256("ab" * 32), "r1", datetime.now(UTC))
    store.add_token(token).result(10)
    one, two = opened("one"), opened("two")
    store.sessions.open(one).result(10)
    store.sessions.open(two).result(10)
    other_release = open_store("r2")
    assert other_release.sessions.find("one", NOON) == one
    assert store.sessions.find("three", NOON) is None
    assert store.sessions.find("one", NOON + 60 * MINUTE) is None
    store.sessions.end(one.id, NOON).result(10)
    assert other_release.sessions.find("one", NOON) is None
    assert other_release.sessions.find("two", NOON) == two
    store.revoke_token("rita").result(10)
    assert other_release.sessions.find("two", NOON) is None
