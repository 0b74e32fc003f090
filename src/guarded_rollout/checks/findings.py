"""Findings of a checklist: rows are checked one after another, each whatever another one finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from guarded_rollout.errors import RolloutError
from guarded_rollout.logs import sentence


class Severity(StrEnum):
    """The weight of a finding: only `failed` stops a rollout."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of a checklist. `examine` fills in its name."""

    level: Severity
    detail: str
    advice: str = ""
    name: str = ""

    @property
    def sentence(self) -> str:
        """What was found, with a full stop where it asks for something."""
        return self.detail if self.level is Severity.OK else sentence(self.detail)

    def __str__(self) -> str:
        return f"{self.level}: {self.name}: {self.sentence}" + (f" {self.advice}" if self.advice else "")

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "level": self.level, "detail": self.detail, "advice": self.advice}


def ok(detail: str) -> Finding:
    return Finding(Severity.OK, detail)


def warning(detail: str, advice: str = "") -> Finding:
    return Finding(Severity.WARNING, detail, advice)


def ok_if(well: bool, detail: str) -> Finding:
    """A warning otherwise."""
    return Finding(Severity.OK if well else Severity.WARNING, detail)


def failed(detail: str, advice: str = "") -> Finding:
    return Finding(Severity.FAILED, detail, advice)


def examine(rows: dict[str, Callable[[], Iterator[Finding]]]) -> Iterator[Finding]:
    """Check every row; an error with a sentence of its own is a failed one."""
    for name, check in rows.items():
        try:
            found = list(check())
        except RolloutError as error:
            found = [failed(error.sentence, error.hint)]
        except OSError as error:
            found = [failed(str(error))]
        yield from (replace(finding, name=name) for finding in found)
