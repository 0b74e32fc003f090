"""The performance baseline: how long lookups took, month by month, so that a slow drift is seen."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from guarded_rollout.errors import BaselineError
from guarded_rollout.files import write_atomic

KEPT = 24
SLOWER = 1.5  # times the usual: worth a look


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement. Times in milliseconds, of lookups one after another."""

    at: str
    release: str
    median_ms: float
    slowest_ms: float


def compare(now: Measured, before: Sequence[Measured]) -> tuple[bool, str]:
    """Compare with the usual time: True if this is as fast, and a sentence that says so. Pure."""
    if not before:
        return True, f"median {now.median_ms:.1f} ms, slowest {now.slowest_ms:.1f} ms; the first measurement"
    usual = median(one.median_ms for one in before)
    factor = now.median_ms / usual if usual else 1.0
    words = (
        f"median {now.median_ms:.1f} ms, {factor:.2f} times the usual {usual:.1f} ms of {len(before)} runs"
    )
    return factor <= SLOWER, words


def read(path: Path) -> list[Measured]:
    """Earlier measurements, the oldest first. Raises `BaselineError`."""
    try:
        return [Measured(**each) for each in json.loads(path.read_text())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise BaselineError(path=path, problem=str(error)) from None


def keep(path: Path, measured: Sequence[Measured]) -> None:
    """Keep the newest measurements. Raises `BaselineError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps([asdict(one) for one in measured[-KEPT:]], indent=1) + "\n")
    except OSError as error:
        raise BaselineError(path=path, problem=str(error)) from None
