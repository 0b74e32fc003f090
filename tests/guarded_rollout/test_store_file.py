"""A store's file as the guard itself sees it, past every release."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from guarded_rollout.host.store_file import StoreFile
from guarded_rollout.sqlite import copy, damage_of, keep_keys, lost_keys, row_counts


@pytest.fixture
def store(tmp_path: Path) -> StoreFile:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE picture (id INTEGER PRIMARY KEY, content BLOB)")
        database.execute("CREATE INDEX content ON picture (content)")
        rows = [(os.urandom(2000),) for _ in range(90)]
        database.executemany("INSERT INTO picture (content) VALUES (?)", rows)
    return StoreFile(path)


def test_a_sound_store_has_no_damage(store: StoreFile) -> None:
    assert store.damage() == store.damage(thorough=True) == ""


def test_a_store_that_is_written_to_and_locked_is_not_called_damaged(store: StoreFile) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO picture (content) VALUES ('x')")
        assert store.damage() == ""


@pytest.mark.parametrize("content", [b"", b"no database at all" * 1000])
def test_what_is_no_database_or_an_empty_one_is_damage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(content)
    assert damage_of(path)


def test_a_missing_store_is_said_to_be_missing(tmp_path: Path) -> None:
    assert damage_of(tmp_path / "store.db") == "there is no store.db"


def test_overwritten_pages_are_damage(store: StoreFile) -> None:
    with store.path.open("r+b") as file:
        file.seek(40_000)
        file.write(os.urandom(60_000))
    assert store.damage() or store.damage(thorough=True)


def test_an_index_that_lacks_a_row_is_seen_by_the_thorough_look_alone(store: StoreFile) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema = ON")
        other = "CREATE INDEX content ON picture (id)"
        database.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'content'", (other,))
    assert store.damage() == ""
    assert store.damage(thorough=True)


def test_a_copy_is_one_moment_of_a_store_that_is_written_to(store: StoreFile, tmp_path: Path) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO picture (content) VALUES ('x')")
        copy(store.path, tmp_path / "copy.db")
    assert row_counts(tmp_path / "copy.db") == {"picture": 90}


def test_a_row_that_another_takes_the_place_of_is_lost(tmp_path: Path) -> None:
    path, kept = tmp_path / "a ? #.db", tmp_path / "keys.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(
            """CREATE TABLE "odd ""one" ("x y" TEXT, n INT, note TEXT, PRIMARY KEY (n, "x y")) WITHOUT ROWID;
            CREATE TABLE loose (note TEXT);
            CREATE TABLE words_kept (id INTEGER PRIMARY KEY);
            CREATE VIRTUAL TABLE words USING fts5(text);
            INSERT INTO "odd ""one" VALUES ('a', 1, ''), ('a', 2, ''), ('b', 1, '');
            INSERT INTO loose VALUES ('once');
            INSERT INTO words VALUES ('some words');"""
        )
        keep_keys(path, kept)
        assert row_counts(path) == {'odd "one': 3, "loose": 1, "words_kept": 0}
        assert lost_keys(path, kept) == {'odd "one': 0, "words_kept": 0}
        database.executescript(
            """UPDATE "odd ""one" SET note = 'other' WHERE n = 2;
            UPDATE "odd ""one" SET "x y" = "x y" || 'c' WHERE n = 1;
            DELETE FROM words;
            INSERT INTO words(words) VALUES ('optimize');
            INSERT INTO words VALUES ('other');"""
        )
        assert lost_keys(path, kept) == {'odd "one': 2, "words_kept": 0}
        database.execute('DROP TABLE "odd ""one"')
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            lost_keys(path, kept)


def test_a_store_is_moved_with_the_log_that_holds_its_newest_rows(store: StoreFile) -> None:
    keeps_it = sqlite3.connect(store.path, isolation_level=None)
    keeps_it.execute("INSERT INTO picture (content) VALUES ('newest')")
    store.move(store.path, store.aside("x"))
    keeps_it.close()
    assert row_counts(store.aside("x"))["picture"] == 91
    assert not store.path.exists()


def test_a_successor_takes_the_place_whole_and_alone(store: StoreFile, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "snapshot.db")) as snapshot:
        snapshot.execute("CREATE TABLE other (id)")
    store.prepare(tmp_path / "snapshot.db")
    assert row_counts(store.path) == {"picture": 90}
    store.publish()
    assert row_counts(store.path) == {"other": 0}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["snapshot.db", "store.db"]
