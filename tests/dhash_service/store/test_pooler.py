"""Behind PgBouncer in transaction mode, where each transaction may run in another session."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from dhash_service.errors import StoreLockedError
from dhash_service.store.engine import POOLED, WRITE_LOCK, connect, reading, writing
from dhash_service.store.store import Store
from tests.dhash_service.queues import FAST, NEW, pictures
from tests.dhash_service.serving import serving
from tests.dhash_service.store.pooling import MISSING, PGBOUNCER, pooler
from tests.pictures import jpeg

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason=MISSING)


@pytest.fixture
def pooled(postgres_url: str) -> Iterator[str]:
    """The URL of the test's store through a pooler."""
    with tempfile.TemporaryDirectory(prefix="pgb-") as folder, pooler(Path(folder), postgres_url) as url:
        yield url


def test_a_pooler_is_noticed(pooled: str, postgres_url: str) -> None:
    for url, found in ((pooled, True), (postgres_url, False)):
        engine = connect(url)
        with engine.connect() as connection:
            assert connection.info[POOLED] is found
        engine.dispose()


def test_statements_that_are_prepared_fail_there(pooled: str) -> None:
    """What this is about: the driver prepares what it has run five times, in whichever session that was."""

    def ask(_: int) -> None:
        with psycopg.connect(pooled) as connection:
            for number in range(40):
                connection.execute("SELECT %s::int + 1", (number,))
                connection.commit()

    refused = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)
    with ThreadPoolExecutor(4) as threads, pytest.raises(refused, match="prepared statement"):
        list(threads.map(ask, range(4)))


def test_reads_and_writes_of_many_threads_share_few_sessions(pooled: str) -> None:
    with Store.open(pooled, release="r1", algorithm=FAST) as store, ThreadPoolExecutor(8) as threads:
        known = [picture for picture, _ in pictures(40)]

        def work(place: int) -> None:
            for picture in known[place::4]:
                image = store.add_image(picture, NEW).result(30).image
                assert store.image(image.id) == image
                assert store.feed.changes(None).position.marks[0] > 0
                assert store.queue.status().length == 0
                assert store.by_sha256(picture.sha256) == image

        list(threads.map(work, [*range(4), *range(4)]))
        assert store.count() == 40


def test_what_is_set_for_a_write_is_gone_after_it(pooled: str, postgres_url: str) -> None:
    asked = "SELECT current_setting('lock_timeout'), current_setting('synchronous_commit')"
    engine = connect(pooled, lock_seconds=7)
    with psycopg.connect(postgres_url, autocommit=True) as direct:
        database = direct.info.dbname
        direct.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
        direct.execute(f"ALTER DATABASE {database} SET jit = on")
    with writing(engine) as connection:
        assert connection.exec_driver_sql(asked).one() == ("7s", "on")
    for _ in range(4):
        with reading(engine) as connection:
            assert connection.exec_driver_sql(asked).one() == ("0", "off")
            assert connection.exec_driver_sql("SHOW jit").scalar() == "on"
    engine.dispose()


def test_a_writer_that_waits_for_another_gives_up_in_time(pooled: str, postgres_url: str) -> None:
    engine = connect(pooled, lock_seconds=0.2)
    with psycopg.connect(postgres_url) as other:
        other.execute(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
        with pytest.raises(StoreLockedError), writing(engine):
            pass
    with writing(engine):
        pass
    engine.dispose()


@pytest.mark.system
def test_replicas_behind_a_pooler_serve_and_find_what_the_other_kept(
    pooled: str, postgres_url: str, tmp_path: Path
) -> None:
    """With few sessions and requests of all kinds at once, and the notifications past the pooler."""
    settings = {"store": pooled, "store_direct": postgres_url}
    with serving(tmp_path, **settings) as one, serving(tmp_path, **settings) as other:

        def send(number: int) -> httpx.Response:
            server = (one, other)[number % 2]
            return server.client.post(
                "/api/dhash",
                content=jpeg(320, 240, number // 2),
                headers={"Content-Type": "image/jpeg"},
            )

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(send, range(120)))
        assert {each.status_code for each in answers} == {200, 201}
        for number, answer in enumerate(answers):
            server = (other, one)[number % 2]
            asked = {"hash": answer.json()["hash"], "radius": 0}
            found = server.client.get("/api/dhash/search", params=asked).json()["results"]
            assert answer.json()["id"] in [each["id"] for each in found]
        assert other.client.get("/health").status_code == 200
        logs = one.log.read_text() + other.log.read_text()
        assert "prepared statement" not in logs
        assert "listening_failed" not in logs
