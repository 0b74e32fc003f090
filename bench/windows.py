"""Real windows of healthy releases: is one taken back or alerted of?

Several environments at once, each with a proxy, two releases, a supervisor and clients of its own.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore, Event

from tests.guarded_rollout.load import GET, POST, Load
from tests.guarded_rollout.sandbox import ROOT, Sandbox

from bench.table import Table, Target
from guarded_rollout.monitor.log import read
from guarded_rollout.monitor.monitor import ALERTED, GOOD, ROLLED_BACK

MINUTES = 3
AT_ONCE, EACH = 6, 5  # environments, and windows of each
BUDGET = 1500.0  # seconds after which no window is begun; how many there were stands in the table
STEPS = ((10, 10.0), (50, 20.0), (100, 0.0))
RATES = (0.5, 1.0, 2.0, 3.0)
"""Requests a second, about: each environment has its own."""

DEPLOYING = BoundedSemaphore(2)  # at the same time; the other environments are in their windows meanwhile
PATIENCE = 900.0  # seconds for one command
SEARCH = GET | {"name": "search", "path": "/api/dhash/search?hash=8f0f0f1f3f7fff00"}
PAGE = GET | {"name": "page", "path": "/review"}
FAILED = "Quality gate failed: "
HELD = -1
ENDING = Event()  # interrupted: no command is begun any more, and those that run are ended
RUNNING: "set[subprocess.Popen[str]]" = set()


def tables(quick: bool) -> list[Table]:
    count, each = (2, 1) if quick else (AT_ONCE, EACH)
    until = time.monotonic() + BUDGET
    rates = [RATES[number % len(RATES)] for number in range(count)]
    with ThreadPoolExecutor(count) as threads, ended():
        made = list(threads.map(windows, rates, [each] * count, [until] * count))
    return [table_of([window for some in made for window in some])]


@contextmanager
def ended() -> Iterator[None]:
    """End the commands of all threads where the block is left early, so that each takes down what it made."""
    try:
        yield
    except BaseException:
        ENDING.set()
        for one in tuple(RUNNING):
            one.terminate()
        raise


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
    """Run a command of the guard to its end. Raises `TimeoutExpired`, and `InterruptedError` while ending."""
    with subprocess.Popen(
        dhash.command(*words),
        cwd=dhash.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        RUNNING.add(process)
        try:
            if ENDING.is_set():
                process.terminate()
            output, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            RUNNING.discard(process)
    if ENDING.is_set():
        raise InterruptedError(f"ended: {' '.join(words)}")
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


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


def windows(rate: float, count: int, until: float) -> list[Window]:
    """Roll so many healthy releases out under load, one after the other, and watch each to its end.

    After `until`, by the monotonic clock, none is begun any more.
    """
    with serving() as dhash:
        versions = (f"{number + 2}.0.0" for number in range(count) if time.monotonic() < until)
        return [one(dhash, rate, version) for version in versions]


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
