"""Somebody has pictures erased, while a backup, a merge or a rollout goes on."""

import time
from collections.abc import Iterator

from chaos.faults.base import Scene
from chaos.plan import Fault

PAUSE_SECONDS = 0.3


def erase(scene: Scene, fault: Fault) -> Iterator[str]:
    """Ask for it, and again while the rollout lasts and it was not done."""
    wishes = scene.eraser.wish()
    if not wishes:
        return
    done = scene.eraser.ask(fault.target, wishes)
    yield f"pictures {', '.join(str(wish.picture.number) for wish in wishes)}"
    while not done and not scene.over.is_set():
        time.sleep(PAUSE_SECONDS)
        done = scene.eraser.ask(fault.target, wishes)
