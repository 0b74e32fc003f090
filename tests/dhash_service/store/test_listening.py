"""A replica on PostgreSQL hears of what others commit, and polls where it cannot listen."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from dhash_service.search.feed import Bell
from dhash_service.search.follower import Follower
from dhash_service.search.index import HammingIndex
from dhash_service.store.engine import connect
from dhash_service.store.listening import Listener, bell_for
from dhash_service.store.store import Store
from tests.dhash_service.serving import free_port
from tests.dhash_service.store.facts import NEW, picture
from tests.waiting import wait_until


@pytest.fixture
def writer(postgres_url: str) -> Iterator[Store]:
    with Store.open(postgres_url, release="r1", algorithm=None) as store:
        yield store


@pytest.fixture
def reader(postgres_url: str) -> Iterator[Store]:
    with Store.open(postgres_url, release="r1", algorithm=None) as store:
        yield store


@contextmanager
def following(store: Store) -> Iterator[Follower]:
    """A follower that would not read again for a minute, but for what it hears."""
    follower = Follower(HammingIndex(), store.feed, store.bell, interval=60)
    follower.start()
    try:
        assert follower.ready.wait(10)
        wait_until(lambda: store.bell.hears)  # type: ignore[attr-defined]
        yield follower
    finally:
        follower.stop()


def test_a_commit_elsewhere_is_read_when_it_is_made(writer: Store, reader: Store) -> None:
    with following(reader) as follower:
        for number in range(20):
            writer.add_image(picture(number), NEW).result(10)
            wait_until(lambda: len(follower._index) == number + 1, 5)  # noqa: B023


def test_what_is_heard_of_itself_wakes_nobody(writer: Store) -> None:
    bell = writer.bell
    bell.wait(0)  # which begins to listen
    threading.Timer(0.2, lambda: writer.add_image(picture("own"), NEW).result(10)).start()
    begin = time.monotonic()
    bell.wait(1.5)
    assert time.monotonic() - begin >= 1.5


def test_a_lost_listening_connection_is_polled_for_and_opened_again(writer: Store, reader: Store) -> None:
    bell = reader.bell
    assert isinstance(bell, Listener)
    with following(reader) as follower:
        pid = bell._connection.info.backend_pid
        with writer.engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
        wait_until(lambda: bell.hears and bell._connection.info.backend_pid != pid)
        writer.add_image(picture("after"), NEW).result(10)
        wait_until(lambda: len(follower._index) == 1, 5)


def test_where_nobody_can_listen_it_returns_in_time(writer: Store) -> None:
    away = f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"
    bell = bell_for(writer.engine, away)
    try:
        begin = time.monotonic()
        bell.wait(0.3)
        assert 0.3 <= time.monotonic() - begin < 2
        assert not bell.hears  # type: ignore[attr-defined]
    finally:
        bell.close()


def test_a_ring_ends_a_wait(writer: Store) -> None:
    for bell in (Bell(), writer.bell):
        bell.wait(0)
        threading.Timer(0.1, bell.ring).start()
        begin = time.monotonic()
        bell.wait(30)
        assert time.monotonic() - begin < 10


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("pgbouncer"), reason="pgbouncer is not installed")
def test_a_pooler_that_swallows_notifications_is_noticed(postgres_url: str) -> None:
    given = psycopg.conninfo.conninfo_to_dict(postgres_url)
    with tempfile.TemporaryDirectory(prefix="pooler-") as folder, pooler(given, Path(folder)) as url:
        pooled = connect(url)
        deaf, hearing = bell_for(pooled, None), bell_for(pooled, postgres_url)
        try:
            for bell, hears in ((deaf, False), (hearing, True)):
                bell.wait(0)
                assert bell.hears == hears  # type: ignore[attr-defined]
        finally:
            deaf.close()
            hearing.close()
            pooled.dispose()


@contextmanager
def pooler(database: dict[str, object], folder: Path) -> Iterator[str]:
    """A real pgbouncer in transaction mode in front of a database; its URL."""
    port = free_port()
    folder.chmod(0o755)
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\nstore = host={database['host']} dbname={database['dbname']} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\nauth_file = {folder}/users\npool_mode = transaction\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    process = subprocess.Popen(
        [
            str(shutil.which("pgbouncer")),
            *(["-u", Path(str(database["host"])).owner()] if os.geteuid() == 0 else []),
            str(folder / "pgbouncer.ini"),
        ],
        stderr=subprocess.DEVNULL,
    )
    url = f"postgresql://postgres@127.0.0.1:{port}/store"
    try:
        wait_until(lambda: answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(10)


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False
