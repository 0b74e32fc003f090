"""The monitor beside real traffic: how soon is a frozen release replaced, and what does the watching cost?"""

import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from tests.guarded_rollout.load import Load
from tests.guarded_rollout.sandbox import Sandbox, wait_until

from bench.table import Table, Target, duration, share
from bench.windows import SEARCH, deploy, paced, serving, shipped
from guarded_rollout.journal.store import Journal

SETTLING = 6.0  # seconds, in which each source is read once
BUSY = 100.0  # requests a second, at which the monitor's cost is measured


def tables(quick: bool) -> list[Table]:
    with serving() as dhash:
        return [frozen(dhash), cost(dhash, 2 if quick else 6)]


# ---- a release that freezes


def frozen(dhash: Sandbox) -> Table:
    """Stop a release's processes while it has the traffic; measure until the one before has it."""
    shipped(dhash, 60)
    with Load(dhash.port, paced(15)) as load:
        assert deploy(dhash, "98.0.0") == 0
        slot = dhash.site.traffic.serving()
        with watching(dhash):
            time.sleep(15)  # the monitor knows what is usual
            leader = psutil.Process(dhash.pids()[str(slot)])
            for process in (leader, *leader.children(recursive=True)):
                process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            wait_until(lambda: dhash.site.traffic.serving() != slot, 60, "the release before serves")
            seconds = time.monotonic() - began
            wait_until(lambda: not is_open(dhash), 60, "the rollback ends")
    return Table(
        "A release is stopped by SIGSTOP with all of the traffic (15 requests/s): when is the other back?",
        ("", "seconds", "requests that failed"),
        [("frozen → the other one serves", duration(seconds), str(sum(load.report["failed"].values())))],
        [Target("frozen → the other one serves", "≤ 10 s", duration(seconds), seconds <= 10)],
    )


def is_open(dhash: Sandbox) -> bool:
    with Journal.look(dhash.environment.journal) as journal:
        return journal.open_rollout("production") is not None


@contextmanager
def watching(dhash: Sandbox) -> Iterator[psutil.Process]:
    """A monitor that watches the open window, in the foreground."""
    watcher = subprocess.Popen(
        dhash.command("monitor", "--env", "production"),
        cwd=dhash.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(watcher.pid)
    finally:
        watcher.kill()
        watcher.wait()


# ---- what the watching costs


def cost(dhash: Sandbox, rounds: int, seconds: float = 15.0) -> Table:
    """The same load with the monitor watching and with it held, in turns."""
    clients = 10
    kinds = [SEARCH | {"clients": clients, "pause": clients / BUSY, "timed": True}]
    spent: list[float] = []
    slow: dict[bool, list[float]] = {True: [], False: []}
    with Load(dhash.port, kinds):
        assert deploy(dhash, "99.0.0") == 0
    with watching(dhash) as monitor:
        wait_until(lambda: cpu_seconds(monitor) > 0.5, 30, "the monitor is there")
        time.sleep(5)  # what it does once is over
        for on in (True, False) * rounds:
            monitor.send_signal(signal.SIGCONT if on else signal.SIGSTOP)
            with Load(dhash.port, kinds):
                time.sleep(SETTLING)  # it reads what the edge wrote while it was held
            before, begun = cpu_seconds(monitor), time.monotonic()
            with Load(dhash.port, kinds) as load:
                time.sleep(seconds)  # the measurement itself
            slow[on].append(statistics.quantiles(load.report["seconds"], n=100)[98])
            if on:
                spent.append((cpu_seconds(monitor) - before) / (time.monotonic() - begun))
    core, (beside, alone) = statistics.median(spent), (statistics.median(slow[on]) for on in (True, False))
    return Table(
        f"What does the monitor cost at {BUSY:g} searches/s? {rounds} rounds of {seconds:g} s each",
        ("", "watched", "nobody watches"),
        [
            ("the monitor, of a core", share(core), ""),
            ("clients' p99, median of the rounds", duration(beside), duration(alone)),
        ],
        [
            Target("the monitor", "≤ 2 % of a core", share(core), core <= 0.02),
            Target("clients' p99", "within 3 %", f"{beside / alone - 1:+.1%}", beside <= 1.03 * alone),
        ],
        "It is held by SIGSTOP while nobody watches.",
    )


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
