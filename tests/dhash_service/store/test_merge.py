"""Snapshots and merges, between both databases, of sound files and of damaged ones."""

import contextlib
import random
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Engine, delete, select

from dhash_service.errors import (
    StoreAlgorithmError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreSchemaError,
    StoreUnreachableError,
)
from dhash_service.facts import Algorithm, Sha256, Source, image_id
from dhash_service.store import snapshot
from dhash_service.store.check import check
from dhash_service.store.engine import connect, existing, reading, writing
from dhash_service.store.merge import OWN, merge
from dhash_service.store.migrate import downgrade, upgrade
from dhash_service.store.schema import KNOWN
from dhash_service.store.snapshot import take
from dhash_service.store.store import Store
from dhash_service.store.tables import FACTS, fingerprints, images
from tests.dhash_service.store.databases import sqlite_file
from tests.dhash_service.store.facts import (
    FAST,
    NEW,
    NOON,
    STEPS,
    Step,
    add,
    emptied,
    in_search,
    picture,
    play,
    queued,
)

OpenStore = Callable[..., Store]
Facts = dict[str, set[tuple[Any, ...]]]

CONTENT_ADDRESSED = {"images", "fingerprints", "thumbnails", "sightings", "tags"}
STAMP = {"release", "created_at"}


def facts_of(engine: Engine, *, stamped: bool = True) -> Facts:
    """Every fact of a store. Without the stamp, what follows from a picture's bytes has none of its maker."""
    found: Facts = {}
    with reading(engine) as connection:
        for table in FACTS:
            left_out = set(OWN)
            if not stamped and table.name in CONTENT_ADDRESSED:
                left_out |= STAMP if table is not fingerprints else {"created_at"}
            columns = [column for column in table.columns if column.name not in left_out]
            found[table.name] = {tuple(row) for row in connection.execute(select(*columns))}
    return found


def within(some: Facts, all_of: Facts) -> bool:
    return all(rows <= all_of[table] for table, rows in some.items())


def sqlite_store(folder: Path, name: str = "other", release: str = "r2") -> Store:
    return Store.open(sqlite_file(folder / f"{name}.db"), release=release, algorithm=FAST)


# ---- what a merge promises, whatever happened in the stores before


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A second store, on SQLite, used over and over."""
    with sqlite_store(tmp_path_factory.mktemp("played")) as store:
        yield store


def examples(number: int) -> settings:
    """So many stories of two stores; the fast lane tells a few, the system lane more."""
    allowed = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=number, deadline=None, suppress_health_check=allowed)


@given(ours=STEPS, theirs=STEPS)
@examples(6)
def test_a_merge_loses_nothing_changes_nothing_and_adds_once(
    ours: list[Step], theirs: list[Step], store: Store, played: Store, tmp_path: Path
) -> None:
    _adds_once(ours, theirs, store, played, tmp_path)


@pytest.mark.system
@given(ours=STEPS, theirs=STEPS)
@examples(20)
def test_a_merge_loses_nothing_in_more_stories(
    ours: list[Step], theirs: list[Step], store: Store, played: Store, tmp_path: Path
) -> None:
    _adds_once(ours, theirs, store, played, tmp_path)


def _adds_once(ours: list[Step], theirs: list[Step], store: Store, played: Store, tmp_path: Path) -> None:
    play(emptied(store), ours)
    play(emptied(played), theirs)
    shutil.rmtree(tmp_path / "snapshots", ignore_errors=True)
    taken = take(played.engine, tmp_path / "snapshots" / "theirs.db").path
    before, offered = facts_of(store.engine), facts_of(played.engine, stamped=False)

    merged = merge(store.engine, taken, algorithm=FAST)
    after = facts_of(store.engine)
    assert within(before, after)
    assert within(offered, facts_of(store.engine, stamped=False))
    assert sum(merged.added.values()) == sum(len(after[name]) - len(before[name]) for name in after)
    assert [finding for finding in check(store.engine, FAST) if not finding.ok] == []

    assert sum(merge(store.engine, taken, algorithm=FAST).added.values()) == 0
    assert facts_of(store.engine) == after


@given(ours=STEPS, theirs=STEPS)
@examples(4)
def test_two_stores_merged_either_way_hold_the_same_facts(
    ours: list[Step], theirs: list[Step], store: Store, played: Store, tmp_path: Path
) -> None:
    _same_either_way(ours, theirs, store, played, tmp_path)


@pytest.mark.system
@given(ours=STEPS, theirs=STEPS)
@examples(12)
def test_two_stores_merged_either_way_hold_the_same_facts_in_more_stories(
    ours: list[Step], theirs: list[Step], store: Store, played: Store, tmp_path: Path
) -> None:
    _same_either_way(ours, theirs, store, played, tmp_path)


def _same_either_way(
    ours: list[Step], theirs: list[Step], store: Store, played: Store, tmp_path: Path
) -> None:
    play(emptied(store), ours)
    play(emptied(played), theirs)
    shutil.rmtree(tmp_path / "snapshots", ignore_errors=True)
    mine = take(store.engine, tmp_path / "snapshots" / "ours.db").path
    other = take(played.engine, tmp_path / "snapshots" / "theirs.db").path
    merge(store.engine, other, algorithm=FAST)
    merge(played.engine, mine, algorithm=FAST)
    assert facts_of(store.engine, stamped=False) == facts_of(played.engine, stamped=False)
    assert set(in_search(store).values()) == set(in_search(played).values())


# ---- snapshots


def test_a_snapshot_holds_every_fact_and_is_a_store_itself(store: Store, tmp_path: Path) -> None:
    steps = [("add", 0), ("add", 1), ("see", 0), ("see", 1), ("queue", 0), ("group", 0), ("bank", 2)]
    play(store, [*steps, ("decide", 2), ("withdraw", 0), ("token", 1), ("sign in", 0), ("hide", 1)])
    kept = {"sightings", "tags", "group_decisions", "banks", "bank_entries", "withdrawals"}
    assert all(facts_of(store.engine)[table] for table in kept)
    taken = take(store.engine, tmp_path / "copy.db")
    assert taken.revision == KNOWN[-1][0]
    assert taken.rows["images"] == 3
    with Store.open(f"sqlite:///{taken.path}", release="r9", algorithm=FAST) as copy:
        assert facts_of(copy.engine) == facts_of(store.engine)
        assert in_search(copy) == in_search(store)
        assert [finding for finding in check(copy.engine, FAST) if not finding.ok] == []
        add(copy, "goes on")


def test_a_snapshot_is_of_one_moment_while_writers_go_on(store: Store, tmp_path: Path) -> None:
    heavy = replace(picture("x"), thumbnail=b"RIFF" + bytes(8_000))
    for number in range(200):
        store.add_image(replace(heavy, sha256=picture(f"before {number}").sha256), NEW)
    add(store, "last before")
    stop, written = threading.Event(), []

    def write() -> None:
        while not stop.is_set():
            written.append(add(store, f"during {len(written)}"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        taken = take(store.engine, tmp_path / "copy.db")
    finally:
        stop.set()
        writer.join()
    assert written
    with Store.open(f"sqlite:///{taken.path}", release="r", algorithm=FAST) as copy:
        held = copy.count()
        assert held >= 201
        there = [copy.image(image.id) is not None for image in written]
        assert there == sorted(there, reverse=True)  # a prefix of what was written: one moment
        assert sum(there) == held - 201
        assert [finding for finding in check(copy.engine, FAST) if not finding.ok] == []


def test_a_snapshot_overwrites_nothing_and_leaves_nothing_when_it_fails(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    taken = folder / "taken.db"
    taken.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        take(store.engine, taken)
    assert taken.read_text() == "mine"
    (folder / "file").touch()
    with pytest.raises(StoreUnreachableError):
        take(store.engine, folder / "file" / "x.db")
    assert sorted(path.name for path in folder.iterdir()) == ["file", "taken.db"]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda path: execute(path, "DELETE FROM thumbnails"), "0 of 1 rows of thumbnails"),
        (lambda path: execute(path, "DELETE FROM schema_revisions"), "rows of schema_revisions"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4096]), "SQLite says|damaged"),
    ],
    ids=["a row short", "no revision", "a page short"],
)
def test_a_copy_that_is_not_whole_never_gets_its_name(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], object],
    fault: str,
) -> None:
    add(store, "a")
    for name in ("copy_pages", "copy_rows"):
        copy = getattr(snapshot, name)

        def copy_and_spoil(connection: Any, path: Path, copy: Callable[..., None] = copy) -> None:
            copy(connection, path)
            spoil(path)

        monkeypatch.setattr(snapshot, name, copy_and_spoil)
    with pytest.raises(StoreDamagedError, match=fault):
        take(store.engine, tmp_path / "copies" / "copy.db")
    assert list((tmp_path / "copies").iterdir()) == []


def execute(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def test_the_newer_columns_of_a_store_are_in_its_snapshot_and_in_a_merge(
    store: Store, open_store: OpenStore, tmp_path: Path
) -> None:
    add(store, "a")
    with writing(store.engine) as connection:  # what a newer release's expanding revision does
        connection.exec_driver_sql("ALTER TABLE images ADD COLUMN note TEXT")
        connection.exec_driver_sql("UPDATE images SET note = 'kept'")
        connection.exec_driver_sql("CREATE TABLE albums (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        connection.exec_driver_sql("INSERT INTO albums (id, name) VALUES (7, 'spring')")
    taken = take(store.engine, tmp_path / "copy.db")
    with sqlite3.connect(taken.path) as copy:
        assert copy.execute("SELECT note FROM images").fetchall() == [("kept",)]
        assert copy.execute("SELECT id, name FROM albums").fetchall() == [(7, "spring")]
    with sqlite_store(tmp_path) as narrow:
        with pytest.raises(StoreSchemaError, match=r"no .*images\.note.*albums|no .*albums.*images\.note"):
            merge(narrow.engine, taken.path, algorithm=FAST)
        assert narrow.count() == 0
    emptied(store)
    with writing(store.engine) as connection:
        connection.exec_driver_sql("DELETE FROM albums")
    merge(store.engine, taken.path, algorithm=FAST)
    with reading(store.engine) as connection:
        assert connection.exec_driver_sql("SELECT note FROM images").scalar() == "kept"
        assert connection.exec_driver_sql("SELECT name FROM albums").scalar() == "spring"


# ---- merges


def test_a_table_without_a_key_is_told_apart_by_whole_rows(store: Store, tmp_path: Path) -> None:
    with writing(store.engine) as connection:
        connection.exec_driver_sql("CREATE TABLE albums (id INTEGER, name TEXT)")
        connection.exec_driver_sql("INSERT INTO albums VALUES (7, 'spring'), (7, 'autumn')")
    taken = take(store.engine, tmp_path / "copy.db")
    with writing(store.engine) as connection:
        connection.exec_driver_sql("DELETE FROM albums WHERE name = 'spring'")
    for _ in range(2):
        merge(store.engine, taken.path, algorithm=FAST)
    with reading(store.engine) as connection:
        names = connection.exec_driver_sql("SELECT name FROM albums ORDER BY name").scalars().all()
    assert names == ["autumn", "spring"]


def test_a_snapshot_of_an_older_schema_merges_into_a_newer_store(store: Store, tmp_path: Path) -> None:
    with sqlite_store(tmp_path, "old") as old:
        waiting = queued(old, "b", add(old, "a"))
    downgrade(f"sqlite:///{tmp_path / 'old.db'}", "0001")
    merge(store.engine, tmp_path / "old.db", algorithm=FAST)
    lookup = store.lookup(waiting)
    assert lookup is not None
    assert lookup.source is None


def test_a_snapshot_with_more_than_an_older_store_can_hold_is_refused(empty_url: str, tmp_path: Path) -> None:
    upgrade(empty_url, "0001", release="old")
    with sqlite_store(tmp_path, "new") as newer:
        source = Source(Sha256("cd" * 32), 1, (0, 0, 1, 1))
        newer.add_image(picture("a"), NEW, source).result(10)
    engine = connect(empty_url)
    try:
        with pytest.raises(StoreSchemaError, match=r"lookups\.document"):
            merge(engine, tmp_path / "new.db", algorithm=FAST)
        with reading(engine) as connection:
            assert connection.scalar(select(sa.func.count()).select_from(images)) == 0
    finally:
        engine.dispose()


def test_a_snapshot_of_another_algorithm_is_refused(store: Store, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'exact.db'}"
    Store.open(url, release="r", algorithm=Algorithm("dhash-64", 1), migrate=True).close()
    with pytest.raises(StoreAlgorithmError, match="dhash-64/1"):
        merge(store.engine, tmp_path / "exact.db", algorithm=FAST)


@pytest.fixture(scope="module")
def three_thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of that many pictures."""
    folder = tmp_path_factory.mktemp("many")
    with sqlite_store(folder) as other:
        futures = [other.add_image(picture(f"theirs {number}"), NEW) for number in range(3_000)]
        futures[-1].result(60)
    return folder / "other.db"


def test_a_running_service_writes_while_a_merge_goes_on(store: Store, three_thousand: Path) -> None:
    before = store.feed.changes(None)
    during: list[float] = []
    merge(
        store.engine,
        three_thousand,
        algorithm=FAST,
        progress=lambda table, done, of: during.append(add(store, f"ours {len(during)}").size),
    )
    assert store.count() == 3_000 + len(during)
    came = store.feed.changes(before.position)
    assert len(came.keys) == store.count()


def test_a_merge_that_finds_no_room_says_so_once_and_goes_on_later(
    postgres_url: str, three_thousand: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Store.open(postgres_url, release="r1", algorithm=FAST) as store:
        with writing(store.engine) as connection:
            connection.exec_driver_sql(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
                " $$BEGIN RAISE 'No space left' USING ERRCODE = '53100'; END$$"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER full_disk BEFORE INSERT ON fingerprints EXECUTE FUNCTION full_disk()"
            )
        with pytest.raises(StoreFullError, match="No space left"):
            merge(store.engine, three_thousand, algorithm=FAST)
        assert caplog.records == []
        with writing(store.engine) as connection:
            connection.exec_driver_sql("DROP FUNCTION full_disk CASCADE")
        assert merge(store.engine, three_thousand, algorithm=FAST).added["fingerprints"] == 3_000


def test_what_is_erased_in_the_middle_of_a_merge_is_left_out(store: Store, three_thousand: Path) -> None:
    """Between any two commits: what was erased is not found for a moment, and all else is taken."""
    gone: list[UUID] = []

    def erase(table: str, done: int, of: int) -> None:
        if table in ("images", "fingerprints", "thumbnails", "lookups") and table not in seen:
            seen.add(table)
            gone.append(image_id(picture(f"theirs {len(seen)}").sha256))
            store.erase(gone[-1:], "asked for", "ada", NOON)
        with reading(store.engine) as connection:
            assert not set(gone) & set(connection.scalars(select(images.c.id)))

    seen: set[str] = set()
    merged = merge(store.engine, three_thousand, algorithm=FAST, progress=erase)
    assert len(gone) == 4
    assert store.count() == 3_000 - len(gone)
    assert merged.added["images"] >= store.count()
    assert store.erase_again() == 0
    assert all(finding.ok for finding in check(store.engine))


def test_what_litestream_keeps_in_a_store_is_no_part_of_it(tmp_path: Path) -> None:
    with sqlite_store(tmp_path) as streamed, sqlite_store(tmp_path, "plain") as plain:
        add(streamed, "a picture")
        with writing(streamed.engine) as connection:
            connection.exec_driver_sql("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
            connection.exec_driver_sql("INSERT INTO _litestream_seq VALUES (1, 7)")
        copy = take(streamed.engine, tmp_path / "copy.db").path
        for _ in range(2):
            merged = merge(plain.engine, copy, algorithm=FAST)
            assert "_litestream_seq" not in merged.read
        assert within(facts_of(streamed.engine), facts_of(plain.engine))
        merge(streamed.engine, take(plain.engine, tmp_path / "back.db").path, algorithm=FAST)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 500])
def test_what_is_no_store_is_refused(store: Store, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises((StoreSchemaError, StoreDamagedError)):
        merge(store.engine, tmp_path / "x.db", algorithm=FAST)
    with pytest.raises(StoreUnreachableError, match="no file"):
        merge(store.engine, tmp_path / "y.db", algorithm=FAST)


HOSTILE = [
    ("UPDATE images SET sha256 = zeroblob(32)", "does not follow from its digest"),
    ("UPDATE images SET width = 'wide'", "width is 'wide'"),
    ("UPDATE images SET width = 1 << 40", "width is 1099511627776"),
    ("UPDATE images SET format = 'a' || char(0)", "format holds a NUL"),
    ("UPDATE images SET size = NULL", "size is missing"),
    ("UPDATE fingerprints SET algorithm = 'other'", "it is of other version 1"),
    ("UPDATE lookups SET status = 'maybe'", "status is 'maybe'"),
    ("UPDATE lookups SET reasons = '{'", "reasons is"),
    ("UPDATE thumbnails SET webp = 5", "webp is 5"),
    ("UPDATE lookups SET created_at = 1 << 62", "created_at is"),
    ("DELETE FROM images", "parents are missing"),
]


@pytest.fixture(scope="module")
def one_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one picture, to be copied and spoilt."""
    folder = tmp_path_factory.mktemp("one")
    with sqlite_store(folder) as other:
        add(other, "a")
    return folder / "other.db"


@pytest.mark.parametrize(("spoil", "fault"), HOSTILE)
def test_a_row_that_cannot_be_ours_is_refused_and_left_out_by_salvage(
    store: Store, one_picture: Path, tmp_path: Path, spoil: str, fault: str
) -> None:
    path = Path(shutil.copy(one_picture, tmp_path / "other.db"))
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA ignore_check_constraints = ON")
        raw.execute("PRAGMA writable_schema = ON")  # SQLite is told that NULL is welcome everywhere
        raw.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'images'")
    with sqlite3.connect(path) as raw:
        raw.execute(spoil)
    raw.close()
    with pytest.raises(StoreDamagedError, match=fault):
        merge(store.engine, path, algorithm=FAST)
    merged = merge(store.engine, path, algorithm=FAST, salvage=True)
    assert sum(merged.left_out.values()) >= 1
    assert [finding.check for finding in check(store.engine, FAST) if not finding.ok] in (
        [],
        ["fingerprints"],
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Facts]:
    """The snapshot of a store of many pages, and all that it holds."""
    folder = tmp_path_factory.mktemp("sound")
    with sqlite_store(folder) as other:
        first = add(other, "first")
        for number in range(600):
            heavy = replace(picture(number), thumbnail=b"RIFF" + bytes(3_000))
            last = other.add_image(heavy, NEW)
        last.result(60)
        for number in range(50):
            queued(other, f"queued {number}", first)
        return take(other.engine, folder / "whole.db").path, facts_of(other.engine)


@pytest.mark.parametrize("seed", range(3))
def test_what_can_be_read_of_a_damaged_file_is_saved_and_a_better_copy_adds_the_rest(
    store: Store, sound: tuple[Path, Facts], tmp_path: Path, seed: int
) -> None:
    whole, everything = sound
    broken = tmp_path / "broken.db"
    content = bytearray(whole.read_bytes())
    pages = len(content) // 4096
    for page in random.Random(seed).sample(range(40, pages), 6):
        content[page * 4096 : (page + 1) * 4096] = random.Random(page).randbytes(4096)
    broken.write_bytes(content)

    with pytest.raises(StoreDamagedError, match="--salvage"):
        merge(store.engine, broken, algorithm=FAST)
    emptied(store)
    merged = merge(store.engine, broken, algorithm=FAST, salvage=True)
    saved = facts_of(store.engine)
    assert within({name: saved[name] for name in ("images", "lookups")}, everything)
    assert sum(map(len, saved.values())) > 0.7 * sum(map(len, everything.values()))
    assert sum(merged.lost.values()) + sum(merged.left_out.values()) > 0
    assert [found.check for found in check(store.engine, FAST) if not found.ok] in ([], ["fingerprints"])

    merge(store.engine, whole, algorithm=FAST)
    assert within(everything, facts_of(store.engine))
    assert [finding for finding in check(store.engine, FAST) if not finding.ok] == []


def test_what_is_left_of_a_file_whose_end_is_missing_is_saved(tmp_path: Path) -> None:
    cut = tmp_path / "cut.db"
    with sqlite_store(tmp_path) as other:
        adding = [other.add_image(replace(picture(n), thumbnail=bytes(2_000)), NEW) for n in range(60)]
        assert all(added.result(10).created for added in adding)
        whole = take(other.engine, tmp_path / "whole.db").path
        everything = facts_of(other.engine)
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 7 // 10])
    with sqlite_store(tmp_path, "mine") as mine:
        with pytest.raises(StoreDamagedError, match="--salvage"):
            merge(mine.engine, cut, algorithm=FAST)
        merged = merge(mine.engine, cut, algorithm=FAST, salvage=True)
        saved = facts_of(mine.engine)
        assert within({name: saved[name] for name in ("images", "thumbnails")}, everything)
        assert len(saved["images"]) > 20
        assert merged.lost["thumbnails"] > 0
        assert [found.check for found in check(mine.engine, FAST) if not found.ok] in ([], ["fingerprints"])


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder as a mounted backup is: nothing in it can be written."""
    bound = ["mount", "--bind", str(folder), str(folder)]
    if subprocess.run(bound, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_store_on_a_read_only_file_system_is_merged_unless_rows_of_it_would_be_missed(
    tmp_path: Path, one_picture: Path
) -> None:
    folder = tmp_path / "backup"
    folder.mkdir()
    path = Path(shutil.copy(one_picture, folder))
    with sqlite_store(tmp_path, "mine") as mine:
        with read_only(folder):
            assert merge(mine.engine, path, algorithm=FAST).added["images"] == 1
        path.with_name("other.db-wal").write_bytes(bytes(5_000))
        with read_only(folder), pytest.raises(StoreUnreachableError, match=r"newest rows in other\.db-wal"):
            merge(mine.engine, path, algorithm=FAST)


def test_a_path_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    long = tmp_path / ("n" * 300)
    with sqlite_store(tmp_path) as store:
        with pytest.raises(StoreUnreachableError, match="File name too long"):
            merge(store.engine, long, algorithm=FAST)
        with pytest.raises(StoreUnreachableError, match="File name too long"):
            take(store.engine, long)


def test_a_text_in_which_a_bit_has_changed_is_named_by_check_and_merge(
    store: Store, one_picture: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(one_picture, tmp_path / "other.db"))
    execute(path, "UPDATE images SET format = CAST(x'4af0' AS TEXT)")
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with existing(f"sqlite:///{path}") as engine:
        wrong = {finding.check: finding.detail for finding in check(engine, FAST) if not finding.ok}
    assert wrong.keys() == {"texts"}
    assert "'format'" in wrong["texts"]
    with pytest.raises(StoreDamagedError, match="decode to UTF-8 column 'format'"):
        merge(store.engine, path, algorithm=FAST)
    assert merge(store.engine, path, algorithm=FAST, salvage=True).lost == {"images": 1}


@pytest.mark.parametrize("salvage", [False, True])
def test_a_row_number_beyond_all_keeps_no_merge_waiting(
    store: Store, one_picture: Path, tmp_path: Path, salvage: bool
) -> None:
    path = Path(shutil.copy(one_picture, tmp_path / "other.db"))
    execute(path, "UPDATE images SET rowid = (1 << 62) - 1 + (1 << 62)")
    assert merge(store.engine, path, algorithm=FAST, salvage=salvage).added["images"] == 1


def test_the_check_names_what_is_wrong(store: Store) -> None:
    add(store, "a")
    add(store, "b")
    with writing(store.engine) as connection:
        connection.execute(delete(fingerprints).where(fingerprints.c.image_id == picture("a").id))
        connection.execute(fingerprints.update().values(algorithm="other", repeats=True))
    found = {finding.check: finding.detail for finding in check(store.engine, FAST) if not finding.ok}
    assert found.keys() == {"algorithm", "fingerprints", "repeats"}
    assert str(picture("a").id) in found["fingerprints"]
    assert "1 fingerprints are of another algorithm" in found["algorithm"]
