"""A statement on the driver itself gives what SQLAlchemy gives, on both databases."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import Select, event, select

from dhash_service.errors import StoreSchemaError
from dhash_service.facts import new_id
from dhash_service.store.engine import reading, writing
from dhash_service.store.prompt import Adding, driver_of, glancing, padded
from dhash_service.store.repository import BY_ID, BY_KEY, HIDDEN_OR_NOT
from dhash_service.store.sightings import FIRST_SIGHTINGS, TAGS
from dhash_service.store.store import Store
from dhash_service.store.tables import erasures, images
from tests.dhash_service.store.facts import add

OpenStore = Callable[..., Store]


@pytest.mark.parametrize("number", [1, 2, 3, 9])
def test_rows_are_those_of_sqlalchemy(open_store: OpenStore, number: int) -> None:
    store = open_store()
    ids = [add(store, n).id for n in range(9)][:number]
    keys = list(range(1, number + 1))
    asked = [(BY_ID, ids), (BY_KEY, keys), (HIDDEN_OR_NOT, ids), (FIRST_SIGHTINGS, ids), (TAGS, ids)]
    for prompt, wanted in asked:
        with reading(store.engine) as connection:
            slowly = connection.execute(prompt._statement, {"wanted": wanted}).all()
            within = prompt.rows(driver_of(connection), wanted=wanted)
        with glancing(store.engine) as driver:
            quickly = prompt.rows(driver, wanted=wanted)
        assert sorted(map(tuple, quickly)) == sorted(map(tuple, within)) == sorted(map(tuple, slowly))
        if slowly and wanted is keys:
            assert [row._fields for row in quickly] == [row._fields for row in slowly]


def test_rows_are_added_once_and_as_sqlalchemy_adds_them(open_store: OpenStore) -> None:
    store = open_store()
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    row = {"id": new_id(), "key": "ab" * 32, "digest": "cd" * 32, "reason": "ä", "actor": "ada"}
    row |= {"release": "r1", "created_at": at}
    other = row | {"id": new_id(), "digest": "ef" * 32}
    with writing(store.engine) as connection:
        adding = Adding(erasures)
        adding.add(driver_of(connection), [row, row])
        adding.add(driver_of(connection), [row, other])
    wanted: Select[tuple[UUID, str, datetime]] = select(
        erasures.c.id, erasures.c.digest, erasures.c.created_at
    )
    with reading(store.engine) as connection:
        found = connection.execute(wanted.order_by(erasures.c.digest)).all()
    assert [tuple(each) for each in found] == [(row["id"], "cd" * 32, at), (other["id"], "ef" * 32, at)]


@pytest.mark.parametrize("number", [1, 2, 3, 16, 23, 40])
def test_any_number_of_rows_is_added(open_store: OpenStore, number: int) -> None:
    store = open_store()
    at = datetime(2026, 1, 2, tzinfo=UTC)
    shared = {"key": "ab" * 32, "reason": "", "actor": "ada", "release": "r1", "created_at": at}
    rows = [{"id": new_id(), "digest": f"{n:064x}"} | shared for n in range(number)]
    with writing(store.engine) as connection:
        Adding(erasures).add(driver_of(connection), rows)
    with reading(store.engine) as connection:
        found = connection.execute(select(erasures.c.id, erasures.c.digest)).all()
    assert {tuple(each) for each in found} == {(row["id"], row["digest"]) for row in rows}
    assert len(found) == number


def test_what_is_added_goes_with_its_transaction(open_store: OpenStore) -> None:
    store = open_store()
    known = add(store, "a")

    def add_another() -> None:
        with writing(store.engine) as connection:
            row = dict(connection.execute(select(images)).mappings().one())
            Adding(images).add(driver_of(connection), [row | {"id": new_id(), "sha256": "00" * 32}])
            assert len(connection.execute(select(images.c.id)).all()) == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        add_another()
    assert store.count() == 1
    assert store.image(known.id) == known


def test_an_error_of_the_driver_is_told_as_ours(open_store: OpenStore) -> None:
    store = open_store()
    with pytest.raises(StoreSchemaError), glancing(store.engine) as driver:
        driver.connection.execute("SELECT one FROM nowhere")
    assert store.count() == 0  # the pool gives the next one a connection that is sound
    with glancing(store.engine) as driver:
        assert BY_KEY.rows(driver, wanted=[1]) == []


def test_a_match_is_read_past_sqlalchemy(open_store: OpenStore) -> None:
    store = open_store()
    known = add(store, "a")
    store.image(known.id)
    seen: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    assert store.by_sha256(known.sha256) == known
    assert store.named_by_key([1])[1].id == known.id
    assert seen == []


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 500])
def test_lists_are_of_few_lengths_and_say_the_same(number: int) -> None:
    values = list(range(number))
    longer = padded(values)
    assert set(longer) == set(values)
    assert longer[:number] == values
    assert len(longer) in (0, 1, 2, 4, 8, 512)
