"""Parquet fills a store on both databases, once, and brings nothing back that was taken down."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dhash_service.errors import PlaceError, StoreAlgorithmError
from dhash_service.facts import (
    BankAction,
    BankEntry,
    PictureBank,
    Sha256,
    Subject,
    Tombstone,
    image_id,
    new_id,
)
from dhash_service.pictures.fingerprint import EXACT, NEW
from dhash_service.scale.imports import algorithm_at, import_all
from dhash_service.scale.parts import make_part
from dhash_service.scale.sources import Source
from dhash_service.store.check import check
from dhash_service.store.loading import Load
from dhash_service.store.store import Store
from tests.dhash_service.api.test_hostile import document
from tests.dhash_service.scale.making import many, rows_at, task


@pytest.fixture
def parquet(tmp_path: Path, pictures: list[bytes]) -> str:
    """Fifty files of twenty pictures, a PDF with two more, and a bad file."""
    folder, out = tmp_path / "in", str(tmp_path / "out")
    for name, data in many(pictures, 50).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "report.pdf").write_bytes(document())
    (folder / "bad.jpg").write_bytes(b"nothing")
    make_part(task(Source([str(folder)]).items()), out)
    return out


def loaded(parquet: str, store: Store) -> Load:
    *_, last = import_all(parquet, store)
    assert (last.rows, last.bad) == (53, 1)
    return last.load


def test_pictures_and_their_files_are_there_once(parquet: str, open_store: Callable[..., Store]) -> None:
    store = open_store(algorithm=NEW)
    assert loaded(parquet, store) == Load(22, 0, 0)
    assert store.sightings.count() == 52
    known = store.by_digests([Sha256(str(row["sha256"])) for row in rows_at(parquet) if row["sha256"]])
    assert len(known) == 22
    assert loaded(parquet, store) == Load(0, 22, 0)
    assert store.sightings.count() == 52
    values = store.feed.changes(None).values.tolist()
    assert sorted(values) == sorted({row["hash"] for row in rows_at(parquet) if row["hash"] is not None})


def test_what_was_loaded_is_sound(parquet: str, open_store: Callable[..., Store]) -> None:
    store = open_store(algorithm=NEW)
    loaded(parquet, store)
    assert [finding for finding in check(store.engine) if not finding.ok] == []


def test_what_was_taken_down_or_erased_stays_away(parquet: str, open_store: Callable[..., Store]) -> None:
    store = open_store(algorithm=NEW)
    loaded(parquet, store)
    digests = sorted({str(row["sha256"]) for row in rows_at(parquet) if row["sha256"]})
    hidden, erased = (image_id(Sha256(digest)) for digest in digests[:2])
    now = datetime.now(UTC)
    store.add_tombstone(
        Tombstone(new_id(), Subject.IMAGE, str(hidden), True, "asked for", "admin", "r1", now)
    ).result()
    store.erase([erased], "asked for", "admin", now)
    assert loaded(parquet, store) == Load(0, 20, 2)
    assert not store.has(erased)
    assert hidden not in store.images([hidden])


def test_what_a_bank_refuses_is_left_out(parquet: str, open_store: Callable[..., Store]) -> None:
    store = open_store(algorithm=NEW)
    digest, now = next(str(row["sha256"]) for row in rows_at(parquet) if row["sha256"]), datetime.now(UTC)
    store.banks.set(PictureBank("refused", BankAction.REFUSED, 0, ""), now).result()
    store.banks.put([BankEntry("refused", "sha256", digest, "", 5, "", None)], now).result()
    load = loaded(parquet, store)
    assert load.added == 21
    assert load.refused >= 1
    assert not store.has(image_id(Sha256(digest)))


def test_fingerprints_of_another_algorithm_are_refused(
    parquet: str, open_store: Callable[..., Store]
) -> None:
    assert algorithm_at(parquet) == NEW
    with pytest.raises(StoreAlgorithmError, match="dhash-64/1"):
        list(import_all(parquet, open_store(algorithm=EXACT)))


def test_other_parquet_is_told(tmp_path: Path, open_store: Callable[..., Store]) -> None:
    import pyarrow as arrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(PlaceError, match="no column name"):
        list(import_all(str(tmp_path / "other.parquet"), open_store()))
