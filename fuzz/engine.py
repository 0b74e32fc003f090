"""Runs a target: batch after batch of drawn inputs until the time or the number of executions is reached."""

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.strategies import SearchStrategy

ROOT = Path(__file__).parents[1]
BATCH = 200
BUSY_SECONDS = 20  # of the processor, for one input: more is a loop without an end
DISTINCT = 5  # findings of one target, after which looking on tells little

Check = Callable[[Any], None]


class HarmError(AssertionError):
    """Something happened that must not."""


def require(holds: bool, otherwise: str) -> None:
    """Raise `HarmError` unless it holds."""
    if not holds:
        raise HarmError(otherwise)


@dataclass(frozen=True, slots=True)
class Target:
    """What is drawn, and what must hold of it.

    `open` makes what is under test and gives the check, which raises when something happened that must not.
    `kept` are inputs that once did harm: they are tried first in every run.
    """

    name: str
    inputs: SearchStrategy[Any]
    open: Callable[[], AbstractContextManager[Check]]
    kept: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of failure: where it was raised, its smallest input, and the seed of its batch."""

    where: str
    error: str
    example: str
    seed: int


@dataclass(slots=True)
class Report:
    """What a run did. `seconds` is how long it really took."""

    target: str
    seed: int
    executions: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        rate = self.executions / self.seconds if self.seconds else 0.0
        yield (
            f"{self.target}: {self.executions:,} executions in {self.seconds:.0f} s ({rate:.0f}/s), "
            f"seed {self.seed}, {len(self.findings)} findings"
        )
        for one in self.findings:
            yield f"  {one.error} at {one.where}, batch seed {one.seed}"
            yield f"    {one.example}"


def run(
    target: Target,
    *,
    seed: int,
    seconds: float = float("inf"),
    executions: int | None = None,
    newest: Path | None = None,
) -> Report:
    """Try the kept inputs, then drawn ones until the time is up or so many were tried.

    Batch n is drawn from `seed` + n, so that a finding is repeated by running with its batch's seed. The
    file `newest` always has the input that is being tried: what it names when the process dies did it.
    """
    report = Report(target.name, seed)
    most = executions if executions is not None else float("inf")
    try:
        with target.open() as opened:
            check = _bounded(opened if newest is None else _writing(opened, newest))
            _draw(target, check, report, seconds, most)
    except HarmError as error:  # what is looked at once everything was tried
        _note(report, error, "what was left after all of them", seed)
    return report


def _draw(target: Target, check: Check, report: Report, seconds: float, most: float) -> None:
    begun = time.monotonic()
    for kept in target.kept:
        _try(report, check, kept, report.seed)
    batch = report.seed
    while report.executions < most and time.monotonic() - begun < seconds and len(report.findings) < DISTINCT:
        _run_batch(target, check, report, batch, min(BATCH, most - report.executions), begun + seconds)
        batch += 1
    report.seconds = time.monotonic() - begun


def _run_batch(
    target: Target, check: Check, report: Report, seed: int, number: float, deadline: float
) -> None:
    newest: list[Any] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=max(1, int(number)),
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
    )
    @given(target.inputs)
    def batch(drawn: Any) -> None:
        if not newest and time.monotonic() > deadline:  # but a failure is shrunk to its end
            return
        report.executions += 1
        try:
            check(drawn)
        except Exception:
            newest[:] = [drawn]
            raise

    try:
        batch()
    except Exception as error:
        _note(report, error, newest[0] if newest else None, seed)


def _bounded(check: Check) -> Check:
    """What keeps the processor busy for too long is harm as well; a busy machine is none."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise HarmError(f"it goes on for more than {BUSY_SECONDS} s")

    def bounded(drawn: Any) -> None:
        before = signal.signal(signal.SIGVTALRM, stop)
        signal.setitimer(signal.ITIMER_VIRTUAL, BUSY_SECONDS)
        try:
            check(drawn)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)

    return bounded


def _writing(check: Check, path: Path) -> Check:
    def written(drawn: Any) -> None:
        path.write_text(repr(drawn))
        check(drawn)

    return written


def _try(report: Report, check: Check, given_: Any, seed: int) -> None:
    report.executions += 1
    try:
        check(given_)
    except Exception as error:
        _note(report, error, given_, seed)


def _note(report: Report, error: Exception, example: Any, seed: int) -> None:
    """Keep a failure, once for each place it comes from. The newest input is what shrinking ended with."""
    while isinstance(error, BaseExceptionGroup) and isinstance(error.exceptions[0], Exception):
        error = error.exceptions[0]  # it does not fail every time, which Hypothesis says by a group
    frames = traceback.extract_tb(error.__traceback__)
    frames = [one for one in frames if one.name != require.__name__]
    ours = [one for one in frames if f"{ROOT}/" in one.filename] or frames
    where = f"{ours[-1].filename.removeprefix(f'{ROOT}/')}:{ours[-1].lineno}"
    if any(known.where == where for known in report.findings):
        return
    report.findings.append(
        Finding(where, f"{type(error).__name__}: {error}"[:500], repr(example)[:2000], seed)
    )
