"""What do Caddy and the monitor cost a request? Beside the same requests sent to the service directly."""

import os
import shutil
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
from tests.guarded_rollout.sandbox import ROOT, Sandbox, wait_until

from bench.clients import Address, Load, load
from bench.table import Quantity, Table, duration, share
from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Sample
from guarded_rollout.host.processes import PROXY, WATCHER
from guarded_rollout.monitor.log import read, sample_of

PATHS = {"GET /health/live": "/health/live", "GET search": "/api/dhash/search?hash=8f0f0f1f3f7fff00"}
DIRECT, CADDY = "direct (unix socket)", "through Caddy"
HELD, WATCHING = "nobody watches", "the monitor watches"


def tables(quick: bool) -> list[Table]:
    count, rounds = (300, 3) if quick else (3_000, 7)
    with watched() as dhash:
        slot = dhash.site.traffic.serving()
        ways: dict[str, Address] = {DIRECT: dhash.site.slots.socket(slot), CADDY: dhash.port}
        return [proxying(dhash, ways, count, rounds), watching(dhash, count, rounds, 15 if quick else 120)]


@contextmanager
def watched() -> Iterator[Sandbox]:
    """The service rolled out twice, and its second release watched by the gates that production has."""
    dhash = Sandbox(None)
    try:
        dhash.deploy()
        shutil.copy(ROOT / "quality-gates-config.json", dhash.folder)
        dhash.version(f"2.0.{os.getpid()}")
        done = dhash.rollout("up")
        assert done.returncode == 0, done.stderr
        wait_until(lambda: WATCHER in dhash.pids(), what="the monitor watches")
        yield dhash
    finally:
        dhash.close()


@dataclass(slots=True)
class Seen:
    """What one contestant's rounds gave: loads, and the processor seconds that the proxy spent on each."""

    loads: list[Load] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)

    def take(self, proxy: psutil.Process, address: Address, path: str, count: int, clients: int) -> None:
        """One more round."""
        before = cpu_seconds(proxy)
        self.loads.append(load(address, [("GET", path, b"")] * count, clients))
        self.spent.append(cpu_seconds(proxy) - before)

    def percentile(self, q: float) -> Quantity:
        """Seconds, the median of the rounds."""
        return duration(statistics.median(each.percentile(q) for each in self.loads))

    @property
    def rate(self) -> float:
        return statistics.median(each.rate for each in self.loads)

    @property
    def cpu(self) -> float:
        """Processor seconds of the proxy per request; over all rounds, as its clock ticks every 10 ms."""
        return sum(self.spent) / sum(len(each.seconds) for each in self.loads)

    def row(self, *names: str) -> tuple[str, ...]:
        return (*names, f"{self.rate:,.0f}", self.percentile(0.5), self.percentile(0.99))


# ---- Caddy


def proxying(dhash: Sandbox, ways: dict[str, Address], count: int, rounds: int) -> Table:
    caddy = psutil.Process(dhash.pids()[PROXY])
    rows = []
    for clients in (1, 8):
        for name, path in PATHS.items():
            seen = {way: Seen() for way in ways}
            for address in ways.values():
                load(address, [("GET", path, b"")] * 50, clients)
            for _ in range(rounds):
                for way, address in ways.items():
                    seen[way].take(caddy, address, path, count, clients)
            label = f"{name}, {clients} client{'s' if clients > 1 else ''}"
            rows += [
                (*one.row(label, way), duration(one.cpu) if way is CADDY else "") for way, one in seen.items()
            ]
    return Table(
        f"What does Caddy add? The same {count:,} GETs over kept connections, {rounds} rounds in turns",
        ("", "", "requests/s", "p50", "p99", "CPU of the proxy per request"),
        rows,
        note="Medians of the rounds; clients, proxy and service share the cores. Every request passes two of "
        "Caddy's servers, the edge and the slot's own.",
    )


# ---- the monitor


def watching(dhash: Sandbox, count: int, rounds: int, seconds: float) -> Table:
    """The same load with the monitor watching and with it held, in turns; then what it does by itself."""
    monitor, caddy = (psutil.Process(dhash.pids()[name]) for name in (WATCHER, PROXY))
    seen = {HELD: Seen(), WATCHING: Seen()}
    for _ in range(rounds):
        monitor.send_signal(signal.SIGSTOP)
        try:
            seen[HELD].take(caddy, dhash.port, PATHS["GET search"], count, 8)
        finally:
            monitor.send_signal(signal.SIGCONT)
        seen[WATCHING].take(caddy, dhash.port, PATHS["GET search"], count, 8)
    begin, before = time.time(), cpu_seconds(monitor)
    time.sleep(seconds)  # the measurement itself: what it does while nobody asks anything
    took, spent = time.time() - begin, cpu_seconds(monitor) - before
    asked = [sample for sample in samples(dhash) if begin <= sample.at < begin + took]
    rate = sum(sample.source is not Source.PROXY for sample in asked) / took  # to the service
    return Table(
        f"What does the monitor cost? GET search through Caddy, 8 clients, {rounds} rounds in turns; then "
        f"{took:.0f} s of watching alone",
        ("", "requests/s", "p50", "p99", "CPU of the proxy per request"),
        [
            *((*one.row(name), duration(one.cpu)) for name, one in seen.items()),
            ("the monitor itself: CPU in an hour of watching", duration(spent / took * 3600), "", "", ""),
            ("… of a core", share(spent / took), "", "", ""),
            ("… requests to the service in an hour", f"{rate * 3600:,.0f}", "", "", ""),
            *(
                (f"… of all its requests, beside {rps:g} a second", share(rate / (rate + rps)), "", "", "")
                for rps in (0.2, 1.0, 20.0)
            ),
        ],
        note=f"It is held by SIGSTOP while nobody watches. Watching alone, it asked {kinds(asked)}, as "
        "production's gates have it: the candidate and stable; the proxy's are Caddy's own metrics.",
    )


def kinds(asked: Sequence[Sample]) -> str:
    """How many samples of each source."""
    counted = {source: sum(one.source is source for one in asked) for source in {one.source for one in asked}}
    return ", ".join(f"{number} × {source}" for source, number in sorted(counted.items())) or "nothing"


def samples(dhash: Sandbox) -> Iterator[Sample]:
    """Every sample that the monitor took, from its own logs."""
    for path in sorted(dhash.environment.logs.glob("dhash_*.log")):
        yield from filter(None, map(sample_of, read(path)))


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
