"""The time that all who share a store agree on: its database server's, or on SQLite this machine's.

Leases and sessions end by it: by each replica's own clock, one that is an hour ahead would hand out again
what somebody is at work on.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Engine, func, select

from dhash_service.store.engine import translated

log = structlog.get_logger()

REFRESH = 60.0
"""Seconds after which the server is asked again: clocks drift apart by less than a millisecond a minute."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """This machine's time."""
    return datetime.now(UTC)


def clock_of(engine: Engine, aside: Callable[[Callable[[], None]], object]) -> Clock:
    """The clock of a store. `aside` runs a call in another thread."""
    return StoreClock(engine, aside) if engine.dialect.name == "postgresql" else utc_now


def running_seconds() -> float:
    """Seconds that only rise, also while the machine sleeps where the system can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class StoreClock:
    """A PostgreSQL server's time, as asked now and then, and carried on by seconds that only rise.

    Safe from any thread. Only the first call asks and waits, and raises `StoreError` where that fails.
    """

    def __init__(
        self,
        engine: Engine,
        aside: Callable[[Callable[[], None]], object],
        seconds: Callable[[], float] = running_seconds,
    ) -> None:
        self._engine = engine
        self._aside = aside
        self._seconds = seconds
        self._asking = threading.Lock()
        self._started: datetime | None = None  # the server's time when `seconds` were 0
        self._asked_at = 0.0

    def __call__(self) -> datetime:
        """The server's time."""
        if self._started is None:
            with self._asking:
                if self._started is None:
                    self._ask()
        elif self._seconds() - self._asked_at > REFRESH:
            self._asked_at = self._seconds()
            with suppress(RuntimeError):  # nothing more is taken on: the store is being closed
                self._aside(self._refresh)
        assert self._started is not None
        return self._started + timedelta(seconds=self._seconds())

    def _ask(self) -> None:
        with translated(), self._engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("SELECT 1")  # what opening the transaction takes is over
            before = self._seconds()
            told: datetime = connection.scalar(select(func.clock_timestamp())) or utc_now()
            after = self._seconds()
        self._asked_at = after
        self._started = told.astimezone(UTC) - timedelta(seconds=(before + after) / 2)

    def _refresh(self) -> None:
        try:
            self._ask()
        except Exception as error:  # what was known is good for a while
            log.warning("store_clock_not_read", error=str(error))
