"""Prunes a folder of backups: what the retention rule gives up, and what killed backups left behind."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from guarded_rollout.backup.catalog import SAFETY, Entry, find, parse
from guarded_rollout.backup.retention import Plan, Rule, plan
from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment
from guarded_rollout.journal.model import Rollout

CLAIM_AGE = timedelta(days=1)
"""A checksum without an archive is a claim of someone who writes it now, or died doing so."""


def rule_of(environment: Environment, *, keep: int | None = None, hours: float | None = None) -> Rule:
    """What the operator says, or else rollout.toml (how many) and the gates file (for how long)."""
    if hours is None:
        watched = gates.load(environment.gates).environment(environment.name)
        hours = watched.auto_rollback.backup_retention_hours
    return Rule(environment.keep_backups if keep is None else keep, timedelta(hours=hours))


def decide(folder: Path, environment: str, rule: Rule, rollout: Rollout | None, now: datetime) -> Plan:
    """What the rule makes of one environment's backups in a folder, while this rollout is open."""
    entries = find(folder, environment)
    return plan(entries, rule, now=now, needed=needed_by(rollout, entries) if rollout else ())


def surplus(environment: Environment, rollout: Rollout | None, now: datetime) -> Iterator[tuple[Path, Plan]]:
    """What the configured rule makes of the backups and of the safety copies: each folder with its plan."""
    rule = rule_of(environment)
    for folder in (environment.backups, environment.backups / SAFETY):
        yield folder, decide(folder, environment.name, rule, rollout, now)


def needed_by(rollout: Rollout, entries: list[Entry]) -> set[str]:
    """The backups that an open rollout may return to: its own, and the last one that was taken before it."""
    evidence = [step.evidence or {} for step in rollout.steps]
    own = {
        Path(str(found[key])).name
        for found in evidence
        for key in ("backup", "safety_copy")
        if found.get(key)
    }
    before = max((entry.name for entry in entries if entry.taken_at <= rollout.started_at), default=None)
    return own | ({before} if before else set())


def remove(decided: Plan, folder: Path, environment: str, now: datetime) -> Iterator[Entry]:
    """Remove what the plan gives up; the archive first, so that no crash leaves one without its checksum."""
    for entry in decided.remove:
        _remove(entry)
        yield entry
    complete = {entry.name for entry in find(folder, environment)}
    for claim in folder.glob("*.zip.sha256"):
        entry_of = parse(claim.with_suffix(""))
        if entry_of is None or entry_of.environment != environment or entry_of.name in complete:
            continue
        if now - entry_of.taken_at > CLAIM_AGE:
            _remove(entry_of)


def _remove(entry: Entry) -> None:
    for path in entry.files:
        path.unlink(missing_ok=True)
