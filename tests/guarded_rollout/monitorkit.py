"""A monitor in virtual time: scripted sources and a scripted engine, the rest as it runs in earnest."""

import heapq
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.logs import path_for
from guarded_rollout.monitor.monitor import Monitor
from guarded_rollout.monitor.ports import Ended, OpenRollout, OpenWindow
from guarded_rollout.monitor.session import GateSession, SessionTarget
from guarded_rollout.monitor.tasks import TaskResult
from guarded_rollout.notify.events import Event, Kind
from tests.guarded_rollout.gatekit import probe, proxy, service, times
from tests.guarded_rollout.manual_clock import ManualClock


class VirtualExecutor:
    """Runs tasks that take as long as they say: a sample's own `seconds`, or what `takes` has."""

    def __init__(self, clock: ManualClock, takes: dict[str, float]) -> None:
        self._clock = clock
        self._takes = takes
        self._under_way: list[tuple[float, int, TaskResult]] = []
        self._order = itertools.count()
        self.started: list[tuple[float, str]] = []

    def start(self, name: str, work: Callable[[], Any]) -> None:
        now = self._clock.monotonic()
        self.started.append((now, name))
        try:
            done = TaskResult(name, work())
        except Exception as error:
            done = TaskResult(name, error=error)
        seconds = self._takes.get(name, getattr(done.result, "seconds", 0.0))
        heapq.heappush(self._under_way, (now + seconds, next(self._order), done))

    def forget(self) -> None:
        """What was under way dies with its process."""
        self._under_way.clear()

    def wait(self, seconds: float) -> list[TaskResult]:
        until = self._clock.monotonic() + max(0.0, seconds)
        if not self._under_way or self._under_way[0][0] > until:
            self._clock.advance(until - self._clock.monotonic())
            return []
        at, _, done = heapq.heappop(self._under_way)
        self._clock.advance(max(0.0, at - self._clock.monotonic()))
        return [done]


@dataclass
class Scripted:
    """A source that answers what its script says for the session's age in seconds."""

    source: Source
    script: Callable[[float], Sample]
    age: Callable[[], float]
    side: Side = Side.CANDIDATE
    name: str = ""

    def sample(self) -> Sample:
        return replace(self.script(self.age()), side=self.side)


@dataclass
class Engine:
    """An engine that remembers what it was asked for."""

    clock: ManualClock
    seconds: float
    failures: list[Exception] = field(default_factory=list)  # of the first attempts to roll back
    finish_failures: list[Exception] = field(default_factory=list)
    backup: Path | Exception | None = Path("backups/dhash_production_20260101_000000.zip")
    asked: list[str] = field(default_factory=list)
    end: Ended | None = None
    paused_at: float | None = None
    opened_after: float = 0.0  # seconds for which traffic was shifted before
    undoing: bool = False
    quarantined: bool = False
    drains_seconds: float = 0.0  # that the old release takes to end what it answers
    accepted_at: float | None = None
    returns_to: str = "old"
    manual_command: str = "rollout rollback --to previous --env production"

    def open_window(self) -> OpenWindow | None:
        if self.end:
            return None
        age = self.paused_at if self.paused_at is not None else self.clock.monotonic()
        opened = self.clock.now().timestamp() - self.clock.monotonic() + self.opened_after
        age -= self.opened_after
        return OpenWindow(
            "r1",
            "new",
            "old",
            opened,
            self.seconds,
            max(0.0, self.seconds - age),
            self.paused_at is not None,
            self.undoing,
            accepted=self.accepted_at is not None,
            draining=self.draining,
        )

    @property
    def draining(self) -> bool:
        if self.accepted_at is None:
            return False
        return self.clock.monotonic() - self.accepted_at < self.drains_seconds

    def open_rollout(self) -> OpenRollout | None:
        if self.open_window() is None:
            return None
        accepted = self.accepted_at is not None
        return OpenRollout(
            "r1", "new", "watch", False, watched=True, accepted=accepted, draining=self.draining
        )

    def ended(self, rollout: str) -> Ended | None:
        return self.end

    def verified_backup(self) -> Path | None:
        if isinstance(self.backup, Exception):
            raise self.backup
        return self.backup

    def roll_back(self, reason: str, quarantine: bool) -> None:
        self.asked.append(f"roll back: {reason}")
        self.quarantined = quarantine
        if self.failures:
            raise self.failures.pop(0)
        self.end = Ended(completed=False, rolled_back=True, reason=reason)

    def finish(self) -> None:
        self.asked.append("finish")
        if self.finish_failures:
            raise self.finish_failures.pop(0)
        if self.accepted_at is None:
            self.accepted_at = self.clock.monotonic()
        if self.draining:
            return
        self.end = Ended(completed=True, rolled_back=False)

    def pause(self) -> None:
        self.asked.append("pause")
        self.paused_at = self.clock.monotonic()


class Told:
    """A publisher that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: Event) -> None:
        self.events.append(event)

    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.events]


FAST = times([0.05] * 100)


def good(age: float) -> Sample:
    """A service with twenty requests a second and one failure in a hundred."""
    done = age * 20
    return service(
        0,
        images_ok=done * 0.99,
        images_failed=done * 0.01,
        requests=done,
        errors=done * 0.005,
        histogram=FAST,
        low_confidence_queue_length=10,
        memory_usage_percentage=40,
    )


@dataclass
class Rehearsal:
    """Everything about one virtual session."""

    folder: Path
    config: EnvironmentGates
    environment: str = "production"
    rollout: bool = True
    service: Callable[[float], Sample] = good
    probe: Callable[[float], Sample] = lambda age: probe(0)
    proxy: Callable[[float], Sample] = lambda age: proxy(0, age * 0.1, age * 20)
    takes: dict[str, float] = field(default_factory=dict)
    ask: Callable[[str], bool] | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.told = Told()
        self.executor = VirtualExecutor(self.clock, self.takes)
        self.engine = Engine(self.clock, self.config.monitoring.window_minutes * 60)
        self.began_at = self.clock.now().timestamp()
        self.path = path_for(self.folder, "dhash", self.environment, self.clock.now())
        self.monitor = self.make()

    def age(self) -> float:
        return self.clock.monotonic()

    def samplers(self) -> list[Scripted]:
        scripts = ((Source.PROBE, self.probe), (Source.SERVICE, self.service), (Source.PROXY, self.proxy))
        return [Scripted(source, script, self.age) for source, script in scripts]

    def session(self, opened_at: float | None) -> GateSession:
        return GateSession(
            SessionTarget(self.environment, "r1" if self.rollout else "", "new", self.dry_run),
            self.config,
            self.samplers(),
            self.path,
            timeout=30,
            clock=self.clock,
            publisher=self.told,
            opened_at=opened_at,
            executor=self.executor,
        )

    def make(self) -> Monitor:
        """Make the monitor of a process, which recalls what is in the log; `start` says so there."""
        self.timeline = self.session(self.began_at)
        return Monitor(self.timeline, self.engine, ask=self.ask)

    def run(self) -> int:
        """Run to the end; the first words of a session are left out."""
        while (code := self.monitor.exit_code) is None:
            self.monitor.turn()
        self.monitor.session.complete(code)
        return code

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def said(self, words: str) -> list[str]:
        """The messages of the log that hold these words, as grep finds them."""
        return [line["message"] for line in self.lines() if words in line["message"]]

    def ages(self, words: str) -> list[float]:
        """How old the session was when it said so, in seconds."""
        from datetime import datetime

        return [
            datetime.fromisoformat(line["timestamp"]).timestamp() - self.began_at
            for line in self.lines()
            if words in line["message"]
        ]
