"""Keeps an index in step with a store: reads the store's feed several times a second, and at once when asked.

Any thread may read the feed, one at a time. Whoever waits for a read that another thread began after they
asked need not read for themselves, so a hundred writers that catch up together cost two reads.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import structlog

from dhash_service.search.feed import Bell, Changes, FingerprintFeed, Position
from dhash_service.search.index import Index
from dhash_service.search.segment import Values

log = structlog.get_logger()


NAMED = 100
"""Most lost fingerprints that are named; all are counted."""


@dataclass(frozen=True, slots=True)
class Failover:
    """The database became another: when that was seen, by what, and which fingerprints it has not got.

    They were acknowledged, and a standby that took over had not received them yet.
    """

    at: datetime
    why: str
    lost: int
    fingerprints: tuple[str, ...]  # the first `NAMED`

    def __str__(self) -> str:
        said = f"The database failed over ({self.why}), seen at {self.at:%Y-%m-%d %H:%M:%S} UTC;"
        if not self.lost:
            return f"{said} nothing is missing."
        return f"{said} {self.lost:,} acknowledged fingerprints are missing: {', '.join(self.fingerprints)}."


class Follower:
    """Follows `feed` into `index` from `start()` to `stop()`, every `interval` seconds, or when `bell` rings.

    While the feed fails, the index serves what it has, and reading is tried again after ever longer pauses,
    `patience` seconds at most. `ready` is set once everything has been read for the first time.
    """

    def __init__(
        self,
        index: Index,
        feed: FingerprintFeed,
        bell: Bell | None = None,
        *,
        interval: float = 0.25,
        patience: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index, self._feed = index, feed
        self._bell = bell or Bell()
        self._interval, self._patience, self._clock = interval, patience, clock
        self.position: Position | None = None  # all that came up to here is in the index
        self._version: int | None = None  # the feed's, before the last read that succeeded
        self._reading = threading.Lock()
        self._reads_begun = 0
        self._complete_at = clock()  # when the last read that succeeded began
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.ready = threading.Event()
        self.last_error: Exception | None = None
        self.failures = 0  # reads failed since one succeeded
        self._unread: list[int] = []  # committed by us, and not in the index because reading failed
        self.failover: Failover | None = None  # the last one

    @property
    def lag_seconds(self) -> float:
        """Seconds since the index is known to have held all that the store did (or following began)."""
        return max(0.0, self._clock() - self._complete_at)

    def start(self) -> None:
        """Begin to follow, in a thread of its own; returns at once."""
        if self._thread is not None:
            raise RuntimeError("A follower follows once.")
        self._thread = threading.Thread(target=self._follow, name="index-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following; the index keeps what it has. Returns once nothing reads the feed any more."""
        self._stopping.set()
        self._bell.ring()
        if self._thread is not None:
            self._thread.join()
        self._index.settle()

    def catch_up(self) -> bool:
        """Return once the index holds what was committed before the call; False where the feed failed."""
        begun = self._reads_begun
        with self._reading:
            # A read that began after this call has ended, since whoever reads holds the lock.
            if self._reads_begun == begun:
                self._read()
            return self.failures == 0

    def committed(self, values: Sequence[int]) -> None:
        """Catch up with fingerprints that were just committed, and remember those that cannot be read."""
        with self._reading:
            self._unread += values  # until a read succeeds, which has them
        self.catch_up()

    def is_current(self) -> bool:
        """True if nothing was committed since the last read; False also where only reading can tell."""
        known, version = self._version, self._feed.version()
        return version is not None and version == known and not self.failures

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self.catch_up()
            self._bell.wait(pause(self.failures, self._interval, self._patience))

    def _read(self) -> None:
        self._reads_begun += 1
        began = self._clock()
        try:
            version = self._feed.version()  # before: what is committed meanwhile is read once more
            changes = self._feed.changes(self.position)
            if changes.restarted:
                self._start_over(changes, changes.restarted)
            else:
                self._index.remove(changes.removed)
                self._index.append(changes.keys, changes.values)
            if changes.continued:
                self._go_on(changes.continued)
        except Exception as error:
            # Whatever the database's driver raises: searches go on, and the same changes are read again.
            self.failures += 1
            self.last_error = error
            if self.failures == 1:
                log.warning("index_cannot_follow", error=str(error))
            return
        if self.failures:
            log.info("index_follows_again", failures=self.failures, seconds=round(self.lag_seconds, 1))
        self._unread.clear()
        self.position, self._version, self._complete_at = changes.position, version, began
        self.failures, self.last_error = 0, None
        self.ready.set()

    def _start_over(self, changes: Changes, why: str) -> None:
        """Take the database as it is now, and say what it no longer has."""
        before = np.concatenate((self._index.contents()[1], np.array(self._unread, np.uint64)))
        self._index.replace(changes.keys, changes.values)
        self._failed_over(why, gone(before, changes.values))

    def _go_on(self, why: str) -> None:
        """Say that another database has all that was read, and what it has not of what we committed since."""
        lost = [value for value in self._unread if not self._index.search(value, 0, 1).hits]
        self._failed_over(why, [f"{value:016x}" for value in lost])

    def _failed_over(self, why: str, lost: Sequence[str]) -> None:
        self.failover = failover = Failover(datetime.now(UTC), why, len(lost), tuple(lost[:NAMED]))
        log.error("store_failed_over", why=why, lost=failover.lost, fingerprints=failover.fingerprints)


def gone(before: Values, now: Values) -> list[str]:
    """The fingerprints (uint64) that are there less often than before: 16 hex digits each."""
    values, counts = np.unique(np.concatenate((before, now)), return_counts=True)
    _, left = np.unique(np.concatenate((values, now)), return_counts=True)
    missing = counts - 2 * (left - 1)  # as often before, less as often now
    return [f"{value:016x}" for value in values.repeat(np.maximum(missing, 0)).tolist()]


def pause(failures: int, interval: float, patience: float) -> float:
    """Seconds until the next read: the interval, doubled for each failure in a row up to `patience`."""
    return interval if not failures else min(interval * 2.0 ** min(failures, 32), max(interval, patience))
