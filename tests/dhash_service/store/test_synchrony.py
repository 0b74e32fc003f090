"""Whether what is acknowledged is on a standby: said, asked for, and never claimed where it is not so."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from dhash_service.errors import (
    StoreDemotedError,
    StoreNotSynchronousError,
    StoreUnconfirmedError,
    StoreUnreachableError,
)
from dhash_service.store.check import acknowledged
from dhash_service.store.durability import Durability, durability, require_synchronous
from dhash_service.store.engine import connect
from dhash_service.store.migrate import upgrade
from dhash_service.store.recorder import Unseen
from dhash_service.store.store import Store
from tests.dhash_service.serving import dhash
from tests.dhash_service.store.facts import NEW, picture
from tests.dhash_service.store.standby import Pair, pair_of_servers

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with pair_of_servers(durable=True) as servers:
        upgrade(servers.url, release="r1")
        servers.on_primary("CREATE ROLE stranger LOGIN")
        yield servers


def said(url: str) -> Durability:
    engine = connect(url)
    try:
        return durability(engine)
    finally:
        engine.dispose()


def test_a_sqlite_store_is_on_one_machine(store_url: str) -> None:
    found = said(store_url)
    assert found.synchronous is False
    assert "disk" in found.detail or "fsync" in found.detail
    with pytest.raises(StoreNotSynchronousError):
        require_synchronous(found)


def test_it_says_which_standbys_confirm(pair: Pair) -> None:
    assert said(pair.url) == Durability(
        False, "Standbys follow (1), none synchronously: a failover may lose what was last."
    )
    pair.make_synchronous()
    try:
        found = said(pair.url)
        require_synchronous(found)
        assert "on 1 synchronous standby as well" in found.detail
        engine = connect(pair.url)
        assert acknowledged(engine, synchronous=True).ok
        engine.dispose()
        stranger = said(pair.url.replace("postgres@", "stranger@"))
        assert stranger.synchronous is None
        assert "pg_monitor" in stranger.detail
        pair.set_synchronous("nobody")
        assert said(pair.url) == Durability(
            False, "No synchronous standby is connected: writes wait for one."
        )
    finally:
        pair.set_synchronous("")


def test_serve_refuses_without_a_synchronous_standby(pair: Pair) -> None:
    ran = dhash("serve", "--port", "0", env={"DHASH_STORE": pair.url, "DHASH_REQUIRE_SYNCHRONOUS": "true"})
    assert ran.returncode == 1
    assert "DHASH_REQUIRE_SYNCHRONOUS" in ran.stderr


def test_a_session_waits_for_the_standby_whatever_the_servers_default(pair: Pair) -> None:
    for default, kept in (("local", "on"), ("off", "on"), ("remote_apply", "remote_apply")):
        engine = connect(f"{pair.url}&options=-csynchronous_commit%3D{default}")
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == kept
        engine.dispose()


def test_a_commit_whose_wait_was_ended_is_not_acknowledged(pair: Pair) -> None:
    with Store.open(pair.url, release="r1", algorithm=None) as store, ThreadPoolExecutor(1) as threads:
        store.add_image(picture("before"), NEW).result(10)
        pair.set_synchronous("nobody")
        try:
            waiting = threads.submit(lambda: store.add_image(picture("unconfirmed"), NEW).result(30))
            cancel_what_waits(pair)
            with pytest.raises(StoreUnconfirmedError):
                waiting.result(30)
        finally:
            pair.set_synchronous("")
        assert store.add_image(picture("unconfirmed"), NEW).result(30).created is False


def cancel_what_waits(pair: Pair) -> None:
    wanted = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    deadline = time.monotonic() + 20
    with psycopg.connect(pair.primary, autocommit=True) as connection:
        while connection.execute(wanted).fetchone() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_server_that_takes_no_writes_is_said_and_left(pair: Pair) -> None:
    """A URL that names the standby alone, as where an address moved: writes go on once it is promoted."""
    alone = f"postgresql://postgres@/postgres?host={pair.folder}&port={pair.standby_port}"
    with Store.open(alone, release="r1", algorithm=None) as store:
        with pytest.raises(StoreDemotedError, match="recovery"):
            store.add_image(picture("refused"), NEW).result(30)
        after = store.feed.changes(None).position
        unseen = Unseen(after, 10, lambda newer: NEW)
        pair.promote()
        with pytest.raises(StoreUnreachableError, match="failed over"):
            store.add_image(picture("matched before"), NEW, unseen=unseen).result(30)
        store.add_image(picture("taken"), NEW).result(30)
        changes = store.feed.changes(after)
        assert (changes.restarted, changes.continued) == (None, "timeline -1 became 2")
        assert changes.values.tolist() == [picture("taken").fingerprint.value]
