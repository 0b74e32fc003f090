"""The monitor on the real stack: releases, Caddy, the supervisor, and clients that notice."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from guarded_rollout.errors import RolledBackError
from guarded_rollout.journal.model import Rollout, RolloutOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.notify.events import Kind
from guarded_rollout.rollout.engine import Request
from guarded_rollout.rollout.gate_guard import guard_of
from guarded_rollout.rollout.window import PAUSED
from tests.guarded_rollout.gatekit import SHIPPED
from tests.guarded_rollout.monitorkit import Told
from tests.guarded_rollout.sandbox import Sandbox, wait_until

SERVICE = "src/sample_service/__init__.py"


def lying(text: str) -> str:
    """The service, but it counts no failure."""
    return text.replace('        COUNTERS["server_errors_total"] += 1\n', "").replace(
        '        COUNTERS["images_failed_total"] += 1\n', ""
    )


@pytest.fixture
def stack(sandbox: Sandbox) -> Sandbox:
    """Version 1 serves."""
    sandbox.deploy()
    return sandbox


def gates(sandbox: Sandbox, **rollback: Any) -> None:
    """Gates that look five times a second, over a window of a minute."""
    threshold = {"max_failure_percentage": 5, "evaluation_window_minutes": 1, "min_sample_size": 20}
    errors = {"max_error_percentage": 10, "evaluation_window_minutes": 1, "min_sample_size": 20}
    both = ["alert", "auto_rollback"]
    polls = {"initial_minutes": 1, "initial_interval_seconds": 0.5, "normal_interval_seconds": 0.5}
    environment = {
        "monitoring": {"window_minutes": 1, "poll_intervals": polls, "counter_interval_seconds": 0.2},
        "quality_gates": {
            "health": {
                "threshold": {"consecutive_failures": 2, "check_interval_seconds": 0.3},
                "actions": both,
            },
            "extraction_failure_rate": {"threshold": threshold, "actions": both},
            "client_error_rate": {"threshold": errors, "actions": both},
        },
        "auto_rollback": {"enabled": True, **rollback},
    }
    text = json.dumps(
        {"environments": {"production": environment}, "global_settings": {"timeout_seconds": 2}}
    )
    (sandbox.folder / "quality-gates-config.json").write_text(text)


def window(sandbox: Sandbox, minutes: float) -> None:
    path = sandbox.folder / "quality-gates-config.json"
    text, count = re.subn(
        r'"window_minutes": [\d.]+', f'"window_minutes": {minutes}', path.read_text(), count=1
    )
    assert count == 1
    path.write_text(text)


def break_it(sandbox: Sandbox, release: str) -> None:
    """From now on this release fails three submits in ten."""
    (sandbox.folder / "broken").write_text(release)


def start_monitor(sandbox: Sandbox, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        sandbox.command("monitor", "--env", "production", *words),
        cwd=sandbox.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def monitor(sandbox: Sandbox, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = start_monitor(sandbox, *words)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Clients:
    """One client that submits about thirty times a second; `bad` are the times of answers that were none."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.bad: list[float] = []
        self.asked = 0

    def __enter__(self) -> "Clients":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._stop.wait(0.02):
            self.asked += 1
            try:
                connection.request(
                    "POST", "/api/dhash", body=os.urandom(64), headers={"Content-Type": "image/png"}
                )
                answer = connection.getresponse()
                answer.read()
                good = answer.status < 500
            except (OSError, http.client.HTTPException):
                connection.close()
                good = False
            if not good:
                self.bad.append(time.monotonic())


def logged(sandbox: Sandbox) -> list[dict[str, Any]]:
    paths = sorted((sandbox.folder / "monitor_logs").glob("dhash_production_*.log"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def said(sandbox: Sandbox, words: str) -> list[str]:
    return [line["message"] for line in logged(sandbox) if words in line["message"]]


def history(sandbox: Sandbox) -> list[Rollout]:
    with Journal.open(sandbox.environment.journal) as journal:
        return journal.history(limit=10)


def test_with_the_shipped_gates_a_release_that_fails_and_lies_is_gone_within_fifteen_seconds(
    stack: Sandbox,
) -> None:
    shutil.copy(SHIPPED, stack.folder / "quality-gates-config.json")
    stack.edit(SERVICE, lying)
    old, new = stack.served_by(), stack.deploy("2.0.0", backup=True).release.id
    with monitor(stack) as process, Clients(stack.port) as clients:
        wait_until(lambda: said(stack, "Sample"), what="the monitor watches")
        break_it(stack, new)
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 2, output
    assert stack.served_by() == old
    assert clients.asked > 100
    assert clients.bad[-1] - clients.bad[0] <= 15
    (trigger,) = said(stack, "TRIGGERING AUTO-ROLLBACK: ")
    # All three see it; the first to be sure decides.
    assert any(gate in trigger for gate in ("client_error_rate", "failed_requests", "relative_failures"))
    (backup,) = said(stack, "Using backup file: ")
    assert (stack.folder / backup.removeprefix("Using backup file: ")).exists()
    assert said(stack, "Auto-rollback completed successfully")
    assert [rollout.outcome for rollout in history(stack)[:2]] == [
        RolloutOutcome.COMPLETED,
        RolloutOutcome.ROLLED_BACK,
    ]


def test_killed_three_times_it_goes_on_and_the_rollback_happens_once(stack: Sandbox) -> None:
    gates(stack)
    old, new = stack.served_by(), stack.deploy("2.0.0").release.id
    with Clients(stack.port):
        for _ in range(3):
            known = len(said(stack, "Sample"))
            process = start_monitor(stack)
            wait_until(lambda known=known: len(said(stack, "Sample")) > known + 4, what="it samples")  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
            process.communicate()
        break_it(stack, new)
        with monitor(stack) as process:
            output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert stack.served_by() == old
    assert len(list((stack.folder / "monitor_logs").glob("dhash_production_*.log"))) == 1
    assert len(said(stack, "Monitoring session resumed")) == 3
    assert len(said(stack, "TRIGGERING AUTO-ROLLBACK:")) == 1  # whichever gate was sure first
    assert len([rollout for rollout in history(stack) if rollout.command == "rollback"]) == 1


def test_a_good_window_ends_with_the_old_release_stopped_and_whoever_follows_is_told(stack: Sandbox) -> None:
    gates(stack)
    window(stack, 0.25)
    old, new = stack.served_by(), stack.deploy("2.0.0").release.id
    with Clients(stack.port) as clients, monitor(stack) as first:
        wait_until(lambda: said(stack, "Sample"))
        with monitor(stack) as second:
            output, _ = second.communicate(timeout=60)
            first.communicate(timeout=60)
    assert "following its log" in output
    assert (first.returncode, second.returncode) == (0, 0)
    assert clients.bad == []
    assert stack.served_by() == new
    assert stack.slot_of(old) is None
    assert history(stack)[0].outcome is RolloutOutcome.COMPLETED


def test_while_traffic_is_shifted_the_gates_take_a_failing_release_back(stack: Sandbox) -> None:
    stack.configure(steps=((50, 20.0), (100, 0.0)))
    gates(stack)
    old = stack.served_by()
    told = Told()
    guard = guard_of(stack.environment, told)
    stack.version("2.0.0")
    with Clients(stack.port), stack.engine(guard=guard) as engine:
        release = stack.build()
        threading.Thread(target=break_once_shared, args=(stack, release.id)).start()
        with pytest.raises(RolledBackError, match="Quality gate failed"):
            engine.deploy(release, Request(command="deploy", operator="test"))
    assert stack.served_by() == old
    shares = [note.data["percent"] for note in history(stack)[0].notes if note.name == "share"]
    assert shares == [50]
    assert said(stack, "Sample")
    assert len(said(stack, "TRIGGERING AUTO-ROLLBACK")) == 1
    assert Kind.GATE_ALERT in told.kinds()


def break_once_shared(sandbox: Sandbox, release: str) -> None:
    wait_until(lambda: 50 in sandbox.site.traffic.share().values(), what="the traffic is shared")
    break_it(sandbox, release)


def test_a_dry_run_touches_nothing_and_confirmation_holds_the_traffic_until_somebody_aborts(
    stack: Sandbox, tmp_path: Path
) -> None:
    gates(stack, confirmation_required=True)
    old, new = stack.served_by(), stack.deploy("2.0.0").release.id
    break_it(stack, new)
    with Clients(stack.port):
        with monitor(stack, "--dry-run", "--log-dir", str(tmp_path)) as process:
            output, _ = process.communicate(timeout=60)
        assert process.returncode == 1, output
        assert "DRY-RUN: TRIGGERING AUTO-ROLLBACK" in output
        assert history(stack)[0].open
        with monitor(stack) as process:
            wait_until(lambda: said(stack, "Auto-rollback waits for confirmation"))
            wait_until(lambda: held(stack), what="the window is held")
            assert stack.served_by() == new
            assert process.poll() is None
            assert stack.rollout("abort", "--why", "yes, it is broken").returncode == 0
            process.communicate(timeout=60)
    assert process.returncode == 2
    assert stack.served_by() == old


def held(sandbox: Sandbox) -> bool:
    return history(sandbox)[0].note(PAUSED) is not None


def test_up_watches_in_the_background_and_rolls_back_by_itself(stack: Sandbox) -> None:
    gates(stack)
    old = stack.served_by()
    stack.version("2.0.0")
    done = stack.rollout("up")
    assert done.returncode == 0, done.stderr
    with Clients(stack.port):
        wait_until(lambda: said(stack, "Sample"), what="the background monitor samples")
        os.kill(stack.pids()["watcher"], signal.SIGKILL)
        break_it(stack, stack.served_by())
        wait_until(lambda: said(stack, "Monitoring session completed"), seconds=60, what="it was rolled back")
    assert stack.served_by() == old
    assert len(said(stack, "TRIGGERING AUTO-ROLLBACK")) == 1
    wait_until(lambda: "watcher" not in stack.pids(), what="the watcher has gone")
