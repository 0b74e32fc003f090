"""Confirmed writes against the rows of a release, in a real SQLite file."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from dhash_service.metrics import Metrics
from dhash_service.service import Service
from dhash_service.settings import Settings
from dhash_service.store.store import Store
from guarded_rollout.config.environments import load
from guarded_rollout.monitor.lost_writes import WritesSource, count_rows
from tests.guarded_rollout.test_edge_log import ROOT, Written, line
from tests.pictures import jpeg

QUERY = "SELECT count(*) FROM facts WHERE release = :release"


class Served:
    """A release that writes rows and confirms them, through a proxy that logs."""

    def __init__(self, folder):
        self.written, self.now = Written(folder), 100.0
        self.store = sqlite3.connect(folder / "store.db", isolation_level=None)
        self.store.execute("CREATE TABLE facts (release TEXT)")
        self.url = f"sqlite:///{folder / 'store.db'}"
        rows = lambda: count_rows(self.url, QUERY, "r2")  # noqa: E731
        self.source = WritesSource(self.written.log, "green", rows, now=lambda: self.now)

    def write(self, *, stored=True, confirmed=True, release="r2", seconds=0.01):
        self.now += 1
        if stored:
            self.store.execute("INSERT INTO facts VALUES (?)", (release,))
        if confirmed:
            self.written.add(line(self.now, method="POST", uri="/api/dhash", status=201, seconds=seconds))

    def lost(self) -> float:
        return self.source.sample().gauges["lost_writes"]


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path)
    for _ in range(3):
        made.write()  # before anybody watched
    assert made.lost() == 0
    return made


def test_one_confirmed_write_that_is_not_stored_is_lost(served):
    for _ in range(50):
        served.write()
    assert served.lost() == 0
    served.write(stored=False)
    assert served.lost() == 1
    assert served.source.sample().counters == {"confirmed_total": 51, "stored_total": 50}


def test_what_is_on_its_way_is_no_loss_and_hides_none_once_it_has_arrived(served):
    served.write(confirmed=False)
    assert served.lost() == 0
    served.write(seconds=60)  # it began before anybody watched
    assert served.lost() == 0


def test_rows_of_another_release_do_not_stand_for_its_own(served):
    served.write(release="r1")
    assert served.lost() == 1


def test_a_store_that_cannot_be_counted_is_no_data(served):
    served.store.execute("DROP TABLE facts")
    assert "cannot be counted: no such table: facts" in served.source.sample().problem


def test_our_own_service_has_a_row_for_each_confirmed_write_whatever_became_of_it(tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    query = load(ROOT / "rollout.toml").environment("production").service.writes.count
    settings = Settings(store=url, release="r2", threads=1)

    def rows() -> int:
        return count_rows(url, query, "r2")

    async def write(service: Service) -> None:
        kept = await service.submit(jpeg(64, 64, 1))
        assert (kept.created, rows()) == (True, 1)
        await service.hide(kept.picture_id, "a mistake", "ada")
        assert rows() == 1
        assert (await service.submit(jpeg(64, 64, 1), as_admin=True)).created
        assert rows() == 2
        other = await service.submit(jpeg(64, 64, 2))
        await service.erase(other.picture_id, "asked for", "ada")
        assert (await service.submit(jpeg(64, 64, 3))).created
        assert rows() >= 4

    Store.open(url, release="r2", algorithm=None, migrate=True).close()
    with closing(Service(settings, Metrics("r2")).start()) as service:
        asyncio.run(write(service))
