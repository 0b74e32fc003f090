"""Real windows of healthy releases: is one taken back or alerted of, and what does the watching cost?

Several environments at once, each with a proxy, two releases, a supervisor and clients of its own.
"""

import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore

import psutil
from tests.guarded_rollout.load import GET, POST, Load
from tests.guarded_rollout.sandbox import ROOT, Sandbox, wait_until

from bench.table import Table, Target, duration, share
from guarded_rollout.journal.store import Journal
from guarded_rollout.monitor.log import read
from guarded_rollout.monitor.monitor import ALERTED, GOOD, ROLLED_BACK

MINUTES = 3
AT_ONCE, EACH = 8, 4  # environments, and windows of each
STEPS = ((10, 10.0), (50, 20.0), (100, 0.0))
RATES = (0.5, 1.0, 2.0, 3.0)
"""Requests a second, about: each environment has its own."""

DEPLOYING = BoundedSemaphore(2)  # at the same time; the other environments are in their windows meanwhile
PATIENCE = 900.0  # seconds for one command
BUSY = 100.0  # requests a second, at which the monitor's cost is measured
SEARCH = GET | {"name": "search", "path": "/api/dhash/search?hash=8f0f0f1f3f7fff00"}
PAGE = GET | {"name": "page", "path": "/review"}
FAILED = "Quality gate failed: "
HELD = -1


def tables(quick: bool) -> list[Table]:
    with serving() as dhash:
        alone = [frozen(dhash), cost(dhash, 2 if quick else 6)]
    count, each = (2, 1) if quick else (AT_ONCE, EACH)
    with ThreadPoolExecutor(count) as threads:
        rates = [RATES[number % len(RATES)] for number in range(count)]
        found = [window for some in threads.map(windows, rates, [each] * count) for window in some]
    return [*alone, table_of(found)]


@contextmanager
def serving() -> Iterator[Sandbox]:
    """An environment with its first release, and the gates and the control share that production has."""
    with closing(Sandbox(None)) as dhash:
        shipped(dhash, MINUTES)
        deploy(dhash, "1.0.0")
        yield dhash


def deploy(dhash: Sandbox, version: str) -> int:
    """Roll out this version; returns the exit code: 0, or that of a release that was taken back meanwhile."""
    with DEPLOYING:
        dhash.version(f"{version}+{os.getpid()}")
        done = run(dhash, "deploy")
    assert done.returncode in (0, ROLLED_BACK), done.stdout + done.stderr
    return done.returncode


def run(dhash: Sandbox, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        dhash.command(*words),
        cwd=dhash.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def shipped(dhash: Sandbox, minutes: float) -> None:
    """Write the shipped gates with a window of so many minutes."""
    dhash.configure(steps=STEPS, control_percent=5)
    given = json.loads((ROOT / "quality-gates-config.json").read_text())
    given["environments"]["production"]["monitoring"]["window_minutes"] = minutes
    (dhash.folder / "quality-gates-config.json").write_text(json.dumps(given))


# ---- healthy windows


@dataclass(frozen=True, slots=True)
class Window:
    """What became of one: the monitor's exit code, and what was said of which gate."""

    rate: float
    code: int
    said: tuple[str, ...]
    requests: int
    failed: int


def windows(rate: float, count: int) -> list[Window]:
    """Roll so many healthy releases out under load, one after the other, and watch each to its end."""
    with serving() as dhash:
        return [one(dhash, rate, f"{number + 2}.0.0") for number in range(count)]


def one(dhash: Sandbox, rate: float, version: str) -> Window:
    """Deploy a release, and watch its window under load."""
    with Load(dhash.port, paced(rate)) as load:
        code = deploy(dhash, version)
        try:
            code = code or run(dhash, "monitor", "--env", "production").returncode
        except subprocess.TimeoutExpired:  # it is held open: something has no data
            code = HELD
            run(dhash, "abort")
    failed = load.report["failed"]
    return Window(rate, code, tuple(breaches(dhash)), load.requests, sum(failed.values()))


def paced(rate: float) -> list[dict[str, object]]:
    """Clients that ask so often together: half are searches, a third new pictures, the rest a page."""
    parts = ((SEARCH, 1 / 2), (POST, 1 / 3), (PAGE, 1 / 6))
    return [kind | {"clients": 1, "pause": 1 / (rate * part)} for kind, part in parts]


def breaches(dhash: Sandbox) -> Iterator[str]:
    """What the newest session's log says that failed."""
    newest = max((dhash.folder / "monitor_logs").glob("dhash_production_*.log"), key=os.path.getmtime)
    for line in read(newest):
        if line.message.startswith(FAILED):
            yield line.message.removeprefix(FAILED)


def table_of(found: Sequence[Window]) -> Table:
    rows = []
    for rate in sorted({window.rate for window in found}):
        mine = [window for window in found if window.rate == rate]
        rows.append(
            (
                f"{rate:g} requests/s",
                str(len(mine)),
                str(sum(window.code == ROLLED_BACK for window in mine)),
                str(sum(window.code == ALERTED for window in mine)),
                f"{sum(window.requests for window in mine):,}",
                str(sum(window.failed for window in mine)),
            )
        )
    back, alerted = (sum(window.code == code for window in found) for code in (ROLLED_BACK, ALERTED))
    odd = sum(window.code not in (GOOD, ALERTED, ROLLED_BACK) for window in found)
    said = "; ".join(sorted({text for window in found for text in window.said}))
    return Table(
        f"Of {len(found)} real healthy windows of {MINUTES} minutes, several at once, what became?",
        ("", "windows", "taken back", "with an alert", "requests", "failed"),
        rows,
        [
            Target("healthy releases taken back", "none", str(back), back == 0),
            Target(
                "windows with an alert", "≤ 1 in 30", f"{alerted} of {len(found)}", alerted * 30 <= len(found)
            ),
            Target("windows that did not close", "none", str(odd), odd == 0),
        ],
        said,
    )


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
