"""Replicas are killed and the database fails over under load: nothing acknowledged is lost, or missed."""

import signal
from pathlib import Path

import pytest

from tests.dhash_service.soak import Book, clients, edge, replicas, run
from tests.dhash_service.store.standby import pair_of_servers
from tests.waiting import wait_until

pytestmark = pytest.mark.system


def test_nothing_acknowledged_is_lost_or_missed(tmp_path: Path) -> None:
    with pair_of_servers() as pair, replicas(tmp_path, pair.url, 3) as running:
        pair.make_synchronous()
        book = run(running, 24, writers=3, readers=3, kill_every=4, disaster=lambda _: pair.fail_over())
        lost = book.lost(pair.standby)
    assert book.faults == []
    assert running.killed >= 3
    assert len(book.acknowledged) > 100, book.seen
    assert len(book.seconds["search"]) > 100, book.seen
    assert (lost, book.missed) == (0, []), book.seen


def test_a_loss_is_seen(tmp_path: Path) -> None:
    """A standby that lags takes over: the book must say so, or it would say nothing above."""
    with pair_of_servers() as pair, replicas(tmp_path, pair.url, 2) as running:

        def fail_over(book: Book) -> None:
            pair.cut()
            written = len(book.acknowledged)
            wait_until(lambda: len(book.acknowledged) >= written + 5)
            pair.fail_over()

        book = run(running, 8, writers=2, readers=2, disaster=fail_over)
        lost = book.lost(pair.standby)
    assert lost >= 5
    assert book.missed


def test_a_rolling_restart_fails_no_request(postgres_url: str, tmp_path: Path) -> None:
    with replicas(tmp_path, postgres_url, 3) as running, edge(running, tmp_path) as front:
        with clients(front, writers=2, readers=3) as book:
            for place in range(3):
                written, asked = len(book.acknowledged), len(book.seconds["search"])
                assert running.restart(place) in (0, -signal.SIGTERM)  # drained: it was not killed
                wait_until(lambda: len(book.acknowledged) > written + 20)  # noqa: B023
                wait_until(lambda: len(book.seconds["search"]) > asked + 20)  # noqa: B023
        lost = book.lost(postgres_url)
    assert book.faults == []
    assert book.seen.keys() <= {"write 201", "search 200"}, book.seen
    assert (lost, book.missed) == (0, [])
