"""A lagging PostgreSQL standby takes over under load: the index follows it, and says what is lost."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from sqlalchemy import select

from dhash_service.errors import StoreError, TakenDownError
from dhash_service.metrics import Metrics
from dhash_service.search.follower import gone
from dhash_service.service import Service
from dhash_service.settings import Settings
from dhash_service.store.engine import connect, reading
from dhash_service.store.migrate import upgrade
from dhash_service.store.store import Store
from dhash_service.store.tables import fingerprints
from tests.dhash_service.store.facts import NEW, NOON, picture
from tests.dhash_service.store.standby import Pair, pair_of_servers
from tests.waiting import wait_until

ERASED = picture("erased before the failover", 0x0123456789ABCDEF)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with pair_of_servers() as servers:
        yield servers


class Writers:
    """Threads that submit pictures without a pause and keep a ledger of what was acknowledged."""

    def __init__(self, service: Service) -> None:
        self.acknowledged: set[int] = set()
        self._service, self._ended = service, threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(3)]
        for thread in self._threads:
            thread.start()

    def _write(self, number: int) -> None:
        for count in range(1_000_000):
            if self._ended.is_set():
                return
            wanted = picture(f"{number}-{count}")
            with contextlib.suppress(StoreError):
                self._service.store.add_image(wanted, NEW).result(30)
                self.acknowledged.add(wanted.fingerprint.value)

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)


def stored(url: str) -> set[int]:
    engine = connect(url)
    try:
        with reading(engine) as connection:
            return set(connection.scalars(select(fingerprints.c.value)))
    finally:
        engine.dispose()


def test_a_connection_gives_up_a_machine_that_is_gone(pair: Pair) -> None:
    engine = connect(f"postgresql://postgres@127.0.0.1:{pair.port}/postgres")
    patient = connect(f"postgresql://postgres@127.0.0.1:{pair.port}/postgres?tcp_user_timeout=7000")
    try:
        for one, milliseconds in ((engine, 5000), (patient, 7000)):
            with one.connect() as connection:
                driver = connection.connection.driver_connection
                assert driver is not None
                with socket.socket(fileno=os.dup(driver.fileno())) as line:
                    assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == milliseconds
                    assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                    assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
    finally:
        engine.dispose()
        patient.dispose()


def rows_with(url: str, wanted: object) -> list[str]:
    """The tables of a database in which some row has this value."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        ).fetchall()
        return [
            name
            for (name,) in tables
            if any(wanted in row for row in connection.execute(f'SELECT * FROM "{name}"'))  # type: ignore[arg-type]
        ]


def test_what_is_erased_is_gone_from_the_standby_too(pair: Pair) -> None:
    upgrade(pair.url, release="r1")
    with Store.open(pair.url, release="r1", algorithm=None) as store:
        image = store.add_image(ERASED, NEW).result(30).image

        def standing_by() -> list[str]:
            return rows_with(pair.standby, image.id)

        tables = {"images", "fingerprints", "thumbnails", "lookups"}
        wait_until(lambda: set(standing_by()) == tables)
        store.erase([image.id], "asked for", "ada", NOON)
        wait_until(lambda: not standing_by())
        assert rows_with(pair.standby, bytes.fromhex(image.sha256)) == []
        assert rows_with(pair.standby, image.fingerprint.value) == []
        wait_until(lambda: rows_with(pair.standby, "asked for") == ["erasures"])


def test_after_a_failover_the_index_is_the_new_primary_and_what_is_lost_is_named(pair: Pair) -> None:
    upgrade(pair.url, release="r1")
    service = Service(Settings(store=pair.url, release="r1"), Metrics("r1")).start()  # type: ignore[arg-type]
    try:
        writers = Writers(service)
        try:
            wait_until(lambda: len(writers.acknowledged) > 20)
            pair.cut()
            cut = len(writers.acknowledged)
            wait_until(lambda: len(writers.acknowledged) > cut + 20)
            pair.fail_over()
            after = len(writers.acknowledged)
            wait_until(lambda: len(writers.acknowledged) > after + 20)
        finally:
            writers.stop()
        assert service.matcher.catch_up()
        exist, found = stored(pair.url), set(service.matcher.index.contents()[1].tolist())
        assert found == exist
        lost = {f"{value:016x}" for value in writers.acknowledged - exist}
        assert lost
        failover = service.matcher.follower.failover
        assert failover is not None
        assert "timeline 1 became 2" in failover.why
        assert failover.lost == len(lost)
        assert set(failover.fingerprints) <= lost
        check = service.checks()["index"]
        assert check.ok
        assert f"{len(lost)} acknowledged fingerprints are missing" in check.detail
        assert service.status()["failover"]["lost"] == len(lost)  # type: ignore[index]
        assert ERASED.fingerprint.value not in found
        with pytest.raises(TakenDownError):  # the standby, which serves now, knows what was erased
            service.store.add_image(ERASED, NEW).result(30)
    finally:
        service.close()


def test_a_fingerprint_is_gone_as_often_as_it_is_missing() -> None:
    def of(*values: int):  # type: ignore[no-untyped-def]
        return np.array(values, np.uint64)

    assert gone(of(5, 5, 7, 9), of(9, 5, 11)) == [f"{value:016x}" for value in (5, 7)]
    assert gone(of(5), of(5, 5, 5)) == []
    assert gone(of(), of(1)) == []
