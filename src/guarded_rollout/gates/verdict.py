"""The verdict of a gate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FIELDS = {"verdict": "outcome", "actual_value": "value", "threshold": "limit", "window_full": "full"}
"""The names in JSON that are not those of the fields."""


IN_A_ROW = "failures in a row"
"""The unit of a gate that counts failed probes."""


class GateOutcome(StrEnum):
    """The outcome of a verdict."""

    PASS = "pass"
    FAIL = "fail"
    INSUFFICIENT = "insufficient"  # too little was seen to tell
    NO_DATA = "no_data"  # its source is silent


class News(StrEnum):
    """The news about a gate."""

    JUDGED = "judged"  # a verdict that was due
    FAILED = "failed"  # a breach begins
    RECOVERED = "recovered"  # it is over
    SILENT = "silent"  # its source has been silent for as long as the policy allows
    HEARD = "heard"  # its source answers again


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's judgement at one moment, with the evidence for it.

    `value` and `limit` are in `unit`; `low` and `high` enclose the true value where it is estimated.
    `silent_seconds` is the time since its source last said something useful.
    """

    gate: str
    outcome: GateOutcome
    reason: str
    limit: float
    unit: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    samples: float = 0
    needed: int = 0
    full: bool = False
    conclusive: bool = False  # decided early, on evidence that does not wait for the window
    silent_seconds: float = 0.0
    calm: bool = True  # with a pass: nothing is going on that may yet become a breach

    @property
    def failed(self) -> bool:
        return self.outcome is GateOutcome.FAIL

    @property
    def measured(self) -> str:
        """The value and its limit, in short: `0.4 % (limit 5 %)`."""
        value = "–" if self.value is None else f"{self.value:.4g} {self.unit}".rstrip()
        if " " in self.unit:  # words rather than a unit, said once
            one = value.replace("failures", "failure") if self.value == 1 else value
            return f"{one} (limit {self.limit:g})"
        return f"{value} (limit {self.limit:g} {self.unit}".rstrip() + ")"

    @property
    def short(self) -> str:
        """The same for a narrow terminal: `0.4/5 %`."""
        value = "–" if self.value is None else f"{self.value:.4g}"
        return f"{value}/{self.limit:g} {self.unit}".rstrip()

    def as_json(self) -> dict[str, Any]:
        """Return the fields for the log and for notifications."""
        values: dict[str, Any] = {
            "gate": self.gate,
            "verdict": self.outcome.value,
            "reason": self.reason,
            "actual_value": _rounded(self.value),
            "threshold": self.limit,
            "unit": self.unit,
            "low": _rounded(self.low),
            "high": _rounded(self.high),
            "samples": self.samples,
            "needed": self.needed,
            "window_full": self.full,
            "conclusive": self.conclusive,
            "silent_seconds": round(self.silent_seconds, 1),
        }
        return {name: value for name, value in values.items() if value is not None}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Verdict":
        """Read what `as_json` wrote, to four digits. Raises `ValueError`."""
        return _reader().validate_python({FIELDS.get(name, name): value for name, value in values.items()})


@cache
def _reader() -> "TypeAdapter[Verdict]":
    from pydantic import TypeAdapter  # a state that nothing was judged in is told without it

    return TypeAdapter(Verdict)


def _rounded(value: float | None) -> float | None:
    """Round for JSON, which has no infinity: the last bucket of a histogram has no upper end."""
    return None if value is None or not math.isfinite(value) else round(value, 4)
