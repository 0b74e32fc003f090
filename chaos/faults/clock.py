"""A clock that jumps by an hour, for everything that is Python at once.

The library that does it (`clock.c`) is ours: libfaketime 0.9.10, which Debian has, lets `time.sleep` of
Python 3.11 fail with EINVAL where monotonic time is to stay true.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from chaos.faults.base import Scene
from chaos.faults.preload import compiled
from chaos.plan import Fault, Target

OFFSETS = {Target.AHEAD: 3600, Target.BEHIND: -3600}
FILE = "clock"


def variables(folder: Path) -> Mapping[str, str]:
    """What a process needs in its environment to have its clock from a file in this folder."""
    (folder / FILE).write_bytes(bytes(8))
    library = compiled(Path(__file__).with_name("clock.c"), folder)
    return {"LD_PRELOAD": str(library), "CLOCK_FILE": str(folder / FILE)}


def step(scene: Scene, fault: Fault) -> Iterator[str]:
    offset = OFFSETS[fault.target]
    descriptor = os.open(scene.stack.folder / FILE, os.O_WRONLY)
    os.pwrite(descriptor, offset.to_bytes(8, "little", signed=True), 0)
    os.close(descriptor)
    yield f"{offset:+d} s"
