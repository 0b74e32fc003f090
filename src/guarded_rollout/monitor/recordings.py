"""Recordings of windows as the monitor's log holds them, drawn at random: healthy releases and bad ones.

They hold the sources that compare two releases or watch one from outside: `edge`, `system` and `answers`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import accumulate

import numpy as np

from guarded_rollout.config.gates import EnvironmentGates, QualityGates
from guarded_rollout.config.terms import Source
from guarded_rollout.errors import UsageError
from guarded_rollout.gates.samples import Histogram, Recording, Sample, Side
from guarded_rollout.monitor.answers import DOUBTFUL_POLLS, IN_DOUBT, PER_POLL
from guarded_rollout.monitor.edge_log import CUT, EDGES, FAILED, PASSED_ON, REQUESTS
from guarded_rollout.monitor.sources import source_of

SHIFT = ((30.0, 10), (60.0, 50))  # until so many seconds the candidate has so many percent
READING = 5.0
DAY = 86_400.0
MEDIAN, SPREAD = 0.053, 0.45  # of an answer's time, log-normal, as measured of the service
CPU, IDLE = 0.03, 0.015  # seconds for a request, and in a second without any
ROUTE = '{route="POST /items"}'


NUMBER_MOST = 1e12
"""The largest number of a fault, such as bytes that are leaked a request."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What the candidate does wrong, from `begins` seconds on. All of it nothing: a healthy release."""

    name: str = "healthy"
    begins: float = 0.0
    failing: float = 0.0  # share of requests
    cutting: float = 0.0  # share of answers that end in the middle
    slower: float = 1.0  # times
    slowing: float = 0.0  # growth of the time in ten seconds, on what it has grown to
    burning: float = 0.0  # CPU seconds a second, whatever is asked
    leaking: float = 0.0  # bytes a request
    leaving_open: float = 0.0  # descriptors a request
    differing: float = 0.0  # share of questions


@dataclass(frozen=True, slots=True)
class Drawn:
    """A window to draw: requests a second at noon, the time of day at its beginning, what stable keeps."""

    rps: float
    fault: Fault = Fault()
    seconds: float = 3600.0
    control: float = 5.0
    failing: float = 0.002  # share of requests that fail on either side
    noise: float = 0.15  # what somebody else's work on the machine adds and takes, a reading
    hour: float = 12.0
    seed: int = 1


class _Release:
    """The counts of one side."""

    def __init__(self, side: Side, random: np.random.Generator, memory: float) -> None:
        self.side, self._random = side, random
        self._counters = dict.fromkeys((REQUESTS, FAILED, CUT, PASSED_ON), 0.0)
        self._buckets = np.zeros(len(EDGES))
        self._cpu, self._memory, self._open = 0.0, memory, 40.0
        self._questions, self._doubt = [0.0, 0.0], 0

    def serve(self, requests: int, at: float, busy: float, fault: Fault) -> None:
        """Answer so many requests in a reading; `busy` slows all of the machine."""
        random, begun = self._random, at >= fault.begins
        bad, cutting = (fault.failing, fault.cutting) if begun else (0.0, 0.0)
        cut = random.binomial(requests, cutting) if cutting else 0
        failed = cut + random.binomial(requests - cut, min(1.0, 0.002 + bad))
        grown = (1 + fault.slowing) ** (max(0.0, at - fault.begins) / 10)
        slow = busy * (fault.slower * grown if begun else 1.0)
        times = MEDIAN * slow * np.exp(SPREAD * random.standard_normal(requests))
        self._buckets += np.bincount(np.searchsorted(EDGES, times), minlength=len(EDGES))
        self._counters[REQUESTS] += requests
        self._counters[FAILED] += failed
        self._counters[CUT] += cut
        work = CPU * requests * busy * random.lognormal(0, 0.1) + IDLE * READING
        self._cpu += work + (fault.burning * READING if begun else 0.0)
        self._memory += fault.leaking * requests if begun else 0.0
        self._open += fault.leaving_open * requests if begun else 0.0

    def ask(self, fault: Fault, at: float) -> None:
        """Ask as `AnswersSource` does: more after a difference."""
        self._doubt -= 1
        asked = IN_DOUBT if self._doubt >= 0 else PER_POLL
        differing = self._random.binomial(asked, fault.differing if at >= fault.begins else 0.0)
        self._doubt = DOUBTFUL_POLLS if differing else self._doubt
        self._questions[0] += asked
        self._questions[1] += differing

    def samples(self, at: float, warm: float) -> Iterator[Sample]:
        """What is read of it; `warm` (0 to 1) is how far a new process has grown to its usual size."""
        counts = Histogram(EDGES, tuple(accumulate(map(float, self._buckets))))
        counters = {**self._counters, **{name + ROUTE: value for name, value in self._counters.items()}}
        yield Sample(
            Source.EDGE,
            at,
            self.side,
            counters=counters,
            histograms={"seconds": counts, "seconds" + ROUTE: counts},
            started_at=0.0,
        )
        memory = self._memory * (0.5 + 0.5 * warm) * float(self._random.normal(1, 0.01))
        usage = {"cpu_seconds_total": self._cpu, "requests_total": self._counters[REQUESTS]}
        gauges = {
            "memory_bytes": memory,
            "memory_limit_bytes": 8e9,
            "descriptors": self._open + float(self._random.poisson(4)),
            "descriptors_limit": 1024.0,
            "threads": 20.0,
            "threads_limit": 30_000.0,
            "written_bytes": 1e8 + self._counters[REQUESTS] * 20_000,
            "written_limit_bytes": 5e10,
        }
        yield Sample(Source.SYSTEM, at, self.side, counters=usage, gauges=gauges)
        if self.side is Side.CANDIDATE:
            asked = dict(zip(("questions_total", "differences_total"), self._questions, strict=True))
            yield Sample(Source.ANSWERS, at, counters=asked)


def fault_of(text: str) -> Fault:
    """Read `slower=2.5,failing=10%`, or `none`. Raises `UsageError`."""
    numbers = {one.name for one in fields(Fault) if one.type is float}
    given: dict[str, float] = {}
    for part in text.split(",") if text.strip() != "none" else ():
        name, _, value = part.strip().partition("=")
        try:
            given[name] = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
        except ValueError:
            name = ""
        if name not in numbers or not 0 <= given[name] <= NUMBER_MOST:
            known = ", ".join(sorted(numbers))
            raise UsageError(detail=f"{part!r} is no fault: give `none`, or NAME=NUMBER of {known}.")
    return Fault(text, **given)


def drawn_gates(environment: EnvironmentGates) -> EnvironmentGates:
    """Return an environment with those of its gates whose source a drawn window has."""
    kept: dict[str, object] = {
        name: gate
        for name, gate in environment.quality_gates.enabled()
        if source_of(gate) in (Source.EDGE, Source.SYSTEM, Source.ANSWERS)
    }
    return environment.model_copy(update={"quality_gates": QualityGates.model_validate(kept)})


def _before(drawn: Drawn, random: np.random.Generator) -> Sample:
    """Stable in the ten minutes before the rollout, with all of the traffic."""
    alone = _Release(Side.BEFORE, random, 160e6)
    for _ in range(round(600 / READING)):
        alone.serve(random.poisson(drawn.rps * READING), 0.0, 1.0, Fault())
    return next(alone.samples(0.0, 1.0))


def recording(drawn: Drawn) -> Recording:
    """Draw a window, from the first share of the traffic on."""
    random = np.random.default_rng(drawn.seed)
    candidate, stable = _Release(Side.CANDIDATE, random, 150e6), _Release(Side.STABLE, random, 160e6)
    samples = [_before(drawn, random)]
    busy = 1.0
    for step in range(round(drawn.seconds / READING) + 1):
        at = step * READING
        if step:
            # Somebody else's work on the machine comes and goes, and slows both releases alike.
            busy = max(1.0, 1 + 0.9 * (busy - 1) + drawn.noise * random.standard_normal())
            swing = 0.6 + 0.4 * np.sin(2 * np.pi * (drawn.hour * 3600 + at - 6 * 3600) / DAY)
            requests = random.poisson(drawn.rps * swing * READING)
            share = next((part for until, part in SHIFT if at <= until), 100 - drawn.control)
            mine = random.binomial(requests, share / 100)
            candidate.serve(mine, at, busy, drawn.fault)
            stable.serve(requests - mine, at, busy, Fault())
            candidate.ask(drawn.fault, at)
        for one, warm in ((candidate, 1 - np.exp(-at / 60)), (stable, 1.0)):
            samples += one.samples(at, float(warm))
    return Recording(tuple(samples), 0.0, SHIFT[-1][0])
