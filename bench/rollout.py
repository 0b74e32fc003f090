"""Rolling out with the real proxy, supervisor and service: under load, against the clock, and idle."""

import json
import os
import shutil
import signal
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.guarded_rollout.load import GET, POST, SLOW, Load
from tests.guarded_rollout.sandbox import ROOT, Sandbox, wait_until

from bench.phases import Phase, means, phases
from bench.started import typed
from bench.table import Table, Target, duration, share
from guarded_rollout.errors import RolledBackError
from guarded_rollout.host.caddy import configuration
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.host.processes import PROXY, WATCHER
from guarded_rollout.host.store_file import store_file
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.engine import Request

SHARES = ((10, 0.5), (50, 0.5), (100, 0.0))
SEARCH = GET | {"name": "search", "path": "/api/dhash/search?hash=8f0f0f1f3f7fff00", "clients": 6}
COMMANDS = ("preflight", "deploy", "abort", "rollback", "status")
KEPT = {"sample": "SELECT sha256 FROM picture", "dhash": "SELECT sha256 FROM images"}


def tables(quick: bool) -> list[Table]:
    least = 4_000 if quick else 20_000
    with running(Sandbox()) as sample, running(Sandbox(None)) as dhash:
        loaded = under_load(sample, dhash, least)
        runs = measured(dhash, 2 if quick else 5)
        return [loaded, against_the_clock(dhash, runs), by_phase(runs), idle(dhash)]


@contextmanager
def running(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A project with its first release rolled out."""
    try:
        sandbox.deploy()
        yield sandbox
    finally:
        sandbox.close()


@dataclass(frozen=True, slots=True)
class Seen:
    """What the clients saw. Delays in seconds, from a decision to the candidate's last request."""

    requests: int
    failed: int
    lost: int
    first: str  # what failed first
    delays: tuple[float, ...] = ()

    def row(self, name: str) -> list[str]:
        longest = duration(max(self.delays, default=0.0)) if self.delays else ""
        return [name, f"{self.requests:,}", str(self.failed), str(self.lost), longest]


# ---- under load


def under_load(sample: Sandbox, dhash: Sandbox, least: int) -> Table:
    sample.configure(steps=SHARES)
    dhash.configure(steps=SHARES)
    come_and_go = releases_come_and_go(sample, [GET, POST, SLOW], least, KEPT["sample"])
    kinds = [SEARCH, POST, GET | {"clients": 4}]  # a search does not tell which release answered
    real = releases_come_and_go(dhash, kinds, least // 2, KEPT["dhash"])
    killed = [candidate_killed(sample) for _ in range(3)]
    reloads = weights_by_reload(sample, least // 4)
    delays = (*come_and_go.delays, *real.delays)
    return Table(
        "What clients see of a rollout (10 → 50 → 100 %, accepted or taken back), keep-alive connections",
        ["", "requests", "failed", "writes lost", "decision → candidate's last request, longest"],
        [
            come_and_go.row("releases of a tiny service; GET, 20 KB POST, GET of 1.5 s"),
            real.row("releases of dhash; search, 20 KB POST, GET"),
            *(seen.row("candidate killed -9 while it has 50 %") for seen in killed),
            reloads.row("beside: weights changed by reloading the proxy"),
        ],
        [
            _none("requests failed while releases came and went", come_and_go.failed + real.failed),
            _none("requests failed when the candidate was killed", sum(seen.failed for seen in killed)),
            _none("acknowledged writes lost", sum(seen.lost for seen in (come_and_go, real, *killed))),
            Target(
                "requests, in all", f"≥ {least:,}", f"{come_and_go.requests:,}", come_and_go.requests >= least
            ),
            Target(
                "decision to roll back → last request served by the candidate",
                "≤ 100 ms",
                duration(max(delays)),
                max(delays) <= 0.1,
            ),
        ],
        note="; ".join(seen.first for seen in (come_and_go, real, *killed) if seen.first),
    )


def releases_come_and_go(sandbox: Sandbox, kinds: list[dict], least: int, kept: str) -> Seen:  # type: ignore[type-arg]
    """Roll out one release after another under load; accept every second one, take the others back."""
    decisions: dict[str, float] = {}
    with Load(sandbox.port, kinds) as load:
        number = 1
        while number < 3 or load.count() < least:
            number += 1
            release = sandbox.deploy(f"{number}.0.{os.getpid()}").release
            with sandbox.engine() as engine:
                if number % 2:
                    engine.promote()
                else:
                    decisions[release.id] = time.time()
                    engine.abort("to measure it")
    last = load.report["last"]
    delays = tuple(max(0.0, last[release] - decided) for release, decided in decisions.items())
    return seen_by(load, sandbox, kept, delays)


def candidate_killed(sandbox: Sandbox) -> Seen:
    """Kill the candidate while it has half of the traffic; its guard takes the rollout back."""
    sandbox.configure(steps=((50, 20.0), (100, 0.0)))
    sandbox.version(f"9.0.{time.time_ns()}")

    def kill_and_look(work) -> None:  # type: ignore[no-untyped-def]
        os.kill(work.site.processes.state(work.slot).pid, signal.SIGKILL)
        time.sleep(0.5)
        work.site.processes.require_running(work.slot)

    with Load(sandbox.port, [GET, POST, SLOW]) as load, sandbox.engine(guard=kill_and_look) as engine:
        try:
            engine.deploy(engine.site.build(None), Request(command="deploy", operator="bench"))
        except RolledBackError:
            time.sleep(1.0)
        else:
            raise AssertionError("the killed candidate was not taken back")
    return seen_by(load, sandbox, KEPT["sample"])


def weights_by_reload(sandbox: Sandbox, least: int) -> Seen:
    """The peer: the same load while the proxy's configuration is loaded anew, as a change of weights does."""
    admin = Endpoint(sandbox.site.traffic.admin_socket)
    with Load(sandbox.port, [GET, POST]) as load:
        number = 0
        while number < 10 or load.count() < least:
            number += 1
            settings = configuration(sandbox.environment)
            settings["logging"] = {"logs": {"default": {"level": "ERROR" if number % 2 else "WARN"}}}
            body = json.dumps(settings).encode()
            admin.ask("POST", "/load", body=body, headers={"Content-Type": "application/json"})
            time.sleep(0.3)
    return seen_by(load, sandbox, KEPT["sample"])


def seen_by(load: Load, sandbox: Sandbox, kept: str, delays: tuple[float, ...] = ()) -> Seen:
    found = store_file(sandbox.site)
    assert found is not None
    path = found.path
    assert path is not None
    with closing(sqlite3.connect(path)) as store:
        rows = {_hex(digest) for (digest,) in store.execute(kept)}
    lost = set(load.report["acknowledged"]) - rows
    first = "; ".join(f"{kind}: {problem}" for kind, problem in load.report["first"].items())
    return Seen(load.requests, sum(load.report["failed"].values()), len(lost), first, delays)


def _hex(digest: object) -> str:
    return digest.hex() if isinstance(digest, bytes) else str(digest)


# ---- against the clock


@dataclass(frozen=True, slots=True)
class Run:
    """One command of an operator's, and the parts of it."""

    command: str
    seconds: float  # by the clock of whoever waits for it
    phases: list[Phase]
    first_share: float  # seconds until traffic moved; those of the whole where none did


def measured(dhash: Sandbox, repeats: int) -> list[Run]:
    """Roll releases out from the command line, and take them back in either way."""
    dhash.configure()
    runs: list[Run] = []
    for number in range(repeats):
        for way, words in (("abort", ["abort"]), ("rollback", ["rollback", "--to", "previous", "--force"])):
            dhash.version(f"5.{number}.{os.getpid()}+{way}")
            runs.append(run(dhash, "deploy"))
            runs.append(run(dhash, *words))
        runs += [run(dhash, "preflight"), run(dhash, "status")]
    return runs


def run(dhash: Sandbox, command: str, *words: str) -> Run:
    """Run a command, and read in the journal what it did."""
    begin, begun = time.time(), time.perf_counter()
    typed(dhash, command, *words)
    seconds, end = time.perf_counter() - begun, time.time()
    with Journal.look(dhash.environment.journal) as journal:
        events = journal.events()
    found = phases(events, begin, end)
    moved = [at for one in events if one.name == "share" and (at := one.at.timestamp()) >= begin]
    added = sum(phase.seconds for phase in found)
    assert abs(added - seconds) <= 0.01 * seconds + 0.01, f"phases add up to {added} s of {seconds} s"
    return Run(command, seconds, found, min(moved, default=end) - begin)


def against_the_clock(dhash: Sandbox, runs: Sequence[Run]) -> Table:
    before = set(dhash.environment.releases.iterdir())
    dhash.version(f"6.0.{os.getpid()}")
    build = seconds_of(lambda: dhash.site.build(None))
    (added,) = set(dhash.environment.releases.iterdir()) - before
    megabytes = own_bytes(added) / 2**20
    seconds = {command: [one.seconds for one in runs if one.command == command] for command in COMMANDS}
    preflight, deploy = (statistics.median(seconds[name]) for name in ("preflight", "deploy"))
    first = statistics.median(one.first_share for one in runs if one.command == "deploy")
    return Table(
        "dhash, only its code changed, caches warm, no holds: from the command line",
        ["command", "median", "longest"],
        [
            ["build one more release", duration(build), ""],
            *(
                [f"rollout {name}", duration(statistics.median(taken)), duration(max(taken))]
                for name, taken in seconds.items()
            ),
            ["rollout deploy, until the first share", duration(first), ""],
        ],
        [
            Target("`rollout deploy`: command to full traffic", "≤ 15 s", duration(deploy), deploy <= 15),
            Target("`rollout deploy`: command to the first share", "≤ 4 s", duration(first), first <= 4),
            Target("`rollout preflight` of what serves", "≤ 3 s", duration(preflight), preflight <= 3),
            Target("one more release on disk", "≤ 60 MB", f"{megabytes:.1f} MB", megabytes <= 60),
        ],
    )


def by_phase(runs: Sequence[Run]) -> Table:
    """The same commands, by what they spend their time on."""
    rows: list[list[str]] = []
    for command in ("deploy", "abort", "rollback"):
        mine = [one for one in runs if one.command == command]
        whole = statistics.mean(one.seconds for one in mine)
        parts = [*means([one.phases for one in mine]), Phase("whole, by the clock of whoever waits", whole)]
        rows += [[command, part.name, duration(part.seconds), share(part.seconds / whole)] for part in parts]
    return Table(
        "Where the time goes, by the journal's steps (means; the phases add up to the whole within 1 %)",
        ["command", "phase", "time", "of the whole"],
        rows,
        note="Before its first step `deploy` starts Python, locks the environment and builds the release. "
        "`rollback` is to the release before, which is warm, while the window is open.",
    )


def seconds_of(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def own_bytes(folder: Path) -> int:
    """What a folder adds to the disk: files that are no hard links to what is there already."""
    files = (path.lstat() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    return sum(stat.st_blocks * 512 for stat in files if stat.st_nlink == 1)


# ---- idle


def idle(dhash: Sandbox, seconds: float = 10.0) -> Table:
    """With a window open and watched as production's is; without one there is no monitor either."""
    shutil.copy(ROOT / "quality-gates-config.json", dhash.folder)
    dhash.version(f"7.0.{os.getpid()}")
    typed(dhash, "up")
    wait_until(lambda: WATCHER in dhash.pids())
    processes = {
        "supervisord": psutil.Process(dhash.supervisor_pid()),
        "the proxy (Caddy)": psutil.Process(dhash.pids()[PROXY]),
        "the monitor, while a window is open": psutil.Process(dhash.pids()[WATCHER]),
    }
    time.sleep(seconds / 2)  # starting is over
    busy = {name: cpu_seconds(process) for name, process in processes.items()}
    time.sleep(seconds)  # the measurement itself: what they do while nobody asks anything
    shares = {name: (cpu_seconds(process) - busy[name]) / seconds for name, process in processes.items()}
    memory = {name: process.memory_full_info().pss / 2**20 for name, process in processes.items()}
    total, share = sum(memory.values()), sum(shares.values())
    return Table(
        "The guard, idle beside the service",
        ["", "memory (PSS)", "of a core"],
        [[name, f"{memory[name]:.0f} MB", f"{shares[name]:.2%}"] for name in processes],
        [
            Target("memory of all", "≤ 150 MB", f"{total:.0f} MB", total <= 150),
            Target("share of a core", "≤ 1 %", f"{share:.2%}", share <= 0.01),
        ],
    )


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _none(what: str, count: int) -> Target:
    return Target(what, "0", str(count), count == 0)
