import os
import signal
import time

import pytest

from guarded_rollout.errors import RolledBackError
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.rollout.engine import Request
from tests.guarded_rollout.load import GET, POST, SLOW, Load
from tests.guarded_rollout.rolloutkit import kept, last

REQUESTS = 20_000
SHARES = ((10, 0.3), (50, 0.3), (100, 0.0))


def test_releases_come_and_go_under_load_and_no_request_fails_and_no_write_is_lost(sandbox):
    sandbox.configure(steps=SHARES)
    sandbox.deploy()
    delays = []
    with Load(sandbox.port, [GET, POST, SLOW]) as load:
        number = 1
        while number < 3 or load.count() < REQUESTS:
            number += 1
            sandbox.deploy(f"{number}.0.0")
            with sandbox.engine() as engine:
                if number % 2:
                    engine.promote()
                else:
                    candidate = engine.require_open().target
                    decided = time.time()
                    engine.abort("to see it go")
                    delays.append((candidate, decided))
    assert load.report["failed"] == {}, load.report["first"]
    assert load.requests >= REQUESTS
    assert set(load.report["requests"]) == {"get", "post", "slow"}
    assert set(load.report["acknowledged"]) <= kept(sandbox)
    for candidate, decided in delays:
        assert load.report["last"][candidate] - decided <= 0.1, (
            "clients are back within 100 ms of the decision"
        )


def test_a_candidate_killed_while_it_has_half_of_the_traffic_costs_no_request(sandbox):
    sandbox.configure(steps=((50, 30.0), (100, 0.0)))
    old = sandbox.deploy().release
    sandbox.version("2.0.0")

    def kill_once(work) -> None:
        time.sleep(0.5)
        os.kill(work.site.processes.state(work.slot).pid, signal.SIGKILL)
        time.sleep(0.5)
        work.site.processes.require_running(work.slot)

    with Load(sandbox.port, [GET, POST, SLOW]) as load:
        with (
            sandbox.engine(guard=kill_once) as engine,
            pytest.raises(RolledBackError, match="green does not run"),
        ):
            engine.deploy(engine.site.build(None), Request(command="deploy", operator="test"))
        time.sleep(0.5)
    assert load.report["failed"] == {}, load.report["first"]
    assert load.report["last"].keys() >= {old.id}
    assert len(load.report["last"]) == 2, "it did have traffic"
    assert set(load.report["acknowledged"]) <= kept(sandbox)
    assert last(sandbox).outcome is RolloutOutcome.ROLLED_BACK
