"""Acknowledged means kept: crashes, full disks, locks, damage and many writers at once."""

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from dhash_service.errors import (
    SettingError,
    StoreDamagedError,
    StoreError,
    StoreLockedError,
    StoreSchemaError,
    StoreUnreachableError,
)
from dhash_service.store.check import Finding, check
from dhash_service.store.engine import WRITE_LOCK, connect, reading, scrub, writing
from dhash_service.store.merge import merge
from dhash_service.store.snapshot import take
from dhash_service.store.store import Store
from tests.dhash_service.store.databases import sqlite_file
from tests.dhash_service.store.facts import FAST, NEW, add, in_search, picture

OpenStore = Callable[..., Store]

WRITE_FOR_EVER = """
import sys, threading
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import FAST, NEW, picture

store = Store.open(sys.argv[1], release=sys.argv[2], algorithm=FAST)
told = threading.Lock()

def write(thread):
    for number in range(int(sys.argv[3])):
        name = f"{sys.argv[2]}-{thread}-{number}"
        store.add_image(picture(name), NEW).result()
        with told:
            print(name, flush=True)

threads = [threading.Thread(target=write, args=(thread,)) for thread in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
store.close()
"""

WRITE_UNTIL_FULL = """
import resource, sys
from dataclasses import replace
from dhash_service.errors import StoreError
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import FAST, NEW, picture

if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
store = Store.open(sys.argv[1], release="r1", algorithm=FAST)
for number in range(2000):
    try:
        store.add_image(replace(picture(number), thumbnail=b"RIFF" + bytes(20_000)), NEW).result()
        print(number, flush=True)
    except StoreError as error:
        print(type(error).__name__, flush=True)
        break
"""


@contextlib.contextmanager
def running(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process of the test's own, gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_every_acknowledged_fact_survives_kill_9(store_url: str, open_store: OpenStore) -> None:
    open_store().close()
    with running(WRITE_FOR_EVER, store_url, "r1", "1000000") as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(300)]
        process.send_signal(signal.SIGKILL)
        told += [line.strip() for line in process.stdout if line.endswith("\n")]
    store = open_store()
    assert len(told) >= 300
    assert [name for name in told if store.image(picture(name).id) is None] == []
    assert [finding for finding in check(store.engine, FAST) if not finding.ok] == []
    assert add(store, "after the crash")


def test_a_follower_misses_nothing_that_two_processes_write_at_once(
    store_url: str, open_store: OpenStore
) -> None:
    store = open_store()
    with (
        running(WRITE_FOR_EVER, store_url, "r1", "30") as one,
        running(WRITE_FOR_EVER, store_url, "r2", "30") as two,
    ):
        position, seen = None, set()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            ended = one.poll() is not None and two.poll() is not None
            changes = store.feed.changes(position)
            position = changes.position
            seen.update(changes.keys.tolist())
            if ended:
                break
            time.sleep(0.02)  # as a follower does: the writers need the processor too
        assert (one.returncode, two.returncode) == (0, 0)
    assert len(seen) == 2 * 8 * 30
    assert seen == set(in_search(store))


def test_a_writer_is_numbered_after_the_one_it_waited_for(open_store: OpenStore) -> None:
    first, second = open_store("r1"), open_store("r2")
    with writing(first.engine) as connection:
        first._recorder.add_images(connection, [new("first")])
        waits = second.add_image(picture("second"), NEW)
        with pytest.raises(TimeoutError):
            waits.result(0.3)
    waits.result(10)
    assert list(in_search(first).values()) == [
        picture(name).fingerprint.value for name in ("first", "second")
    ]


def new(name: str):  # type: ignore[no-untyped-def]
    from dhash_service.store.recorder import NewImage

    return NewImage(picture(name), NEW, None)


def test_facts_that_wait_for_one_commit_share_the_next(open_store: OpenStore) -> None:
    store = open_store()
    commits = []
    sa.event.listen(store.engine, "commit", lambda connection: commits.append(1))
    with writing(store.engine) as connection:  # hold the lock while they queue up
        connection.execute(sa.text("SELECT 1"))
        futures = [store.add_image(picture(number), NEW) for number in range(200)]
    assert all(future.result(10).created for future in futures)
    assert len(commits) <= 4


@contextlib.contextmanager
def another_process_holds(url: str) -> Iterator[None]:
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
    else:
        connection = psycopg.connect(url)
        connection.execute(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


def test_a_locked_database_fails_within_its_bound_and_serves_readers_meanwhile(
    store_url: str, open_store: OpenStore
) -> None:
    store = open_store(lock_seconds=0.4)
    image = add(store, "a")
    with another_process_holds(store_url):
        began = time.monotonic()
        futures = [store.add_image(picture(number), NEW) for number in range(20)]
        for future in futures:
            with pytest.raises(StoreLockedError):
                future.result(10)
        assert time.monotonic() - began < 5
        assert store.image(image.id) == image
    assert add(store, "b")


def test_what_comes_while_the_lock_is_waited_for_shares_that_commit(
    store_url: str, open_store: OpenStore
) -> None:
    store = open_store(lock_seconds=20)
    commits: list[int] = []
    store.on_commit(lambda _: commits.append(1))
    with another_process_holds(store_url):
        futures = [store.add_image(picture("first"), NEW)]
        with pytest.raises(TimeoutError):
            futures[0].result(0.3)
        futures += [store.add_image(picture(number), NEW) for number in range(50)]
        assert futures.pop().cancel()
    assert all(future.result(10).created for future in futures)
    assert len(commits) == 1


def test_a_lock_that_is_let_go_in_time_is_waited_for(store_url: str, open_store: OpenStore) -> None:
    store = open_store(lock_seconds=20)
    with another_process_holds(store_url):
        future = store.add_image(picture("a"), NEW)
        with pytest.raises(TimeoutError):
            future.result(0.3)
    assert future.result(10).created


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder with room for 6 MB, and the arguments that hold a process to it where it cannot be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        yield folder, [str(3 * 1024**2)]
        return
    try:
        yield folder, []
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_loses_nothing(small_disk: tuple[Path, list[str]]) -> None:
    folder, limit = small_disk
    url = f"sqlite:///{folder / 'dhash.db'}"
    Store.open(url, release="r1", algorithm=FAST, migrate=True).close()
    with running(WRITE_UNTIL_FULL, url, *limit) as process:
        assert process.stdout is not None
        *kept, last = process.stdout.read().split()
    assert last == "StoreFullError"
    assert len(kept) > 20
    with Store.open(url, release="r1", algorithm=FAST) as store:
        assert [name for name in kept if store.image(picture(name).id) is None] == []
        assert {
            finding.check: finding.detail for finding in check(store.engine, FAST) if not finding.ok
        } == {}


def test_a_file_size_limit_is_told_as_a_lack_of_room(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'dhash.db'}"
    Store.open(url, release="r1", algorithm=FAST, migrate=True).close()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    with running(WRITE_UNTIL_FULL, url, str(1024**2)) as process:
        assert process.stdout is not None
        *kept, last = process.stdout.read().split()
    assert last == "StoreFullError"
    with Store.open(url, release="r1", algorithm=FAST) as store:
        assert [name for name in kept if store.image(picture(name).id) is None] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"this is no database, whatever its name says\n" * 100),
        lambda path: path.write_bytes(path.read_bytes()[: 3 * 4096 + 100]),
        lambda path: path.write_bytes(path.read_bytes()[:100] + bytes(4000) + path.read_bytes()[4100:]),
    ],
    ids=["other file", "cut short", "first page gone"],
)
def test_a_damaged_file_is_called_damaged(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    path = tmp_path / "dhash.db"
    url = f"sqlite:///{path}"
    with Store.open(url, release="r1", algorithm=FAST, migrate=True) as store:
        add(store, "a")
    spoil(path)
    with (
        pytest.raises(StoreDamagedError, match="--salvage"),
        Store.open(url, release="r1", algorithm=FAST) as store,
    ):
        store.count()


def test_an_empty_file_is_no_store_yet(tmp_path: Path) -> None:
    (tmp_path / "dhash.db").touch()
    url = f"sqlite:///{tmp_path / 'dhash.db'}"
    with pytest.raises(StoreSchemaError, match="no store yet"):
        Store.open(url, release="r1", algorithm=FAST)
    with Store.open(url, release="r1", algorithm=FAST, migrate=True) as store:
        assert store.count() == 0


@pytest.mark.parametrize(
    "url",
    ["mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory", "nonsense"],
)
def test_what_no_store_can_live_in_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingError, match="DHASH_STORE"):
        Store.open(url, release="r1", algorithm=FAST, migrate=True)


def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachableError):
        Store.open(f"postgresql://nobody@/none?host={tmp_path}", release="r1", algorithm=FAST)


def test_a_folder_that_cannot_be_used_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "dhash.db").mkdir()
    with pytest.raises(StoreUnreachableError):
        Store.open(f"sqlite:///{tmp_path / 'dhash.db'}", release="r1", algorithm=FAST)


def test_writing_goes_on_after_the_server_has_cut_every_connection(
    postgres_url: str, open_store: OpenStore
) -> None:
    with Store.open(postgres_url, release="r1", algorithm=FAST, migrate=True) as store:
        image = add(store, "a")
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert add(store, "b")
        assert store.image(image.id) == image
        store.ping()


def idles_too_long(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 50")
    time.sleep(0.3)
    connection.exec_driver_sql("SELECT 1")


@pytest.mark.parametrize("transaction", [reading, writing])
def test_a_transaction_that_the_server_ends_is_a_503(
    postgres_url: str, transaction: Callable[[sa.Engine], contextlib.AbstractContextManager[sa.Connection]]
) -> None:
    engine = connect(postgres_url)
    try:
        with pytest.raises(StoreUnreachableError, match="idle"), transaction(engine) as connection:
            idles_too_long(connection)
    finally:
        engine.dispose()


def test_a_cut_connection_acknowledges_nothing_that_was_not_kept(postgres_url: str) -> None:
    with Store.open(postgres_url, release="r1", algorithm=FAST, migrate=True, lock_seconds=20) as store:
        with another_process_holds(postgres_url):
            future = store.add_image(picture("a"), NEW)
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                cut = 0
                while not cut:  # until the writer waits for the lock
                    cut = connection.execute(
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND wait_event = 'advisory'"
                    ).fetchone()[0]  # type: ignore[index]
            with pytest.raises(StoreUnreachableError):
                future.result(10)
        assert store.count() == 0
        assert add(store, "a")


def test_a_commit_waits_a_moment_for_what_is_on_its_way(open_store: OpenStore) -> None:
    store = open_store()
    commits: list[int] = []
    store.on_commit(lambda _: commits.append(1))
    for number in range(20):  # a busy machine may pause us for longer than a commit waits
        commits.clear()
        with store.expecting():
            first = store.add_image(picture(f"first {number}"), NEW)
            second = store.add_image(picture(f"second {number}"), NEW)
        assert first.result().created
        assert second.result().created
        if len(commits) == 1:
            break
    assert len(commits) == 1


def test_a_fact_that_never_comes_holds_up_a_commit_for_milliseconds(open_store: OpenStore) -> None:
    store = open_store()
    with store.expecting():
        assert store.add_image(picture("first"), NEW).result(timeout=5).created


def test_what_a_commit_calls_sees_it_before_anybody_is_told(open_store: OpenStore) -> None:
    store = open_store()
    told: list[bool] = []
    written: list[bool] = []
    store.on_commit(lambda _: told.append(bool(written) or store.count() != 1))
    future = store.add_image(picture("one"), NEW)
    future.add_done_callback(lambda _: written.append(True))
    future.result()
    assert told == [False]


def test_nothing_can_be_written_to_a_closed_store(open_store: OpenStore) -> None:
    store = open_store()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.add_image(picture("a"), NEW)


def test_a_caller_that_gave_up_before_its_turn_costs_nobody_anything(open_store: OpenStore) -> None:
    store = open_store()
    with writing(store.engine) as connection:
        connection.execute(sa.text("SELECT 1"))
        busy = store.add_image(picture("busy"), NEW)
        with pytest.raises(TimeoutError):
            busy.result(0.2)
        given_up, other = store.add_image(picture("given up"), NEW), store.add_image(picture("other"), NEW)
        assert given_up.cancel()
    assert other.result(10).created
    assert store.image(picture("given up").id) is None


def test_threads_that_read_are_served_while_others_write(store: Store) -> None:
    image = add(store, "a")
    wrong: list[object] = []

    def read() -> None:
        wrong.extend(image for _ in range(50) if store.image(image.id) != image)

    readers = [threading.Thread(target=read) for _ in range(6)]
    for reader in readers:
        reader.start()
    for number in range(30):
        add(store, number)
    for reader in readers:
        reader.join()
    assert wrong == []
    assert store.count() == 31


def test_a_commit_waits_for_the_disk_whatever_the_server_is_set_to(
    store_url: str, open_store: OpenStore
) -> None:
    if store_url.startswith("postgresql"):
        with psycopg.connect(store_url, autocommit=True) as connection:
            name = connection.info.dbname
            connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")  # type: ignore[arg-type]
    store = open_store()
    asked = (
        {"PRAGMA synchronous": 2, "PRAGMA journal_mode": "wal", "PRAGMA foreign_keys": 1}
        if store.engine.dialect.name == "sqlite"
        else {"SHOW synchronous_commit": "on"}
    )
    with writing(store.engine) as connection:
        assert {question: connection.exec_driver_sql(question).scalar() for question in asked} == asked


def sound(findings: list[Finding]) -> None:
    assert [finding for finding in findings if not finding.ok] == []


LONG: dict[str, Callable[[Store, Path], object]] = {
    "snapshot": lambda store, folder: take(store.engine, folder / "copy.db"),
    "check": lambda store, folder: sound(check(store.engine)),
    "merge": lambda store, folder: merge(store.engine, folder / "other.db", algorithm=FAST),
    "erasing": lambda store, folder: scrub(store.engine),
}


@pytest.mark.parametrize("work", LONG)
def test_what_takes_as_long_as_the_store_is_large_ends_under_a_servers_limit(
    postgres_url: str, tmp_path: Path, work: str
) -> None:
    """A statement that waits for a table takes long whatever the machine."""
    with Store.open(sqlite_file(tmp_path / "other.db"), release="r2", algorithm=FAST) as other:
        add(other, "a")
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"ALTER DATABASE {name} SET statement_timeout = '200ms'")
        admin.execute(f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '10s'")
    with (
        Store.open(postgres_url, release="r1", algorithm=FAST) as store,
        psycopg.connect(postgres_url) as held,
    ):
        mode = "SHARE" if work == "merge" else "ACCESS EXCLUSIVE"
        held.execute(f"LOCK TABLE thumbnails IN {mode} MODE")
        letting_go = threading.Timer(0.7, held.rollback)
        letting_go.start()
        try:
            LONG[work](store, tmp_path)
        finally:
            letting_go.join()
        with reading(store.engine) as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "200ms"


def test_a_user_without_rights_is_told_so(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("CREATE ROLE poor LOGIN")
        try:
            with pytest.raises(StoreError, match=r"permission denied for table") as refused:
                Store.open(postgres_url.replace("postgres:@", "poor:@"), release="r1", algorithm=FAST)
            assert "Grant" in refused.value.hint
        finally:
            admin.execute("DROP ROLE poor")
