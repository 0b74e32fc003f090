"""What a merge takes, leaves out and refuses, row by row; on SQLite: the database decides none of it."""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, select

from dhash_service.errors import StoreAlgorithmError, StoreDamagedError, StoreSchemaError
from dhash_service.facts import Algorithm
from dhash_service.pictures.fingerprint import ALGORITHMS
from dhash_service.store.engine import reading, writing
from dhash_service.store.merge import (
    BOOKKEEPING,
    Taker,
    algorithm_of,
    in_order,
    mark_repeats,
    merge,
    merge_erasures,
    require_algorithm,
    require_room,
)
from dhash_service.store.salvage import source
from dhash_service.store.store import Store
from dhash_service.store.tables import FACTS, fingerprints, images, lookups, metadata, tags
from tests.dhash_service.store.databases import sqlite_file
from tests.dhash_service.store.facts import FAST, NOON, add, picture, queued

EXACT = Algorithm("dhash-64", 1)
PAGE = 4096  # bytes, of SQLite's


class Snapshot:
    """A snapshot's file as far as decisions look at it: where it is, and what its `meta` says."""

    path = Path("theirs.db")

    def __init__(self, *meta: tuple[str, str]) -> None:
        self._meta = meta

    def blocks(self, table: str, columns: Sequence[str]) -> Iterator[list[tuple[str, str]]]:
        assert (table, columns) == ("meta", ["name", "value"])
        yield [*self._meta]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty store, and with one of a picture that waits for a decision on another."""
    folder = tmp_path_factory.mktemp("stores")
    with Store.open(sqlite_file(folder / "theirs.db"), release="r2", algorithm=FAST) as theirs:
        queued(theirs, "b", add(theirs, "a"))
    Store.open(sqlite_file(folder / "ours.db"), release="r1", algorithm=FAST).close()
    return folder


@pytest.fixture
def ours(files: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copy(files / "ours.db", tmp_path)
    with Store.open(f"sqlite:///{tmp_path / 'ours.db'}", release="r1", algorithm=FAST) as store:
        yield store


@pytest.fixture
def theirs(files: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(files / "theirs.db", tmp_path))


def spoil(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            raw.execute(statement)


def told(counts: Any) -> dict[str, int]:
    """The counts that are not zero."""
    return {table: count for table, count in counts.items() if count}


THEIRS = {"images": 2, "fingerprints": 2, "thumbnails": 2, "lookups": 2}


def test_what_was_read_added_and_left_out_is_counted_by_table(ours: Store, theirs: Path) -> None:
    first = merge(ours.engine, theirs, algorithm=FAST)
    assert told(first.read) == told(first.added) == THEIRS
    assert told(first.left_out) == told(first.lost) == {}
    again = merge(ours.engine, theirs, algorithm=FAST)
    assert (told(again.read), told(again.added)) == (THEIRS, {})
    assert set(first.read) == {table.name for table in FACTS}


def test_of_what_is_not_there_nothing_is_said(ours: Store, theirs: Path) -> None:
    spoil(theirs, "DROP TABLE tags", "DROP TABLE sessions")
    merged = merge(ours.engine, theirs, algorithm=FAST)
    assert not {"tags", "sessions"} & merged.read.keys()
    assert told(merged.added) == THEIRS


def test_each_block_is_told_of_as_it_is_done(ours: Store, theirs: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    merge(ours.engine, theirs, algorithm=FAST, progress=lambda *said: heard.append(said))
    assert sorted(heard) == sorted((table, 2, 2) for table in THEIRS)
    names = [table.name for table in FACTS]
    assert [names.index(name) for name, _, _ in heard] == sorted(names.index(name) for name, _, _ in heard)


def test_rows_without_parents_are_refused_or_left_out_one_by_one(ours: Store, theirs: Path) -> None:
    spoil(theirs, "DELETE FROM images WHERE rowid = 2")
    with pytest.raises(StoreDamagedError, match="rows of fingerprints whose parents are missing"):
        merge(ours.engine, theirs, algorithm=FAST)
    ours_before = ours.count()
    assert ours_before == 0, "an image without its fingerprint is not in search"
    merged = merge(ours.engine, theirs, algorithm=FAST, salvage=True)
    assert told(merged.left_out) == {"fingerprints": 1, "thumbnails": 1, "lookups": 1}
    assert told(merged.added) == {"fingerprints": 1, "thumbnails": 1, "lookups": 1}
    assert ours.count() == 1


def test_a_row_that_names_no_parent_needs_none(ours: Store, theirs: Path) -> None:
    """The first lookup has no nearest picture; the second's is gone."""
    spoil(theirs, "UPDATE lookups SET nearest_id = zeroblob(16) WHERE nearest_id IS NOT NULL")
    merged = merge(ours.engine, theirs, algorithm=FAST, salvage=True)
    assert told(merged.left_out) == {"lookups": 1}
    assert merged.added["lookups"] == 1


def test_a_row_that_is_not_sound_is_refused_or_left_out(ours: Store, theirs: Path) -> None:
    spoil(theirs, "UPDATE images SET width = 'wide' WHERE rowid = 2")
    with pytest.raises(StoreDamagedError, match="row of images that is not sound: width is 'wide'"):
        merge(ours.engine, theirs, algorithm=FAST)
    merged = merge(ours.engine, theirs, algorithm=FAST, salvage=True)
    assert merged.left_out["images"] == 1
    assert merged.added["images"] == 1


def test_what_either_store_has_erased_is_left_out_and_stays_out(ours: Store, theirs: Path) -> None:
    ours.erase([picture("b").id], "asked for", "ada", NOON)
    merged = merge(ours.engine, theirs, algorithm=FAST)
    assert told(merged.added) == {"images": 1, "fingerprints": 1, "thumbnails": 1, "lookups": 1}
    with Store.open(f"sqlite:///{theirs}", release="r2", algorithm=FAST) as other:
        other.erase([picture("a").id], "asked for", "ada", NOON)
    assert merge(ours.engine, theirs, algorithm=FAST).added["erasures"] == 1
    assert ours.erase_again() == 1
    assert ours.count() == 0


def test_of_several_erasures_of_a_picture_the_first_counts(ours: Store, theirs: Path) -> None:
    a = picture("a").id
    with Store.open(f"sqlite:///{theirs}", release="r2", algorithm=FAST) as other:
        assert other.erase([a, a], "first", "ada", NOON) == 1
        assert other.erase([a], "again", "ada", NOON + timedelta(days=1)) == 0
        assert other.erased(a) == NOON
    ours.erase([a], "before", "bob", NOON - timedelta(days=1))
    assert merge(ours.engine, theirs, algorithm=FAST).added["erasures"] == 1
    assert "before" in ours.refused([a])[a].detail
    assert ours.erased(a) == NOON - timedelta(days=1)


def test_erasures_alone_are_taken_also_from_a_damaged_store(
    ours: Store, theirs: Path, tmp_path: Path
) -> None:
    def said(path: Path, *wanted: str) -> int:
        with Store.open(f"sqlite:///{path}", release="r2", algorithm=FAST) as other:
            other.erase([picture(name).id for name in wanted], "asked for", "ada", NOON)
        return merge_erasures(ours.engine, path, algorithm=FAST)

    assert merge_erasures(ours.engine, theirs, algorithm=FAST) == 0
    assert said(theirs, "a", "b") == 2
    assert merge_erasures(ours.engine, theirs, algorithm=FAST) == 0, "they were no news"
    assert ours.count() == 0
    with Store.open(f"sqlite:///{theirs}", release="r2", algorithm=FAST) as other:
        other.erase([picture("c").id], "asked for", "ada", NOON)
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(theirs.read_bytes()[:-PAGE] + b"\x05" * PAGE)
    with pytest.raises(StoreDamagedError):
        merge(ours.engine, damaged, algorithm=FAST)
    assert merge_erasures(ours.engine, damaged, algorithm=FAST) == 1
    spoil(theirs, "INSERT INTO erasures SELECT zeroblob(16), 'no key', digest, reason, actor, release,"
          " created_at FROM erasures LIMIT 1")  # fmt: skip
    assert merge_erasures(ours.engine, theirs, algorithm=FAST) == 0, "what is not sound is left out"
    spoil(theirs, "DROP TABLE erasures")
    assert merge_erasures(ours.engine, theirs, algorithm=FAST) == 0, "an older release's has none"
    with writing(ours.engine) as connection:
        connection.exec_driver_sql("DROP TABLE erasures")
    other = Path(shutil.copy(theirs, tmp_path / "newer.db"))
    assert merge_erasures(ours.engine, other, algorithm=FAST) == 0, "nor has this one"


def test_the_first_fingerprint_of_a_picture_is_no_repeat(ours: Store, theirs: Path) -> None:
    merge(ours.engine, theirs, algorithm=FAST)
    known, new = picture("a").id, picture("new").id
    rows: list[Any] = [{"image_id": one} for one in (new, known, new)]
    with reading(ours.engine) as connection:
        mark_repeats(connection, rows)
        assert [row["repeats"] for row in rows] == [False, True, True]
        assert set(connection.scalars(select(fingerprints.c.repeats))) == {False}


def test_only_the_rows_that_the_store_lacks_are_read(ours: Store, theirs: Path) -> None:
    add(ours, "a")
    taker = Taker(ours.engine, images, [column.name for column in images.columns], FAST, False, None)
    with source(theirs) as snapshot:
        (block,) = snapshot.blocks("images", ["rowid", *taker.key])
        lacking = taker.lacking(block)
    with closing(sqlite3.connect(theirs)) as raw:
        (b,) = raw.execute("SELECT rowid FROM images WHERE id = ?", (picture("b").id.bytes,)).fetchone()
    assert lacking == [b]


# ---- by what rows are told apart, and in which order tables go


def key_of(table: Table, store: Store) -> tuple[str, ...]:
    return Taker(store.engine, table, [column.name for column in table.columns], FAST, False, None).key


def test_a_fact_has_the_key_that_is_the_same_in_every_store(ours: Store) -> None:
    assert key_of(fingerprints, ours) == ("image_id", "algorithm", "algorithm_version", "release")
    assert key_of(lookups, ours) == ("id",)
    assert key_of(tags, ours) == tuple(column.name for column in tags.primary_key)
    without = Table("albums", MetaData(), Column("number", Integer), Column("year", Integer))
    assert key_of(without, ours) == ("number", "year")
    theirs = [*fingerprints.columns.keys()]
    taker = Taker(ours.engine, fingerprints, theirs, FAST, False, None)
    assert taker.columns == [name for name in theirs if name not in ("seq", "repeats")]


def test_parents_come_before_children_and_tables_of_a_newer_release_last() -> None:
    known = dict(metadata.tables)
    albums = Table("albums", MetaData(), Column("number", Integer))
    order = [table.name for table in in_order({"albums": albums, **known})]
    assert order == [*(table.name for table in FACTS), "albums"]
    assert not BOOKKEEPING & set(order)


# ---- what is refused


def test_a_file_that_has_more_than_the_store_can_hold_is_refused_with_its_names() -> None:
    snapshot: Any = Snapshot()
    ours = {"images": images, "tags": tags}
    known = {"images": ["id", "sha256"], "tags": ["image_id"], "meta": ["anything"]}
    require_room(snapshot, known, ours)
    with pytest.raises(StoreSchemaError, match="is not a store"):
        require_room(snapshot, {"tags": ["image_id"]}, ours)
    newer = known | {"images": ["id", "note"], "albums": ["id", "name"]}
    with pytest.raises(StoreSchemaError, match=r"has no images\.note, albums\."):
        require_room(snapshot, newer, ours)
    with pytest.raises(StoreSchemaError, match=r"has no meta_data\."):
        require_room(snapshot, known | {"meta_data": ["a", "b"]}, ours)


def test_fingerprints_of_another_algorithm_are_refused_and_a_file_that_says_nothing_is_not() -> None:
    def asked(*meta: tuple[str, str]) -> None:
        snapshot: Any = Snapshot(*meta)
        require_algorithm(snapshot, FAST)

    asked()
    asked(("algorithm", "dhash-64-fast/1"), ("algo", "x"), ("zone", "y"))
    with pytest.raises(StoreAlgorithmError, match="holds dhash-64/1, this store dhash-64-fast/1"):
        asked(("algo", "x"), ("algorithm", "dhash-64/1"))
    with pytest.raises(StoreAlgorithmError, match="holds an-older/1"):
        asked(("algorithm", "an-older/1"))
    with pytest.raises(StoreAlgorithmError, match="holds dhash-64-fast/1, dhash-64/1, this store"):
        asked(("algorithm", "dhash-64-fast/1"), ("algorithm", "dhash-64/1"))


def test_a_file_says_which_algorithm_it_holds(theirs: Path) -> None:
    assert algorithm_of(theirs) == FAST
    for said, found in (("dhash-64/1", EXACT), ("of-tomorrow/3", None)):
        spoil(theirs, f"UPDATE meta SET value = '{said}' WHERE name = 'algorithm'")
        assert algorithm_of(theirs) == found
    spoil(theirs, "DELETE FROM meta")
    assert algorithm_of(theirs) is None
    spoil(theirs, "DROP TABLE meta")
    assert algorithm_of(theirs) is None
    assert EXACT in ALGORITHMS.values()


def test_a_damaged_file_is_read_for_what_it_says_only_where_that_is_asked_for(theirs: Path) -> None:
    content = bytearray(theirs.read_bytes())
    content[-4096:] = bytes(4096)
    theirs.write_bytes(content)
    with pytest.raises(StoreDamagedError):
        algorithm_of(theirs)
    assert algorithm_of(theirs, salvage=True) == FAST
