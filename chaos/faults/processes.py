"""Processes that die, and processes that stand still for a while."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

from chaos.faults.base import Scene
from chaos.plan import Fault


def kill(scene: Scene, fault: Fault) -> Iterator[str]:
    pid = scene.stack.pid_of(fault.target, scene.operator.pid)
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        yield f"process {pid}"


def freeze(scene: Scene, fault: Fault) -> Iterator[str]:
    pid = scene.stack.pid_of(fault.target, scene.operator.pid)
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        yield f"process {pid}"
        os.kill(pid, signal.SIGCONT)
