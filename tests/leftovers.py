"""Folders of tests that start processes: each says in its name which run of the suite it belongs to."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import psutil

PLACE = Path("/tmp")  # short: there are unix sockets below


def owned_folder(prefix: str) -> Path:
    """A new folder of the run that this process belongs to."""
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return Path(tempfile.mkdtemp(prefix=f"{prefix}-{run}-", dir=PLACE))


def end_leftovers(run: int) -> None:
    """End by its id each process that works in a folder of this run, and remove the folders."""
    for folder in PLACE.glob(f"[a-z][a-z]-{run}-*"):
        for _ in range(3):  # a supervisor may just have started another
            for process in _working_in(folder):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        for inside, _, _ in os.walk(folder):
            os.chmod(inside, 0o755)  # releases are read-only
        shutil.rmtree(folder, ignore_errors=True)


def _working_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(folder) in word for word in (process.cwd(), *process.cmdline())):
                found.append(process)
    return found
