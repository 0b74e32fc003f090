"""The guide's pre-deployment checklist: checked before anything is changed."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from guarded_rollout.checks import candidate, safeguards
from guarded_rollout.checks.findings import Finding, Severity, examine, failed, ok, warning
from guarded_rollout.config import gates
from guarded_rollout.config.tls import TlsMode
from guarded_rollout.errors import (
    DiskFullError,
    PreflightError,
)
from guarded_rollout.gates.estimate import UsualTraffic, estimates
from guarded_rollout.host.certificate import DAYS_LEFT, in_file, read_certificate, shown_at
from guarded_rollout.host.programs import program
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.journal.store import Journal
from guarded_rollout.monitor.edge_log import BeforeSource
from guarded_rollout.monitor.targets import edge_log_of, path_of
from guarded_rollout.notify import settings
from guarded_rollout.notify.channels.factory import configured
from guarded_rollout.notify.notifier import plan_of

PROGRAMS = ("uv", "caddy", "supervisord")


def inspect(
    site: Site,
    journal: Journal,
    release: Release | None,
    *,
    health: bool = True,
    allow_unknown: bool = False,
    reviews: Path | None = None,
    artifacts: Path | None = None,
    backup: bool = True,
) -> list[Finding]:
    """Go through the checklist; every row is checked, whatever another one finds.

    Without `backup` nothing is asked of the newest one: one is about to be taken.
    """
    rows: dict[str, Callable[[], Iterator[Finding]]] = {
        "disk space": lambda: _disk(site),
        "permissions": lambda: _permissions(site),
        "tools": _tools,
        "sockets and port": lambda: _addresses(site),
        "quality gates": lambda: _gates(site),
        "notifications": lambda: _notifications(site),
    }
    if site.environment.tls.on:
        rows["certificate"] = lambda: _certificate(site)
    if backup:
        rows["latest backup"] = lambda: safeguards.newest_backup(site)
    rows["copies"] = lambda: safeguards.sent_copies(site)
    rows["stream"] = lambda: safeguards.stream_lag(site)
    if health:
        rows["service health"] = lambda: _health(site)
    if release is not None:
        rows["release"] = lambda: candidate.about_release(release, journal)
        rows["data"] = lambda: candidate.data(site, release)
        rows["commands left out"] = lambda: candidate.left_out(site, release)
        rows["variables"] = lambda: candidate.variables(site, release)
        rows["migration plan"] = lambda: candidate.migrations(site, release, allow_unknown)
    if artifacts is not None:
        rows["pre-merge artifacts"] = lambda: candidate.artifacts(site, artifacts, release)
    if reviews is not None:
        rows["reviews"] = lambda: candidate.reviews(site, reviews, release)
    return list(examine(rows))


def failures(findings: Sequence[Finding]) -> list[str]:
    """Return every failed row in words."""
    return [f"{finding.name}: {finding.detail}" for finding in findings if finding.level is Severity.FAILED]


def require(findings: Sequence[Finding]) -> None:
    """Raise `PreflightError` naming every failed row."""
    if bad := failures(findings):
        raise PreflightError(problems="; ".join(bad))


def _disk(site: Site) -> Iterator[Finding]:
    environment = site.environment
    free = shutil.disk_usage(environment.project).free // 2**20
    if free < environment.minimum_free_mb:
        raise DiskFullError(path=environment.project, free_mb=free, needed_mb=environment.minimum_free_mb)
    yield ok(f"{free:,} MB free")


def _permissions(site: Site) -> Iterator[Finding]:
    environment = site.environment
    for folder in (environment.root, environment.releases, environment.backups, environment.logs):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            yield failed(f"{existing} is not writable.", "Give this user access to it.")
            return
    yield ok("all folders are writable")


def _tools() -> Iterator[Finding]:
    found = [program(name) for name in PROGRAMS]
    yield ok(", ".join(Path(path).name for path in found))


def _addresses(site: Site) -> Iterator[Finding]:
    site.processes.require_short_paths()
    site.traffic.require_own_port()
    ports = [str(port) for port in (site.environment.port, site.environment.redirect_port) if port]
    words = "ports {} are" if len(ports) > 1 else "port {} is"
    yield ok(f"{words.format(' and '.join(ports))} ours or free")


def _certificate(site: Site) -> Iterator[Finding]:
    """Require that clients would accept it; warn of its end, and of what keeps a new one away."""
    environment, tls = site.environment, site.environment.tls
    shown = shown_at(environment.port, tls.domain) if site.serves else None
    if tls.mode is TlsMode.ACME:
        if environment.port != 443 and tls.redirect_port != 80:
            asked = "Let one of them lead to port or redirect_port, or set redirect_port = 80."
            yield warning("the CA asks at port 443 or 80, and neither is ours", asked)
        if site.serves and shown is None:
            yield warning("the proxy has none yet", "See logs/proxy.log in the environment's folder.")
        yield ok(f"{tls.domain}, by ACME")
        return
    found = read_certificate(tls)
    if (mode := stat.S_IMODE(Path(str(tls.key)).stat().st_mode)) & 0o077:
        yield warning(f"other users can read its key (mode {mode:o})", f"Run `chmod 600 {tls.key}`.")
    if found.days_left < DAYS_LEFT:
        yield warning(f"it expires in {found.days_left:.0f} days", "Renew it.")
    if shown is not None and shown != in_file(Path(str(tls.certificate))):
        advice = f"`rollout start --env {environment.name}` has it read."
        yield warning("the proxy shows another one than the file holds", advice)
    yield ok(f"{found.domain}, until {found.expires:%Y-%m-%d}")


def _health(site: Site) -> Iterator[Finding]:
    serving = site.serving()
    if serving is None:
        yield ok("nothing serves yet")
        return
    if not site.processes.wanted(site.slots.find(serving.id) or ""):
        yield ok(f"{serving.id} is stopped on purpose; a deployment starts it first")
        return
    answer = site.health(site.public())
    said = f"{serving.id} answers {answer.said[:120]}"
    yield ok(said) if answer.ok else failed(said, "Fix it first, or deploy with --skip-health-check.")


def _gates(site: Site) -> Iterator[Finding]:
    environment = site.environment
    file, file_name = gates.load(environment.gates), environment.gates.name
    config = file.environment(environment.name)
    asked, declared = path_of(file.global_settings.health_check_endpoint), environment.service.health.path
    if asked not in ("", declared):
        yield warning(
            f"they ask {asked} whether a release is well, which is verified by {declared}",
            f"health.path in rollout.toml says it for both without health_check_endpoint in {file_name}.",
        )
    enabled = [name for name, _ in config.quality_gates.enabled()]
    if not enabled:
        yield warning("none is enabled", f"See {file_name}.")
        return
    yield ok(", ".join(enabled))
    before = BeforeSource(edge_log_of(environment), site.traffic.serving()).sample()
    traffic = UsualTraffic.of(before, site.clock.now().timestamp())
    if traffic is not None:
        said = "; ".join(one.words for one in estimates(config, traffic))
        yield ok(f"at {traffic.rps:.2g} requests/s, as of late: {said}")


def _notifications(site: Site) -> Iterator[Finding]:
    """Warn where nobody would be told, and where others can read how."""
    environment = site.environment
    if (mode := settings.readable_by_others(environment.project)) is not None:
        what = f"{settings.FILE} holds secrets, and other users can read it (mode {mode:o})."
        yield warning(what, f"Run `chmod 600 {settings.FILE}`.")
    elif channels := configured(settings.load(environment.project)):
        named = {*plan_of(environment).channels, "apprise"}  # apprise gets every event
        if told := [name for name in channels if name in named]:
            yield ok(", ".join(told))
        else:
            words = f"{environment.gates.name} names no channel that is set up ({', '.join(channels)})"
            yield warning(
                f"{words}: nobody is told of anything.", "Name it in `notifications.channels` there."
            )
    else:
        advice = "`rollout notify --setup slack=https://…` writes one down; see docs/notifications.md."
        yield warning("no channel is set: nobody is told of anything.", advice)
