"""One clock for all who share a store: leases and sessions hold, whatever a replica's own clock says."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from dhash_service.errors import StoreUnreachableError
from dhash_service.facts import Role
from dhash_service.store.clock import REFRESH, StoreClock, utc_now
from dhash_service.store.engine import connect
from dhash_service.store.store import Store
from tests.dhash_service.queues import FAST, fill
from tests.dhash_service.serving import Server, free_port, serving
from tests.dhash_service.web.browsing import Browsing

HOUR = timedelta(hours=1)


def test_a_store_tells_the_time(store: Store) -> None:
    assert abs(store.now() - utc_now()) < timedelta(seconds=1)
    assert store.now().utcoffset() == timedelta()
    first = store.now()
    assert store.now() >= first


def test_the_server_is_asked_seldom_and_never_while_somebody_waits(postgres_url: str) -> None:
    engine, asked, seconds = connect(postgres_url), [], [1000.0]
    clock = StoreClock(engine, asked.append, lambda: seconds[0])
    first = clock()
    seconds[0] += 30
    assert (clock() - first, asked) == (timedelta(seconds=30), [])
    seconds[0] += 2 * 3600
    late = clock()
    assert late - first == 2 * HOUR + timedelta(seconds=30), "until the server has answered"
    assert len(asked) == 1
    clock()
    assert len(asked) == 1, "once a minute is enough"
    asked[0]()
    assert abs(clock() - utc_now()) < timedelta(seconds=5), "which went on slower than we thought"
    engine.dispose()


def test_a_server_that_is_gone_is_told_once_and_then_done_without(postgres_url: str) -> None:
    gone = connect(postgres_url.replace("host=", "host=/nowhere"))
    with pytest.raises(StoreUnreachableError):
        StoreClock(gone, lambda call: call())()
    seconds = [0.0]
    clock = StoreClock(connect(postgres_url), lambda call: call(), lambda: seconds[0])
    first = clock()
    clock._engine = gone
    seconds[0] += REFRESH + 1
    assert clock() - first == timedelta(seconds=REFRESH + 1)


@contextmanager
def by_another_clock(server: Server, ahead: str) -> Iterator[str]:
    """A replica beside a server, on a machine whose clock is ahead; its URL."""
    port = free_port()
    env = os.environ | server.env | {"DHASH_PORT": str(port), "DONT_FAKE_MONOTONIC": "1"}
    command = ["faketime", "-f", ahead, sys.executable, "-m", "dhash_service", "serve"]
    with server.log.with_suffix(".ahead").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
    try:
        while True:
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
            assert process.poll() is None, server.log.with_suffix(".ahead").read_text()
            assert time.monotonic() < deadline
        yield url
    finally:
        process.terminate()
        process.wait(40)


@pytest.mark.system
@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs Debian's `faketime`")
@pytest.mark.parametrize("ahead", ["+2h", "-2h"])
def test_leases_and_sessions_hold_on_a_replica_whose_clock_differs(
    ahead: str, postgres_url: str, tmp_path: Path
) -> None:
    settings = {"lease_seconds": 600, "session_hours": 1, "algorithm": FAST.name}
    with Store.open(postgres_url, release="r1", algorithm=FAST, migrate=True) as store:
        fill(store, 6, "far_from_certain")
    with serving(tmp_path, store=postgres_url, **settings) as here, by_another_clock(here, ahead) as there:
        token = here.token("rita", Role.REVIEWER)["Authorization"].removeprefix("Bearer ")
        urls = (here.url, there) if ahead.startswith("+") else (there, here.url)  # the earlier clock first
        one, two, moved = Browsing(urls[0]), Browsing(urls[1]), Browsing(urls[1])
        assert one.sign_in(token).status_code == 200
        first = one.pairs(3)
        assert two.sign_in(token).status_code == 200
        second = two.pairs(6)
        assert (len(first), len(second)) == (3, 3)
        assert not set(first) & set(second), "nobody's pair is handed out again"
        moved.client.cookies.update(one.client.cookies)
        assert "Signed in as" in moved.client.get("/review").text
        leases = [each["lease"]["seconds"] for each in two.start()["pairs"] if each["lease"]]
        assert leases
        assert all(500 < left <= 600 for left in leases)


def test_each_replica_asks_by_itself(open_store: Callable[..., Store]) -> None:
    assert abs(open_store("r1").now() - open_store("r2").now()) < timedelta(seconds=1)
