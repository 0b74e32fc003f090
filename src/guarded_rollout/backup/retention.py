"""Which backups stay: a pure function over names and times."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from guarded_rollout.backup.catalog import Entry
from guarded_rollout.errors import RetentionRuleError


@dataclass(frozen=True, slots=True)
class Rule:
    """Keep the newest `last`, and whatever is younger than `younger_than`; one of the two may be left out."""

    last: int | None = None
    younger_than: timedelta | None = None

    def __post_init__(self) -> None:
        if self.last is None and self.younger_than is None:
            raise RetentionRuleError(problem="there is none, and that does not mean to delete everything")
        if self.last is not None and self.last < 1:
            raise RetentionRuleError(problem=f"keeping the last {self.last} would keep nothing")
        if self.younger_than is not None and self.younger_than < timedelta(0):
            raise RetentionRuleError(problem="an age is not negative")


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup that stays, and why."""

    entry: Entry
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rule makes of the backups of one environment, newest first."""

    keep: tuple[Kept, ...]
    remove: tuple[Entry, ...]


def plan(entries: Iterable[Entry], rule: Rule, *, now: datetime, needed: Collection[str] = ()) -> Plan:
    """Decide for each backup; `needed` names those that an open rollout may return to.

    The newest always stays: age alone must not leave an environment without any.
    """
    keep: list[Kept] = []
    remove: list[Entry] = []
    for place, entry in enumerate(sorted(entries, key=lambda entry: entry.name, reverse=True), start=1):
        reason = _reason(entry, place, rule, now, needed)
        if reason is None:
            remove.append(entry)
        else:
            keep.append(Kept(entry, reason))
    return Plan(tuple(keep), tuple(remove))


def _reason(entry: Entry, place: int, rule: Rule, now: datetime, needed: Collection[str]) -> str | None:
    if entry.name in needed:
        return "an open rollout may return to it"
    if place <= (rule.last or 1):
        return f"among the last {rule.last}" if rule.last else "the newest"
    if rule.younger_than is not None and now - entry.taken_at < rule.younger_than:
        return f"younger than {rule.younger_than.total_seconds() / 3600:g} h"
    return None
