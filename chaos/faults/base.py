"""How any fault is carried out: waiting for the moment, and noting what really happened when."""

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from tests.dhash_service.store.standby import Pair

from chaos.eraser import Eraser
from chaos.operating import Operator
from chaos.plan import Action, Fault, Moment
from chaos.receiver import Receiver
from chaos.stack import SLOTS, Stack

LOOK_SECONDS = 0.005
KINDS = {False: "intent", True: "outcome"}


@dataclass(slots=True)
class Scene:
    """What a fault can reach. `over` is set when the rollout has come to its end."""

    stack: Stack
    operator: Operator
    receiver: Receiver
    over: Event
    words: tuple[str, ...]  # the command under fire
    base: int  # the journal's last sequence before the command
    started: float  # monotonic seconds
    eraser: Eraser
    servers: Pair | None  # a PostgreSQL server that may die, and its standby
    damaged: list[Path] = field(default_factory=list)  # backups that must be refused


Strike = Callable[[Scene, Fault], Iterator[str]]
"""Yields once, when it has struck, with words about whom; yields nothing where there was nobody to strike."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A fault that happened. Times are seconds since 1970; `about` says whom it hit.

    `alone`: no other release answered at that moment, so the proxy had nowhere else to go.
    """

    fault: Fault
    began: float
    ended: float
    about: str
    alone: bool


def carry_out(scene: Scene, fault: Fault, strike: Strike) -> Incident | None:
    """Wait for its moment, strike, wait as long as it lasts, mend. None if the moment never came."""
    if not wait_for(scene, fault.moment) or not wait_for_victim(scene, fault):
        return None
    alone = lonely(scene.stack)
    began = time.time()
    doing = strike(scene, fault)
    about = next(doing, None)
    if about is None:
        return None
    time.sleep(fault.seconds)
    for _ in doing:
        raise AssertionError("a fault strikes once")
    return Incident(fault, began, time.time(), about, alone)


def wait_for(scene: Scene, moment: Moment) -> bool:
    """Whether the moment came before the rollout was over."""
    if moment.step:
        stamp: tuple[int, ...] = ()
        while stamp == (now := scene.stack.journal_stamp()) or not reached(scene, moment):
            stamp = now
            if scene.over.wait(LOOK_SECONDS):
                return False
        return not scene.over.wait(moment.seconds)
    return not scene.over.wait(max(0.0, moment.seconds - (time.monotonic() - scene.started)))


def wait_for_victim(scene: Scene, fault: Fault) -> bool:
    """Whether the process that a fault is to befall came into being before the rollout was over.

    A candidate is planned early and started late: a moment in between stands for the one in which it starts.
    """
    if fault.action not in (Action.KILL, Action.FREEZE):
        return True
    while scene.stack.pid_of(fault.target, scene.operator.pid) is None:
        if scene.over.wait(10 * LOOK_SECONDS):  # a look reads the journal
            return False
    return True


def reached(scene: Scene, moment: Moment) -> bool:
    rows = scene.stack.read(
        "SELECT 1 FROM event WHERE sequence > ? AND name = ? AND kind = ? LIMIT 1",
        scene.base,
        moment.step,
        KINDS[moment.after],
    )
    return bool(rows)


def lonely(stack: Stack) -> bool:
    """Whether clients can reach one release only: no other answers, or none that has been verified."""
    return not stack.has_spare() or sum(answers(stack, slot) for slot in SLOTS) < 2


def answers(stack: Stack, slot: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(stack.root / "run" / f"{slot}.sock"))
        except OSError:
            return False
    return True
