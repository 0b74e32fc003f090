"""The guide's pre-deployment checklist as code: looked at before anything is touched."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from guarded_rollout.backup.catalog import latest
from guarded_rollout.backup.verify import verify
from guarded_rollout.checks import manifest
from guarded_rollout.checks.migrations import lint
from guarded_rollout.checks.reviews import judge
from guarded_rollout.checks.reviews import read as read_reviews
from guarded_rollout.checks.schema import plan_for
from guarded_rollout.config import gates
from guarded_rollout.errors import DiskFullError, PreflightError, RolloutError
from guarded_rollout.host.git import revision
from guarded_rollout.host.programs import program
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.journal.model import Outcome
from guarded_rollout.journal.store import Journal

PROGRAMS = ("uv", "caddy", "supervisord")


class Level(StrEnum):
    """How bad it is: only `failed` stops a rollout."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the checklist."""

    name: str
    level: Level
    detail: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.level}: {self.name}: {self.detail}" + (f" {self.advice}" if self.advice else "")


def inspect(
    site: Site,
    journal: Journal,
    release: Release | None,
    *,
    health: bool = True,
    reviews: Path | None = None,
    artifacts: Path | None = None,
) -> list[Finding]:
    """Go through the checklist; every row is looked at, whatever another one says."""
    rows: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("disk space", lambda: _disk(site)),
        ("permissions", lambda: _permissions(site)),
        ("tools", _tools),
        ("sockets and port", lambda: _addresses(site)),
        ("quality gates", lambda: _gates(site)),
        ("latest backup", lambda: _backup(site)),
    ]
    if health:
        rows.append(("service health", lambda: _health(site)))
    if release is not None:
        rows += [
            ("release", lambda: _release(release, journal)),
            ("migration plan", lambda: _migrations(site, release)),
        ]
    if artifacts is not None:
        rows.append(("pre-merge artifacts", lambda: _artifacts(site, artifacts)))
    if reviews is not None:
        rows.append(("reviews", lambda: _reviews(site, reviews)))
    return [finding for name, look in rows for finding in _looked(name, look)]


def require(findings: Sequence[Finding]) -> None:
    """Raise `PreflightError` naming every failed row."""
    failed = [finding for finding in findings if finding.level is Level.FAILED]
    if failed:
        raise PreflightError(problems="; ".join(f"{finding.name}: {finding.detail}" for finding in failed))


def _looked(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A row; an error with a sentence of its own is a failed one."""
    found = []
    try:
        found = list(look())
    except RolloutError as error:
        yield Finding(name, Level.FAILED, error.sentence, error.hint)
        return
    yield from found


def _disk(site: Site) -> Iterator[Finding]:
    environment = site.environment
    free = shutil.disk_usage(environment.project).free // 2**20
    if free < environment.minimum_free_mb:
        raise DiskFullError(path=environment.project, free_mb=free, needed_mb=environment.minimum_free_mb)
    yield Finding("disk space", Level.OK, f"{free:,} MB free")


def _permissions(site: Site) -> Iterator[Finding]:
    environment = site.environment
    for folder in (environment.root, environment.releases, environment.backups, environment.logs):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            yield Finding(
                "permissions", Level.FAILED, f"{existing} is not writable.", "Give this user access to it."
            )
            return
    yield Finding("permissions", Level.OK, "all folders are writable")


def _tools() -> Iterator[Finding]:
    found = [program(name) for name in PROGRAMS]
    yield Finding("tools", Level.OK, ", ".join(Path(path).name for path in found))


def _addresses(site: Site) -> Iterator[Finding]:
    site.processes.require_short_paths()
    site.traffic.require_own_port()
    yield Finding("sockets and port", Level.OK, f"port {site.environment.port} is ours or free")


def _health(site: Site) -> Iterator[Finding]:
    serving = site.serving()
    if serving is None:
        yield Finding("service health", Level.OK, "nothing serves yet")
        return
    answer = site.public().ask("GET", "/health")
    level = Level.OK if answer.ok else Level.FAILED
    advice = "" if answer.ok else "Mend it first, or deploy with --skip-health-check."
    yield Finding("service health", level, f"{serving.id} answers {answer.summary()[:120]}", advice)


def _gates(site: Site) -> Iterator[Finding]:
    environment = site.environment
    enabled = [
        name
        for name, _ in gates.load(environment.gates).environment(environment.name).quality_gates.enabled()
    ]
    if enabled:
        yield Finding("quality gates", Level.OK, ", ".join(enabled))
    else:
        yield Finding("quality gates", Level.WARNING, "none is enabled", f"See {environment.gates.name}.")


def _backup(site: Site) -> Iterator[Finding]:
    newest = latest(site.environment.backups, site.environment.name)
    if newest is None:
        level = Level.OK if site.serving() is None else Level.WARNING
        yield Finding(
            "latest backup", level, "there is none", "Take one with `rollout backup` or --backup-first."
        )
        return
    verify(newest.path, allowed_signers=site.environment.allowed_signers)
    yield Finding("latest backup", Level.OK, f"{newest.name} is verified")


def _release(release: Release, journal: Journal) -> Iterator[Finding]:
    tried = [past for past in journal.history(limit=50) if past.target == release.id]
    if any(past.outcome is Outcome.ROLLED_BACK for past in tried):
        yield Finding(
            "release", Level.WARNING, f"{release.id} was rolled back before", "See `rollout history`."
        )
    elif release.dirty:
        yield Finding(
            "release", Level.WARNING, f"{release.id} is built from uncommitted changes", "Commit them."
        )
    else:
        yield Finding("release", Level.OK, release.id)


def _migrations(site: Site, release: Release) -> Iterator[Finding]:
    plan = plan_for(site, release)
    problems = [] if plan.current is None else lint(plan.expanding())
    if problems:
        yield Finding(
            "migration plan", Level.FAILED, "; ".join(problems), "Split it into expand and contract."
        )
    elif plan.revisions:
        yield Finding(
            "migration plan", Level.OK, "to run: " + ", ".join(f"{r.id} ({r.kind})" for r in plan.revisions)
        )
    else:
        yield Finding("migration plan", Level.OK, "nothing to migrate")


def _artifacts(site: Site, folder: Path) -> Iterator[Finding]:
    """What `rollout premerge` left: whole, passed, and about the commit that is checked out."""
    name = "pre-merge artifacts"
    if not (folder / manifest.FILE).exists():
        yield Finding(
            name, Level.WARNING, f"there are none in {folder.name}/", "`rollout premerge` makes them."
        )
        return
    found = manifest.read(folder)
    commit, _ = revision(site.environment.service.source)
    failed = [check.name for check in found.checks if not check.passed]
    if failed or not found.passed:
        yield Finding(
            name, Level.FAILED, f"failed: {', '.join(failed) or 'nothing was run'}", "See its report.md."
        )
    elif found.commit != commit:
        made, here = found.commit[:12] or "no commit", commit[:12] or "no commit"
        about = f"they are about {made}, and {here} is checked out"
        yield Finding(name, Level.FAILED, about, "Run `rollout premerge` on this commit.")
    elif found.dirty:
        advice = "Commit, and run `rollout premerge` again."
        yield Finding(name, Level.WARNING, "they were made with uncommitted changes", advice)
    else:
        yield Finding(name, Level.OK, f"{len(found.checks)} checks passed at {found.commit[:12]}")


def _reviews(site: Site, path: Path) -> Iterator[Finding]:
    """Enough approvals of what is checked out, one of them by ops."""
    reviews, asked_for = read_reviews(path)
    commit, _ = revision(site.environment.service.source)
    approval = judge(reviews, asked_for or commit)
    problems = approval.problems(site.environment.approvals, site.environment.ops)
    if asked_for and commit and asked_for != commit:
        problems.append(f"they are about {asked_for[:12]}, and {commit[:12]} is checked out")
    if problems:
        yield Finding("reviews", Level.FAILED, "; ".join(problems), "Ask for the reviews that are missing.")
    else:
        yield Finding("reviews", Level.OK, f"approved by {', '.join(approval.approved)}")
