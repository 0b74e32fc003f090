"""A rollout can be stopped at any moment, from anywhere; and nothing else stops it."""

import os
import signal
import subprocess
import time

import pytest

from guarded_rollout.host.release import short
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.notify.events import Kind
from guarded_rollout.notify.outbox import Outbox
from tests.guarded_rollout.rolloutkit import last
from tests.guarded_rollout.sandbox import Sandbox, wait_until

pytestmark = pytest.mark.system


def begin(sandbox: Sandbox, *words: str, **more: object) -> subprocess.Popen[str]:
    """Begin a deployment of the next version in another process."""
    sandbox.version("2.0.0")
    sandbox.build()
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | more
    return subprocess.Popen(sandbox.command(*words), cwd=sandbox.folder, text=True, **streams)


def reaches(sandbox: Sandbox, step: str) -> None:
    wait_until(lambda: last(sandbox).open and last(sandbox).last(step), seconds=60, what=step)


@pytest.mark.parametrize("step", ["verify", "shift"])
def test_abort_stops_a_rollout_that_another_process_is_at_within_a_second(sandbox, step):
    old = sandbox.deploy().release
    sandbox.configure(steps=((50, 60.0), (100, 0.0)), start_seconds=60)
    if step == "verify":  # for as long as it takes
        sandbox.edit(
            "src/sample_service/__init__.py", lambda text: text.replace("503 if lacking() else 200", "503")
        )
    deploying = begin(sandbox, "deploy")
    reaches(sandbox, step)
    if step == "shift":
        wait_until(lambda: sandbox.site.traffic.share()[sandbox.slot_of(old.id)] == 50, seconds=30)
    asked = sandbox.rollout("abort", "--why", "users see wrong matches")
    assert asked.returncode == 0, asked.stderr
    assert f"(process {deploying.pid} on" in asked.stdout
    assert f"{short(old.id)} serves production" in asked.stdout
    assert deploying.wait(30) == 130
    rollout = last(sandbox)
    assert rollout.outcome is RolloutOutcome.ROLLED_BACK
    assert rollout.reason.startswith("users see wrong matches (asked by ")
    word = sandbox.environment.lock.with_suffix(".stop.json").stat().st_mtime
    assert rollout.note("undoing").at.timestamp() - word < 1
    assert sandbox.site.traffic.share()[sandbox.slot_of(old.id)] == 100
    assert sandbox.served_by() == old.id
    assert set(sandbox.pids()) == {"proxy", str(sandbox.slot_of(old.id))}


def test_a_broken_pipe_and_a_dead_terminal_decide_nothing(sandbox):
    """`rollout deploy | head -1`: the window opens, and a watchdog stands by."""
    sandbox.deploy()
    reading, writing = os.pipe()
    deploying = begin(sandbox, "deploy", "--verbose", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        pipe.readline()
    _, said = deploying.communicate(timeout=120)
    assert deploying.returncode == 0, said
    assert last(sandbox).open
    assert last(sandbox).last("watch") is not None
    assert sandbox.site.traffic.share()[sandbox.site.traffic.serving()] == 100
    assert "watcher" in sandbox.pids()


def test_a_rollout_whose_command_was_killed_is_told_of_and_taken_back_by_abort(sandbox):
    old = sandbox.deploy().release
    sandbox.configure(steps=((50, 60.0), (100, 0.0)))
    deploying = begin(sandbox, "deploy")
    wait_until(lambda: sandbox.site.traffic.share()["blue"] == 50, seconds=60)
    wait_until(lambda: "watcher" in sandbox.pids())
    deploying.send_signal(signal.SIGKILL)
    deploying.wait()
    killed = time.monotonic()

    def told() -> bool:
        with Outbox.look(sandbox.environment.root / "notifications.db") as outbox:
            return Kind.INTERRUPTED in [logged.event.kind for logged in outbox.log().events]

    wait_until(told, seconds=60, what="word of the interrupted rollout")
    assert time.monotonic() - killed < 60
    assert sandbox.rollout("abort").returncode == 0
    assert sandbox.served_by() == old.id
    assert "watcher" not in sandbox.pids()
