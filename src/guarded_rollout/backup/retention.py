"""Retention: decides which backups stay, a pure function over names and times, and removes the others."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from guarded_rollout.backup import originals
from guarded_rollout.backup.catalog import SAFETY, BackupEntry, find, parse
from guarded_rollout.backup.verify import read_files
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import gates_of
from guarded_rollout.errors import RetentionRuleError, RolloutError
from guarded_rollout.journal.model import Rollout

CLAIM_AGE = timedelta(days=1)
"""Age from which a checksum without an archive was left by a killed writer; a young one claims a name."""


@dataclass(frozen=True, slots=True)
class RetentionRule:
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
class KeptBackup:
    """A backup that stays, and why."""

    entry: BackupEntry
    reason: str


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """The backups of one environment that stay and that go, newest first."""

    keep: tuple[KeptBackup, ...]
    remove: tuple[BackupEntry, ...]


def plan(
    entries: Iterable[BackupEntry], rule: RetentionRule, *, now: datetime, needed: Collection[str] = ()
) -> RetentionPlan:
    """Decide for each backup; `needed` names those that an open rollout may return to.

    The newest always stays: age alone must not leave an environment without any.
    """
    keep: list[KeptBackup] = []
    remove: list[BackupEntry] = []
    for place, entry in enumerate(sorted(entries, key=lambda entry: entry.name, reverse=True), start=1):
        reason = _reason(entry, place, rule, now, needed)
        if reason is None:
            remove.append(entry)
        else:
            keep.append(KeptBackup(entry, reason))
    return RetentionPlan(tuple(keep), tuple(remove))


def _reason(
    entry: BackupEntry, place: int, rule: RetentionRule, now: datetime, needed: Collection[str]
) -> str | None:
    if entry.name in needed:
        return "an open rollout may return to it"
    if place <= (rule.last or 1):
        return f"among the last {rule.last}" if rule.last else "the newest"
    if rule.younger_than is not None and now - entry.taken_at < rule.younger_than:
        return f"younger than {rule.younger_than.total_seconds() / 3600:g} h"
    return None


# ---- a folder of backups


def rule_of(
    environment: Environment, *, keep: int | None = None, hours: float | None = None
) -> RetentionRule:
    """The operator's rule, or else that of rollout.toml (how many) and the gates file (for how long)."""
    if hours is None:
        watched = gates_of(environment)
        hours = watched.auto_rollback.backup_retention_hours
    return RetentionRule(environment.keep_backups if keep is None else keep, timedelta(hours=hours))


def decide(
    folder: Path,
    environment: str,
    rule: RetentionRule,
    rollout: Rollout | None,
    now: datetime,
    *,
    service: str = "",
) -> RetentionPlan:
    """Apply the rule to one environment's backups in a folder, while this rollout is open."""
    entries = find(folder, environment, service)
    return plan(entries, rule, now=now, needed=needed_by(rollout, entries) if rollout else ())


def surplus(
    environment: Environment,
    rollout: Rollout | None,
    now: datetime,
    *,
    rule: RetentionRule | None = None,
    folder: Path | None = None,
) -> Iterator[tuple[Path, RetentionPlan]]:
    """Apply a rule, or else the configured one, to the backups and the safety copies: folder and plan."""
    rule, backups = rule or rule_of(environment), folder or environment.backups
    for place in (backups, backups / SAFETY):
        yield (
            place,
            decide(place, environment.name, rule, rollout, now, service=environment.service.name),
        )


def needed_by(rollout: Rollout, entries: list[BackupEntry]) -> set[str]:
    """The backups that an open rollout may return to: its own, and the last one that was taken before it.

    The one that it is returning to is its own from the beginning: a `resume` reads it again.
    """
    known = [rollout.plan.get("options", {}), *(step.evidence or {} for step in rollout.steps)]
    own = {
        Path(str(found[key])).name for found in known for key in ("backup", "safety_copy") if found.get(key)
    }
    before = max((entry.name for entry in entries if entry.taken_at <= rollout.started_at), default=None)
    return own | ({before} if before else set())


def remove(decided: RetentionPlan, folder: Path, environment: str, now: datetime) -> Iterator[BackupEntry]:
    """Remove what the plan gives up, the claims of killed writers, and originals that no archive lists.

    The archive goes first, so that no crash leaves one without its checksum.
    """
    for entry in decided.remove:
        _delete(entry)
        yield entry
    complete = {entry.name for entry in find(folder, environment)}
    for claim in folder.glob("*.zip.sha256"):
        entry_of = parse(claim.with_suffix(""))
        if entry_of is None or entry_of.environment != environment or entry_of.name in complete:
            continue
        if now - entry_of.taken_at > CLAIM_AGE:
            _delete(entry_of)
    if folder.name == SAFETY:  # `surplus` has them last
        remove_originals(folder.parent)


def remove_originals(backups: Path) -> list[Path]:
    """Remove the originals that no archive here lists, of whichever environment; those that went.

    So what was erased goes with the last backup that has it. An archive that cannot be read may list any:
    then all stay.
    """
    if not (backups / originals.FOLDER).is_dir():
        return []
    known: set[str] = set()
    for archive in [*backups.glob("*.zip"), *(backups / SAFETY).glob("*.zip")]:
        try:
            _, files = read_files(archive, lambda found: [found.originals.list] if found.originals else [])
            for content in files.values():
                known |= {each.path for each in originals.listed(archive, content)}
        except RolloutError:
            return []
    return originals.remove_unlisted(backups, known, CLAIM_AGE)


def _delete(entry: BackupEntry) -> None:
    for path in entry.files:
        path.unlink(missing_ok=True)
