"""The sample: the answer to one poll of one source."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from guarded_rollout.config.terms import Source


class Side(StrEnum):
    """The release a sample is of."""

    CANDIDATE = "candidate"  # the release that is judged; where no rollout is under way, what is watched
    STABLE = "stable"  # the release it is compared with
    BEFORE = "before"  # that release in the time before the rollout: all that was counted then, in one sample


SIDES = (Side.CANDIDATE, Side.STABLE)
"""The two that are asked at the same time."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """A cumulative histogram: `counts[i]` values were at most `edges[i]`; the last edge is infinite."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]

    def __post_init__(self) -> None:
        fits = len(self.edges) == len(self.counts) > 0 and self.edges[-1] == math.inf
        # Asked so that NaN, which compares with nothing, does not fit either.
        edges = (-math.inf, *self.edges)
        if not fits or not all(low < high for low, high in zip(edges, self.edges, strict=False)):
            raise ValueError("a histogram's edges rise and end at infinity, with one count each")
        rising = all(low <= high for low, high in zip((0.0, *self.counts), self.counts, strict=False))
        if not rising or self.counts[-1] == math.inf:
            raise ValueError("a histogram's counts are cumulative: none is below the one before it")


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer, or the lack of one (`problem`), `at` seconds on the session's monotonic time line.

    Counters and histograms are cumulative since the counting process started, at `started_at`.
    """

    source: Source
    at: float
    side: Side = Side.CANDIDATE
    path: str = ""  # what was asked, where a source has several
    problem: str = ""  # why this is no data; for a probe: why it is not OK
    seconds: float = 0.0  # how long the answer took
    counters: Mapping[str, float] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    started_at: float | None = None
    release: str = ""
    example: str = ""  # the newest of what was counted as bad, in words

    @property
    def ok(self) -> bool:
        return not self.problem

    def as_json(self) -> dict[str, Any]:
        """Return the fields for the monitoring log; empty ones are left out."""
        values: dict[str, Any] = {
            "source": self.source.value,
            "side": self.side.value,
            "at": round(self.at, 3),
            "path": self.path,
            "problem": self.problem,
            "seconds": round(self.seconds, 4),
            "counters": dict(self.counters),
            "gauges": dict(self.gauges),
            "histograms": {
                name: {
                    "edges": ["+Inf" if edge == math.inf else edge for edge in one.edges],
                    "counts": one.counts,
                }
                for name, one in self.histograms.items()
            },
            "started_at": self.started_at,
            "release": self.release,
            "example": self.example,
        }
        return {
            name: value
            for name, value in values.items()
            if value not in ("", None, {}, 0.0) or (name in ("at", "started_at") and value is not None)
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Sample":
        """Read what `as_json` wrote. Raises `ValueError`."""
        return _reader().validate_python(values)


@cache
def _reader() -> TypeAdapter[Sample]:
    return TypeAdapter(Sample)


@dataclass(frozen=True, slots=True)
class Recording:
    """The samples of a session, in order.

    `opened_at` is when its window opened: infinite if only its shift is recorded, None if that was at once.
    """

    samples: tuple[Sample, ...] = ()
    began_at: float | None = None
    opened_at: float | None = None
