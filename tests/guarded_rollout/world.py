"""A machine that is a few dictionaries, on which the real engine works, and which can die at any write.

Processes, slots and traffic are modelled; the engine, the journal (a real SQLite file), the window and the
steps that only move traffic are those of the product. Every change of the world is held against what clients
rely on, at the moment at which it happens.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, TypeVar

import pytest

from guarded_rollout.config.environments import TrafficStep
from guarded_rollout.config.service import StoreKind
from guarded_rollout.errors import NotHealthyError, ProcessError
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.host.slots import Slot
from guarded_rollout.journal.model import Rollout
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout import engine
from guarded_rollout.rollout.engine import Engine, Request
from guarded_rollout.rollout.runner import DeployResult
from guarded_rollout.rollout.steps import STEPS, watch
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work
from guarded_rollout.rollout.steps.stage import clear_slot
from tests.guarded_rollout.manual_clock import ManualClock

T = TypeVar("T")
WINDOW = 60.0
FOREVER = float("inf")


class Killed(BaseException):
    """The engine's process is dead: nothing that it still does has any effect."""


@dataclass(frozen=True)
class Build:
    """A release. One that is not `sound` is refused by verification."""

    id: str
    sound: bool = True
    schema: str | None = None

    @property
    def title(self) -> str:
        return self.id


@dataclass
class World:
    """What is true on the machine. `lives` counts the changes that the engine may still make."""

    clock: ManualClock = field(default_factory=ManualClock)
    built: dict[str, Build] = field(default_factory=dict)
    standing: dict[Slot, Build] = field(default_factory=dict)
    running: set[Slot] = field(default_factory=set)
    verified: set[str] = field(default_factory=set)
    green: int = 0
    spare: bool = False  # clients may reach either slot
    lives: float = float("inf")
    fails: set[str] = field(default_factory=set)  # steps that fail this time
    unreadable: set[str] = field(default_factory=set)  # releases whose RELEASE.json is damaged
    served: bool = False  # clients have been served, so from now on they must be

    def change(self) -> None:
        """Called before each change."""
        if self.lives <= 0:
            raise Killed
        self.lives -= 1

    def serving(self) -> Slot:
        return "green" if self.green > 50 else "blue"

    def check(self) -> None:
        """Whoever gets traffic runs and has been verified."""
        for slot, share in (("blue", 100 - self.green), ("green", self.green)):
            if self.served and self.spare and slot in self.standing:
                assert self.standing[slot].id in self.verified, f"{slot} is a spare and was never verified"
            if self.served and share:
                assert slot in self.running, f"{slot} has {share} % of the traffic and does not run"
                build = self.standing[slot]
                assert build.id in self.verified, f"{build.id} has {share} % and was never verified"


class Traffic:
    def __init__(self, world: World) -> None:
        self._world = world

    def share(self) -> dict[Slot, int]:
        return {"blue": 100 - self._world.green, "green": self._world.green}

    def serving(self) -> Slot:
        return self._world.serving()

    def give(self, slot: Slot, percent: int, *, spare: bool = False) -> None:
        self._world.change()
        self._world.spare = spare
        self._world.green = percent if slot == "green" else 100 - percent
        self._world.check()

    def ensure(self) -> None:
        """The proxy always runs here."""


class Slots:
    def __init__(self, world: World) -> None:
        self._world = world

    def release(self, slot: Slot) -> Build | None:
        there = self._world.standing.get(slot)
        return None if there is not None and there.id in self._world.unreadable else there

    def taken(self, slot: Slot) -> bool:
        return slot in self._world.standing

    def find(self, release: str) -> Slot | None:
        found = (slot for slot, build in self._world.standing.items() if build.id == release)
        return next(found, None)


class Processes:
    def __init__(self, world: World) -> None:
        self._world = world

    def require_running(self, name: str) -> None:
        if name not in self._world.running:
            raise ProcessError(name=name, problem="it does not run", log="log")


@dataclass
class FakeEnvironment:
    name: str = "production"
    lock: Path = Path("/nowhere/lock")
    port: int = 3000
    project: Path = Path("/")
    service: Any = field(default_factory=lambda: SimpleNamespace(store=StoreKind.COMMANDS))
    traffic: tuple[TrafficStep, ...] = (TrafficStep(20, 1.0), TrafficStep(50, 1.0), TrafficStep(100, 0.0))
    control_percent: int = 5


class FakeSite:
    """As much of `Site` as the engine and its steps ask for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.clock = world.clock
        self.environment = FakeEnvironment()
        self.traffic, self.slots, self.processes = Traffic(world), Slots(world), Processes(world)

    store_url = "memory://"  # no file

    def has(self, release: Build, name: str) -> bool:
        return True

    def plan(self, release: Build) -> Any:
        """It declares no checks."""
        return SimpleNamespace(checks={})

    def token(self) -> None:
        """It is not locked."""

    def public(self) -> Endpoint:
        return Endpoint(f"http://127.0.0.1:{self.environment.port}")

    def serving(self) -> Build | None:
        return self.slots.release(self._world.serving())

    def release(self, identity: str) -> Build:
        return self._world.built[identity]

    def answers(self, slot: Slot) -> bool:
        return slot in self._world.running

    def ensure(self) -> None:
        """The supervisor starts whatever stands in a slot."""
        self._world.change()
        self._world.running |= set(self._world.standing)

    start_all = ensure

    def start(self, slot: Slot, release: Build) -> None:
        self._world.change()
        self._world.standing[slot] = release
        self._world.change()  # it may die between the link and the process
        self._world.running.add(slot)
        self._world.check()

    def stop(self, slot: Slot) -> None:
        self._world.change()
        self._world.running.discard(slot)
        self._world.check()
        self._world.change()
        self._world.standing.pop(slot, None)

    def shut_down(self) -> None:
        self._world.change()
        self._world.running.clear()


class MortalJournal(Journal):
    """Dies before a write, or right after it: both are moments between which the next process must tell."""

    world: World

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.world.change()
        with super()._transaction():
            yield
        self.world.change()


class Modelled(RolloutStep):
    """A step that changes what this function changes; it fails when the world says so."""

    def __init__(self, name: str, do: Callable[[Work], None], undo: Callable[[Work], None]) -> None:
        self.name: ClassVar[str] = name  # type: ignore[misc]
        self._do, self._undo = do, undo
        for quality in ("undoes_on_failure", "brings_schema", "abandon"):  # as the real step of this name
            setattr(self, quality, getattr(STEPS[name], quality))

    def describe(self, work: Work) -> Iterator[str]:
        yield self.name

    def do(self, work: Work) -> Evidence:
        world: World = work.site._world  # type: ignore[attr-defined]
        world.change()
        if self.name in world.fails:
            raise NotHealthyError(endpoint=self.name, seconds=1, last="503")
        self._do(work)
        return {}

    def undo(self, work: Work) -> None:
        self._undo(work)


def _nothing(work: Work) -> None:
    """It looks, or writes what does not matter here."""


def _stage(work: Work) -> None:
    clear_slot(work)
    work.site.start(work.slot, work.incoming)


def _unstage(work: Work) -> None:
    work.site.stop(work.slot)


def _verify(work: Work) -> None:
    world: World = work.site._world  # type: ignore[attr-defined]
    build: Any = work.incoming
    if not build.sound and not work.is_rollback:
        raise NotHealthyError(endpoint=build.id, seconds=1, last="503")
    world.verified.add(build.id)


def _finish(work: Work) -> None:
    work.site.traffic.give(work.slot, 100)
    if work.outgoing is not None:
        work.site.stop(work.outgoing_slot)


def steps() -> dict[str, Any]:
    """The steps by name: real where they touch nothing but traffic and slots."""
    looking = ("preflight", "backup", "migrate", "safety", "configuration", "data", "schema", "quarantine")
    modelled = [Modelled(name, _nothing, _nothing) for name in (*looking, "validate")]
    modelled += [
        Modelled("stage", _stage, _unstage),
        Modelled("verify", _verify, _nothing),
        Modelled("finish", _finish, _nothing),
    ]
    return {**STEPS, **{step.name: step for step in modelled}}


class Machine:
    """The modelled machine with a journal on disk; each command is a process that may die in the middle."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(engine, "STEPS", steps())
        self._patch.setattr(watch, "window_seconds", lambda environment: WINDOW)
        self._folder = tempfile.TemporaryDirectory(prefix="model-")
        self.world = World(clock or ManualClock())

    def close(self) -> None:
        self._patch.undo()
        self._folder.cleanup()

    def build(self, sound: bool = True) -> Build:
        made = Build(f"{len(self.world.built) + 1}.0", sound)
        self.world.built[made.id] = made
        return made

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        with MortalJournal.open(Path(self._folder.name) / "journal.db", clock=self.world.clock) as journal:
            journal.world = self.world
            yield journal

    def run(self, act: Callable[[Engine], T], lives: float = FOREVER, failing: str = "", **more: Any) -> T:
        """What the engine answers. Raises its errors, and `Killed` when its lives are used up."""
        self.world.lives, self.world.fails = lives, {failing} - {""}
        try:
            with self.journal() as journal:
                return act(Engine(FakeSite(self.world), journal, lambda line: None, **more))  # type: ignore[arg-type]
        finally:
            self.world.lives, self.world.fails = FOREVER, set()

    def deploy(self, release: Build, lives: float = FOREVER, **asked: Any) -> DeployResult:
        """Roll this release out; from the first one on clients are served."""
        request = Request("deploy", "test", **asked)
        result = self.run(lambda engine: engine.deploy(release, request), lives)  # type: ignore[arg-type]
        self.world.served = True
        return result

    def history(self) -> list[Rollout]:
        with self.journal() as journal:
            return journal.history(limit=1000)
