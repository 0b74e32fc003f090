"""Power loss, approximated: everything is killed at once, and writes that no fsync covered are undone.

A library that is preloaded into every process (`power.c`) writes an undo log; here it is compiled, and gone
through backwards. What is written through memory maps (SQLite's `-shm` alone) is taken away: it is rebuilt
from what is durable. Caddy is linked statically and not traced; it keeps nothing that matters.
"""

import os
import signal
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from chaos.faults.base import Scene
from chaos.faults.preload import compiled
from chaos.plan import Fault

WRITE, SYNC, CREATE, RENAME, UNLINK = 1, 2, 3, 4, 5
HEADER = struct.Struct("=IIII QQQQ")
FOLDER = "power"


@dataclass(frozen=True, slots=True)
class Change:
    """One record of the undo log; see `struct record` in power.c."""

    kind: int
    inode: int
    offset: int
    size: int
    path: Path
    other: str
    old: bytes


def variables(folder: Path, project: Path) -> Mapping[str, str]:
    """What a process needs in its environment to be traced. Compiles the library."""
    log = folder / FOLDER
    log.mkdir()
    library = compiled(Path(__file__).with_name("power.c"), log)
    return {"LD_PRELOAD": str(library), "POWER_PREFIX": f"{project}/", "POWER_LOG": str(log)}


def fail(scene: Scene, fault: Fault) -> Iterator[str]:
    """Nothing runs any more, and what was not durable is not there.

    Not even the harness reads the journal meanwhile: a machine that lost its power has no readers either, and
    a connection that outlived it would vouch for what is gone.
    """
    with scene.stack.unread:
        about = _lose(scene)
    yield about


def _lose(scene: Scene) -> str:
    doomed = scene.stack.processes()
    for number in (signal.SIGSTOP, signal.SIGKILL):  # all at one moment, as far as can be
        for process in doomed:
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
    psutil.wait_procs(doomed, timeout=10)
    for left in scene.stack.processes():  # started in between
        left.kill()
    log = scene.stack.folder / FOLDER
    lost = not_durable(list(read_log(log / "undo")))
    for change in reversed(lost):
        undo(change, log)
    for path in scene.stack.project.rglob("*-shm"):
        path.unlink()
    (log / "undo").unlink(missing_ok=True)
    return f"{len(doomed)} processes, {len(lost)} changes undone"


def read_log(path: Path) -> Iterator[Change]:
    """Every whole record, the oldest first."""
    if not path.exists():
        return
    content = path.read_bytes()
    at = 0
    while at + HEADER.size <= len(content):
        kind, first, second, _, inode, offset, length, size = HEADER.unpack_from(content, at)
        names = at + HEADER.size
        old = names + first + second
        if old + length > len(content):
            return
        yield Change(
            kind,
            inode,
            offset,
            size,
            Path(os.fsdecode(content[names : names + first])),
            os.fsdecode(content[names + first : old]),
            content[old : old + length],
        )
        at = old + length


def not_durable(changes: list[Change]) -> list[Change]:
    """What no later fsync covers: contents need one of their own file, names any. Pure."""
    synced: set[int] = set()
    lost = []
    for change in reversed(changes):
        if change.kind == SYNC:
            synced.add(change.inode)
        elif change.kind == WRITE:
            if change.inode not in synced:
                lost.append(change)
        elif not synced:
            lost.append(change)
    return lost[::-1]


def undo(change: Change, log: Path) -> None:
    """Put back what was there before."""
    with suppress(FileNotFoundError):
        match change.kind:
            case 1:  # WRITE
                _write_back(change)
            case 3:  # CREATE
                change.path.unlink()
            case 4:  # RENAME
                os.rename(change.other, change.path)
            case 5:  # UNLINK
                saved = log / change.other
                change.path.unlink(missing_ok=True)
                os.link(saved, change.path, follow_symlinks=False)


def _write_back(change: Change) -> None:
    """A file that has another name by now is found by none: its renaming was undone before."""
    if change.path.is_symlink() or change.path.stat().st_ino != change.inode:
        return
    with change.path.open("r+b") as file:
        file.seek(change.offset)
        file.write(change.old)
        file.truncate(change.size)
