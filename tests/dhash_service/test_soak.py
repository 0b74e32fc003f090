"""Replicas are killed and the database fails over under load: nothing acknowledged is lost, or missed."""

import time
from pathlib import Path

import pytest

from tests.dhash_service.soak import Book, replicas, run
from tests.dhash_service.store.standby import pair_of_servers

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
            deadline = time.monotonic() + 20
            while len(book.acknowledged) < written + 5:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            pair.fail_over()

        book = run(running, 8, writers=2, readers=2, disaster=fail_over)
        lost = book.lost(pair.standby)
    assert lost >= 5
    assert book.missed
