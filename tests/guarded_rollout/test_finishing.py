"""What is in flight when a release is accepted may end; what could not is counted and reported."""

import threading
import time
from urllib.request import urlopen

import pytest

from tests.guarded_rollout.rolloutkit import last
from tests.guarded_rollout.sandbox import Sandbox, wait_until

pytestmark = pytest.mark.system


class Slow(threading.Thread):
    """A request that takes so many seconds; `status` is 0 if it was cut."""

    def __init__(self, sandbox: Sandbox, seconds: float) -> None:
        super().__init__()
        self._url = f"http://127.0.0.1:{sandbox.port}/slow?seconds={seconds}"
        self.status = 0
        self.start()

    def run(self) -> None:
        try:
            with urlopen(self._url, timeout=60) as answer:
                self.status = answer.status
        except OSError:
            self.status = 0


def accepted_during(sandbox: Sandbox, seconds: float, finish_seconds: float) -> tuple[Slow, float]:
    """Accept a release while the old one answers a request; returns it, and how long accepting took."""
    file = sandbox.folder / "rollout.toml"
    file.write_text(file.read_text() + f"finish_seconds = {finish_seconds}\n")
    sandbox.deploy()
    slow = Slow(sandbox, seconds)
    wait_until(lambda: sandbox.site.traffic.in_flight("blue") == 1)
    sandbox.deploy("2.0.0")
    began = time.monotonic()
    with sandbox.engine() as engine:
        engine.promote()
    took = time.monotonic() - began
    slow.join()
    return slow, took


def test_a_request_that_outlasts_the_drain_ends_and_nothing_is_cut(sandbox):
    slow, _ = accepted_during(sandbox, 12, finish_seconds=30)
    assert slow.status == 200
    assert last(sandbox).last("finish").evidence["cut_requests"] == 0
    assert sandbox.site.traffic.in_flight("blue") == 0


def test_what_had_to_be_cut_is_counted_and_reported(sandbox):
    slow, took = accepted_during(sandbox, 60, finish_seconds=0)
    assert slow.status != 200
    assert took < 30
    assert last(sandbox).last("finish").evidence["cut_requests"] == 1
