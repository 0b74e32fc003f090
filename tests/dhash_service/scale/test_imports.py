"""Parquet fills a store on both databases, once, and brings nothing back that was taken down."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as files
import pytest

from dhash_service.errors import PlaceError, StoreAlgorithmError, UnreadableFileError
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
from dhash_service.search.pairs import read_parquet
from dhash_service.store.check import check
from dhash_service.store.loading import Load
from dhash_service.store.sightings import LONGEST_SOURCE, SightingFilter
from dhash_service.store.store import Store
from tests.dhash_service.api.test_hostile import document
from tests.dhash_service.scale.making import many, rows_at, task
from tests.dhash_service.store.databases import sqlite_file
from tests.pictures import jpeg


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
    files.write_table(arrow.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(PlaceError, match="no column name"):
        list(import_all(str(tmp_path / "other.parquet"), open_store()))


@contextmanager
def sqlite_store(folder: Path) -> Iterator[Store]:
    with Store.open(sqlite_file(folder / "dhash.db"), release="r1", algorithm=NEW) as store:
        yield store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One part, of two pictures."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(jpeg(320, 240, len(name) + ord(name[0])))
    make_part(task(Source([str(folder)]).items()), str(folder / "out"))
    (part,) = (folder / "out").rglob("*.parquet")
    return str(part)


def changed(made: str, to: Path, column: str, values: list[Any], type: Any = None) -> str:
    """A file with the rows that have a fingerprint, one column of them replaced."""
    table = files.read_table(made)
    table = table.filter(table["hash"].is_valid())
    values = values * len(table)
    place = table.schema.get_field_index(column)
    files.write_table(table.set_column(place, column, arrow.array(values, type)), to)
    return str(to)


WRONG: list[tuple[str, Any, Any, str]] = [
    ("hash", 1.5, arrow.float64(), "its hashes are of the type double, not uint64"),
    ("hash", -1, arrow.int64(), "its hashes are of the type int64, not uint64"),
    ("hash", "ff", arrow.string(), "its hashes are of the type string, not uint64"),
    ("width", "wide", arrow.string(), "wide"),
    ("width", 0, arrow.int32(), "has no width"),
    ("width", 1 << 40, arrow.int64(), "1099511627776"),
    ("size", None, arrow.int64(), "has no size"),
    ("name", None, arrow.string(), "None has no name"),
    ("algorithm", None, arrow.string(), "has no algorithm"),
    ("quality", 300.0, arrow.float64(), "has a quality of 300, which is from 0 to 1"),
    ("quality", math.nan, arrow.float64(), "has a quality of nan"),
    ("sha256", "zz", arrow.string(), "has no SHA-256"),
    ("format", "jp\0eg", arrow.string(), "has a format or a reason that is not plain text"),
    ("reasons", [None], arrow.list_(arrow.string()), "has a format or a reason that is not plain text"),
    ("document", "zz", arrow.string(), "does not say on which page of which document it is"),
]


@pytest.mark.parametrize(("column", "value", "type", "said"), WRONG)
def test_a_column_of_another_making_is_refused_and_nothing_is_kept(
    made: str, tmp_path: Path, column: str, value: Any, type: Any, said: str
) -> None:
    """Daft, for one, makes floating-point numbers of 64-bit integers, and rounds them."""
    wrong = changed(made, tmp_path / "wrong.parquet", column, [value], type)
    with sqlite_store(tmp_path) as store:
        with pytest.raises(PlaceError, match=re.escape(said)):
            list(import_all(wrong, store))
        assert store.count() == 0


@pytest.mark.parametrize("name", ["hash", "name"])
def test_a_column_that_is_there_twice_is_refused(made: str, tmp_path: Path, name: str) -> None:
    table = files.read_table(made)
    files.write_table(table.append_column(name, table[name]), tmp_path / "twice.parquet")
    with sqlite_store(tmp_path) as store, pytest.raises(PlaceError, match=f"several columns {name}"):
        list(import_all(str(tmp_path / "twice.parquet"), store))


def test_a_text_that_is_not_utf8_is_refused(made: str, tmp_path: Path) -> None:
    table = files.read_table(made).slice(0, 1)
    ends, text = arrow.py_buffer(b"\0\0\0\0\2\0\0\0"), arrow.py_buffer(b"a\xff")
    odd = arrow.Array.from_buffers(arrow.string(), 1, [None, ends, text])
    place = table.schema.get_field_index("name")
    files.write_table(table.set_column(place, "name", odd), tmp_path / "odd.parquet")
    with sqlite_store(tmp_path) as store, pytest.raises(PlaceError, match="Invalid UTF8"):
        list(import_all(str(tmp_path / "odd.parquet"), store))


def test_wider_types_that_hold_the_same_are_taken(made: str, tmp_path: Path) -> None:
    wider = changed(made, tmp_path / "wider.parquet", "width", [640], arrow.int64())
    wider = changed(wider, tmp_path / "wider.parquet", "format", ["jpeg"], arrow.large_string())
    with sqlite_store(tmp_path) as store:
        *_, last = import_all(wider, store)
        assert last.load.added > 0


def test_a_name_of_another_making_is_kept_as_our_own_would_be(made: str, tmp_path: Path) -> None:
    name = f"s3://scans/{'n' * 10_000}\0.jpg"
    odd = changed(made, tmp_path / "odd.parquet", "name", [name], arrow.string())
    with sqlite_store(tmp_path) as store:
        *_, last = import_all(odd, store)
        assert last.load.added > 0
        seen = store.sightings.page(SightingFilter()).sightings[0]
    assert seen.source == name.replace("\0", "\ufffd")[-LONGEST_SOURCE:]


def test_duplicates_of_rounded_hashes_are_refused(made: str, tmp_path: Path) -> None:
    rounded = changed(made, tmp_path / "rounded.parquet", "hash", [1e18], arrow.float64())
    with pytest.raises(UnreadableFileError, match="its hashes are of the type DOUBLE, which rounds them"):
        read_parquet(Path(rounded))
