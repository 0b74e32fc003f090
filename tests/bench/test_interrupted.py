"""A benchmark that is ended before it is through leaves nothing running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 60


def started(bench: psutil.Process, number: int) -> list[psutil.Process]:
    """What it has started by now, once that is so many processes. Raises `AssertionError` if never."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        children = bench.children(recursive=True)
        if len(children) >= number:
            return children
        time.sleep(0.05)
    raise AssertionError(f"{bench.children(recursive=True)} after {SECONDS} s")


@pytest.mark.system
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("question", "number"), [("requests", 4), ("windows", 6)])
def test_an_ended_benchmark_leaves_no_process(question: str, number: int, ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "bench", question, "--quick"]
    with subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as run:
        try:
            theirs = started(psutil.Process(run.pid), number)
            run.send_signal(ending)
            os.killpg(run.pid, ending)  # as `timeout` does
            said, _ = run.communicate(timeout=SECONDS)
            assert run.returncode == 128 + ending, said.decode()
            _, alive = psutil.wait_procs(theirs, timeout=5)
            assert not alive, [one.cmdline() for one in alive]
            left = [one for one in psutil.process_iter() if f"-{run.pid}-" in " ".join(words(one))]
            assert not left, [one.cmdline() for one in left]
        finally:
            run.kill()


def words(process: psutil.Process) -> list[str]:
    """The words of its command line; none of one that has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []
