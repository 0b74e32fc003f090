"""Lost writes: what a release confirmed to its clients against the rows of it that are in the store."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.host.slots import Slot
from guarded_rollout.monitor.edge_log import EdgeLog

LOST, CONFIRMED, STORED = "lost_writes", "confirmed_total", "stored_total"
BUSY_SECONDS = 2.0


@dataclass(slots=True)
class WritesSource:
    """The gauge `lost_writes`: confirmed writes beyond the rows that came since; never below zero.

    A row is there before its answer is, so reading the answers first makes no healthy release look bad: what
    is on its way is in the store already. Rows that came by routes that are not declared hide lost writes.
    """

    log: EdgeLog
    slot: Slot
    rows: Callable[[], int]  # of this release, in the store; raises `OSError`
    side: Side = Side.CANDIDATE
    source: Source = Source.WRITES
    now: Callable[[], float] = time.time
    _before: int | None = field(default=None, init=False)

    def sample(self) -> Sample:
        try:
            if self._before is None:
                before = self.rows()
                self.log.follow_writes(self.slot, self.now())
                self._before = before
            confirmed = self.log.confirmed(self.slot)
            stored = self.rows() - self._before
        except OSError as error:
            return Sample(self.source, 0.0, self.side, problem=f"the store's rows cannot be counted: {error}")
        counters = {CONFIRMED: float(confirmed), STORED: float(stored)}
        lost = float(max(0, confirmed - stored))
        return Sample(self.source, 0.0, self.side, counters=counters, gauges={LOST: lost})


def count_rows(url: str, query: str, release: str) -> int:
    """The number that a query answers; `:release` in it is the release. Raises `OSError`."""
    if url.startswith("sqlite:///"):
        return _of_sqlite(Path(url.removeprefix("sqlite:///")), query, release)
    return _of_postgres(url, query, release)


def _of_sqlite(path: Path, query: str, release: str) -> int:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as store:
            store.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
            return int(store.execute(query, {"release": release}).fetchone()[0])
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise OSError(str(error)) from None


def _of_postgres(url: str, query: str, release: str) -> int:
    try:
        import psycopg
    except ImportError:
        raise OSError("psycopg is not installed beside rollout (extra `postgres`)") from None
    address = url.replace("postgresql+psycopg:", "postgresql:", 1)
    try:
        with psycopg.connect(address, connect_timeout=2, autocommit=True) as store:
            asked = query.replace("%", "%%").replace(":release", "%(release)s")
            return int(store.execute(asked.encode(), {"release": release}).fetchall()[0][0])
    except (psycopg.Error, IndexError, ValueError) as error:
        raise OSError(str(error).strip()) from None
