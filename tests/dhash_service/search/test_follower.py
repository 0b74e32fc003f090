"""An index that follows a feed sees every change soon, its own at once, and outlives the feed's failures."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from dhash_service.errors import StoreError
from dhash_service.search.feed import Changes, Position
from dhash_service.search.follower import Follower, pause
from dhash_service.search.index import HammingIndex, Hit
from tests.waiting import wait_until


class Journal:
    """A feed over what this process wrote into it: appended rows and removals, in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int | None]] = []
        self.reads = 0
        self.away = False
        self.versioned = True
        self.overlap = 0  # how many entries before the position are given once more
        self.gate: threading.Event | None = None

    def write(self, key: int, value: int | None) -> None:
        self.entries.append((key, value))

    def version(self) -> int | None:
        return len(self.entries) if self.versioned else None

    def changes(self, after: Position | None) -> Changes:
        self.reads += 1
        if self.away:
            raise StoreError("The database is away.")
        end = len(self.entries)
        if self.gate is not None:
            assert self.gate.wait(30)
        start = max(0, after.marks[0] - self.overlap) if after else 0
        last = dict(self.entries[start:end])
        came = {key: value for key, value in last.items() if value is not None}
        left = [key for key, value in last.items() if value is None]
        return Changes(
            np.array(list(came), np.int64),
            np.array(list(came.values()), np.uint64),
            np.array(left, np.int64),
            Position((end,)),
        )


@contextmanager
def following(feed: Journal, **options: float | Callable[[], float]) -> Iterator[Follower]:
    follower = Follower(HammingIndex(), feed, **options)  # type: ignore[arg-type]
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()


def keys_of(follower: Follower) -> set[int]:
    return {hit.key for hit in follower._index.search(0, 64, 1000).hits}


def test_everything_is_there_once_ready() -> None:
    feed = Journal()
    for key in range(100):
        feed.write(key, key * 7919)
    with following(feed) as follower:
        assert follower.ready.wait(10)
        assert keys_of(follower) == set(range(100))


def test_it_is_current_until_somebody_commits() -> None:
    feed = Journal()
    with following(feed, interval=60) as follower:
        assert follower.ready.wait(10)
        assert follower.is_current()
        feed.write(1, 1)
        assert not follower.is_current()
        assert follower.catch_up()
        assert follower.is_current()
        feed.away = True
        assert not follower.catch_up()
        assert not follower.is_current()
        feed.away, feed.versioned = False, False
        assert follower.catch_up()
        assert not follower.is_current()


def test_an_empty_store_is_ready_too() -> None:
    with following(Journal()) as follower:
        assert follower.ready.wait(10)
        assert keys_of(follower) == set()


def test_rows_that_others_write_are_seen_by_the_next_poll_of_four_a_second() -> None:
    feed = Journal()
    with following(feed) as follower:
        assert follower._interval <= 0.25
        assert follower.ready.wait(10)
        for value in (5, None, 5):
            feed.write(1, value)
            reads = feed.reads
            wait_until(lambda seen={1} if value else set(): keys_of(follower) == seen)  # type: ignore[misc]
            assert feed.reads - reads <= 8  # one or two; more where this thread had to wait for its turn


def test_rows_given_again_change_nothing() -> None:
    feed = Journal()
    feed.overlap = 3
    with following(feed, interval=30) as follower:
        assert follower.ready.wait(10)
        for key in range(10):
            feed.write(key, 5)
            assert follower.catch_up()
        assert len(follower._index) == 10


def test_what_was_written_before_catching_up_is_found_after_it() -> None:
    feed = Journal()
    with following(feed, interval=30) as follower:
        assert follower.ready.wait(10)
        for key in range(50):
            feed.write(key, key)
            assert follower.catch_up()
            assert Hit(key, 0) in follower._index.search(key, 0, 10).hits


def test_many_that_catch_up_together_share_two_reads() -> None:
    feed = Journal()
    with following(feed, interval=30) as follower:
        assert follower.ready.wait(10)
        feed.gate = threading.Event()
        before = feed.reads
        first = threading.Thread(target=follower.catch_up)
        first.start()
        wait_until(lambda: feed.reads == before + 1)
        missed: list[int] = []

        def write_and_look(key: int) -> None:
            feed.write(key, key)
            waiting.release()
            follower.catch_up()
            if Hit(key, 0) not in follower._index.search(key, 0, 10).hits:
                missed.append(key)

        waiting = threading.Semaphore(0)
        writers = [threading.Thread(target=write_and_look, args=(key,)) for key in range(40)]
        for writer in writers:
            writer.start()
        for _ in writers:
            assert waiting.acquire(timeout=30)
        feed.gate.set()
        for thread in [first, *writers]:
            thread.join(30)
        assert missed == []
        # The last writer may not have begun to wait when the gate opened: a third read is then its own.
        assert feed.reads - before <= 3


def test_while_the_database_is_away_the_index_serves_what_it_has_and_says_how_old_that_is() -> None:
    now = [1000.0]
    feed = Journal()
    feed.write(1, 5)
    with following(feed, interval=0.01, patience=0.02, clock=lambda: now[0]) as follower:
        assert follower.ready.wait(10)
        feed.away = True
        wait_until(lambda: follower.failures >= 3)
        feed.write(2, 6)
        now[0] += 40
        assert follower.lag_seconds == 40
        assert "away" in str(follower.last_error)
        assert not follower.catch_up()
        assert keys_of(follower) == {1}

        feed.away = False
        wait_until(lambda: keys_of(follower) == {1, 2})
        assert follower.catch_up()
        assert (follower.failures, follower.last_error, follower.lag_seconds) == (0, None, 0)


def test_a_feed_that_fails_from_the_start_is_not_ready_until_it_answers() -> None:
    feed = Journal()
    feed.away = True
    with following(feed, interval=0.01, patience=0.02) as follower:
        wait_until(lambda: follower.failures >= 3)
        assert not follower.ready.is_set()
        feed.away = False
        assert follower.ready.wait(10)


def test_a_change_that_cannot_be_applied_is_applied_later(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Journal()
    with following(feed, interval=30) as follower:
        assert follower.ready.wait(10)
        feed.write(1, 5)
        append = HammingIndex.append

        def without_memory(*arguments: object) -> None:
            raise MemoryError

        monkeypatch.setattr(HammingIndex, "append", without_memory)
        assert not follower.catch_up()
        monkeypatch.setattr(HammingIndex, "append", append)
        assert follower.catch_up()
        assert keys_of(follower) == {1}


def test_a_database_that_has_all_that_was_read_is_read_on_and_what_it_lacks_is_named() -> None:
    class FailedOver(Journal):
        why: str | None = None

        def changes(self, after: Position | None) -> Changes:
            why, self.why = self.why, None
            return replace(super().changes(after), continued=why)

    feed = FailedOver()
    with following(feed, interval=30) as follower:
        assert follower.ready.wait(10)
        feed.write(1, 5)
        assert follower.catch_up()
        feed.away = True
        follower.committed([7, 9])  # acknowledged, and not read: the primary has died
        feed.away, feed.why = False, "timeline 1 became 2"
        feed.write(2, 7)  # of the two, this one had reached the standby
        assert follower.catch_up()
        assert keys_of(follower) == {1, 2}
        failover = follower.failover
        assert failover is not None
        assert (failover.lost, failover.fingerprints) == (1, (f"{9:016x}",))


def test_failures_are_answered_by_longer_pauses_up_to_a_limit() -> None:
    assert [pause(failures, 0.25, 5) for failures in (0, 1, 2, 3, 4, 5, 10_000)] == [0.25, 0.5, 1, 2, 4, 5, 5]
    assert pause(1, 10, 5) == 10  # never sooner than without a failure


def test_nothing_reads_the_feed_once_stopped() -> None:
    feed = Journal()
    with following(feed, interval=0.01) as follower:
        assert follower.ready.wait(10)
    reads = feed.reads
    time.sleep(0.1)
    assert feed.reads == reads
    assert follower._thread is not None
    assert not follower._thread.is_alive()


def test_a_follower_does_not_read_in_a_busy_loop() -> None:
    feed = Journal()
    with following(feed, interval=0.1) as follower:
        assert follower.ready.wait(10)
        time.sleep(0.5)
        assert feed.reads <= 7


def test_a_follower_starts_once() -> None:
    with following(Journal()) as follower, pytest.raises(RuntimeError, match="once"):
        follower.start()


def test_a_million_rows_are_searchable_after_one_reading_of_them() -> None:
    """How long that takes is measured by `make bench ARGS=http`."""
    count = 1_000_000
    values = np.random.default_rng(1).integers(0, 1 << 64, count, dtype=np.uint64)

    class Large(Journal):
        def changes(self, after: Position | None) -> Changes:
            some = slice(count) if after is None else slice(0)
            keys = np.arange(count)[some]
            return Changes(keys, values[some], np.empty(0, np.int64), Position((count,)))

    with following(Large()) as follower:
        assert follower.ready.wait(30)
        assert Hit(77, 0) in follower._index.search(int(values[77]), 0, 10).hits
