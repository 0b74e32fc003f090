"""What does it cost to start a command: help, and one reading of an environment?"""

import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.table import Table, Target, side_by_side

ROOT = Path(__file__).parents[1]
PEER = "dhash --help"
LIMITS = {"rollout --help": 1.3, "rollout status": 2.0}


def tables(quick: bool) -> list[Table]:
    return [starting(repeats=3 if quick else 7)]


def starting(repeats: int) -> Table:
    """Processor time, not wall time: other programs of the machine do not count. Bytecode is cached."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        PEER: [sys.executable, "-m", "dhash_service", "--help"],
        "rollout --help": [sys.executable, "-m", "guarded_rollout.cli", "--help"],
        "rollout status": [sys.executable, "-m", "guarded_rollout.cli", "status"],
    }
    calls: dict[str, Callable[[], None]] = {name: partial(_run, words) for name, words in commands.items()}
    times = side_by_side(calls, repeats=repeats, clock=_processor_seconds)
    peer = times[PEER].median
    return Table(
        question="Processor time of starting a command",
        columns=("command", "user + system", f"of {PEER}"),
        rows=[(name, str(time), f"{time.median / peer:.2f} ×") for name, time in times.items()],
        targets=[
            Target(
                f"{name}, beside {PEER}",
                f"≤ {limit} ×",
                f"{times[name].median / peer:.2f} ×",
                times[name].median <= limit * peer,
            )
            for name, limit in LIMITS.items()
        ],
    )


def _run(words: Sequence[str]) -> None:
    subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


def _processor_seconds() -> float:
    """What the children that have ended used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
