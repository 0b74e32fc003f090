"""Disks that are full, and disks that cannot be written: small file systems in memory, mounted for one run.

That takes the right to mount, which a run in namespaces of its own has as root. Elsewhere these faults are
left out, and the campaign says so.
"""

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from chaos.faults.base import Scene
from chaos.plan import Fault

SIZE = "256m"  # the service is not well with less than 64 free
BUSY_SECONDS = 5.0


def can_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def mount_small(folder: Path) -> None:
    """Put a small file system of its own there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], check=True)


def fill(scene: Scene, fault: Fault) -> Iterator[str]:
    """Leave no room for the environment's data, journal, logs and sockets."""
    filler = scene.stack.root / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    yield f"{filler.stat().st_size >> 20} MB written"
    filler.unlink()


def make_read_only(scene: Scene, fault: Fault) -> Iterator[str]:
    """Mount the folder of backups read-only, as soon as nobody writes to it."""
    deadline = time.monotonic() + BUSY_SECONDS
    while not _remount(scene.stack.backups, "ro"):
        if time.monotonic() > deadline:
            return
        time.sleep(0.005)
    yield "remounted"
    _remount(scene.stack.backups, "rw")


def _remount(folder: Path, mode: str) -> bool:
    words = ["mount", "-o", f"remount,{mode}", str(folder)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
