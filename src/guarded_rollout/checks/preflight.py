"""The guide's pre-deployment checklist: checked before anything is changed."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from guarded_rollout.backup import copies
from guarded_rollout.backup.catalog import latest
from guarded_rollout.backup.verify import verify
from guarded_rollout.checks import manifest
from guarded_rollout.checks.findings import Finding, Severity, examine, failed, ok, warning
from guarded_rollout.checks.migrations import lint
from guarded_rollout.checks.reviews import judge
from guarded_rollout.checks.reviews import read as read_reviews
from guarded_rollout.checks.schema import plan_for
from guarded_rollout.checks.variables import variable_changes
from guarded_rollout.config import gates
from guarded_rollout.config.copies import BackupEngine
from guarded_rollout.config.service import StoreKind
from guarded_rollout.config.tls import TlsMode
from guarded_rollout.errors import (
    DiskFullError,
    MissingProgramError,
    PreflightError,
    RolloutError,
    StoreProgramError,
)
from guarded_rollout.gates.estimate import UsualTraffic, estimates
from guarded_rollout.host.certificate import DAYS_LEFT, in_file, read_certificate, shown_at
from guarded_rollout.host.git import revision
from guarded_rollout.host.postgresql import LogShipping, PostgresqlDatabase
from guarded_rollout.host.programs import program
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.stores import PostgresqlStore, store_of
from guarded_rollout.journal.record import records
from guarded_rollout.journal.store import Journal
from guarded_rollout.monitor.edge_log import BeforeSource
from guarded_rollout.monitor.targets import edge_log_of
from guarded_rollout.notify import settings
from guarded_rollout.notify.channels.factory import configured
from guarded_rollout.secret import Secret

ABILITIES = {
    "schema_plan": "there is no migration plan, and nothing is migrated",
    "schema_downgrade": "no migration is taken back",
    "store_merge": "nothing is merged on a rollback to a backup: data comes back exact,"
    " without what was written since",
    "store_salvage": "nothing is read out of a damaged store",
    "store_forget": "`--data exact` brings back what was erased since the backup",
    "store_quarantine": "what a bad release wrote is not taken out of use",
}
"""What is not done without a command of the service."""
LAG_SECONDS = 60
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
        rows["latest backup"] = lambda: _backup(site)
    rows["copies"] = lambda: _copies(site)
    rows["stream"] = lambda: _stream(site)
    if health:
        rows["service health"] = lambda: _health(site)
    if release is not None:
        rows["release"] = lambda: about_release(release, journal)
        rows["data"] = lambda: _data(site, release)
        rows["commands left out"] = lambda: _left_out(site, release)
        rows["variables"] = lambda: _variables(site, release)
        rows["migration plan"] = lambda: _migrations(site, release, allow_unknown)
    if artifacts is not None:
        rows["pre-merge artifacts"] = lambda: _artifacts(site, artifacts, release)
    if reviews is not None:
        rows["reviews"] = lambda: _reviews(site, reviews, release)
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
    shown = shown_at(environment.port, tls.domain) if site.serving() is not None else None
    if tls.mode is TlsMode.ACME:
        if environment.port != 443 and tls.redirect_port != 80:
            asked = "Let one of them lead to port or redirect_port, or set redirect_port = 80."
            yield warning("the CA asks at port 443 or 80, and neither is ours", asked)
        if site.serving() is not None and shown is None:
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
    config = gates.load(environment.gates).environment(environment.name)
    enabled = [name for name, _ in config.quality_gates.enabled()]
    if not enabled:
        yield warning("none is enabled", f"See {environment.gates.name}.")
        return
    yield ok(", ".join(enabled))
    before = BeforeSource(edge_log_of(environment), site.traffic.serving()).sample()
    traffic = UsualTraffic.of(before, site.clock.now().timestamp())
    if traffic is not None:
        said = "; ".join(one.words for one in estimates(config, traffic))
        yield ok(f"at {traffic.rps:.2g} requests/s, as of late: {said}")


def _backup(site: Site) -> Iterator[Finding]:
    if site.environment.service.store is StoreKind.NONE:
        yield ok("none is needed: the service keeps no data")
        return
    if site.environment.backup_engine is BackupEngine.RESTIC:
        yield ok("kept as copies alone; see there")
        return
    newest = latest(site.environment.backups, site.environment.name, site.environment.service.name)
    if newest is None:
        advice = "Take one with `rollout backup` or --backup-first."
        yield Finding(Severity.OK if site.serving() is None else Severity.WARNING, "there is none", advice)
        return
    verify(newest.path, allowed_signers=site.environment.allowed_signers)
    yield ok(f"{newest.name} is verified")


def _copies(site: Site) -> Iterator[Finding]:
    """Require that a backup has left the machine, where the environment is one whose operators confirm."""
    environment = site.environment
    if environment.service.store is StoreKind.NONE:
        yield ok("none are needed: the service keeps no data")
        return
    weigh = warning if environment.confirm else _harmless
    if not environment.copies:
        yield weigh("nothing leaves this machine", "Name a target under `[backup.copies]` in rollout.toml.")
        return
    try:
        program("restic")
    except MissingProgramError as error:
        yield warning(error.sentence, "`apt-get install restic` brings it.")
        return
    last = {record.target: record for record in copies.records(environment)}
    for target in environment.copies:
        record = last.get(target.name)
        if record is None:
            yield weigh(f"{target.name} has no copy yet", "`rollout copies send` makes one.")
        elif record.problem:
            yield warning(f"{target.name}: {record.problem}", "`rollout copies send` tries again.")
        else:
            yield ok(f"{target.name} has {record.source} as restic:{record.snapshot}")
    if not any(target.leaves_the_machine for target in environment.copies):
        yield weigh("every copy stays on this machine", "Name a target that is elsewhere.")


def _stream(site: Site) -> Iterator[Finding]:
    """Say how far the stream of the store is behind, or where PostgreSQL's own log goes."""
    if site.store_url.startswith("postgres"):
        database = PostgresqlDatabase(Secret(site.store_url), site.environment.service.store_programs)
        try:
            yield shipped(database.shipping(), confirm=site.environment.confirm)
        except MissingProgramError:
            yield ok("psql is not here, so nobody asked where the server's log goes")
        except StoreProgramError as error:
            yield warning(f"nobody knows where the server's log goes: {error.sentence}")
        return
    try:
        site.stream.require_ready()
    except RolloutError as error:
        yield warning(error.sentence, error.hint)
        return
    state = site.stream.state(site.clock.now())
    if state is None:
        yield ok("none" if site.environment.stream is None else "it begins with the first release")
    elif state.lag_seconds is None:
        yield warning(state.problem, "See logs/stream.log in the environment's folder.")
    elif state.lag_seconds > LAG_SECONDS:
        yield warning(
            f"it is {state.lag_seconds:g} s behind", "See logs/stream.log in the environment's folder."
        )
    else:
        yield ok(f"it is {state.lag_seconds:g} s behind")


def shipped(told: LogShipping, *, confirm: bool) -> Finding:
    """Judge where the log of a PostgreSQL server goes; nowhere matters where operators confirm."""
    to = f"to {told.standbys} standbys" if told.standbys else "to no standby"
    if told.archives and told.fails:
        return warning(
            f"archiving the write-ahead log fails; it is streamed {to}",
            "See pg_stat_archiver and the server's log; until then its disk fills up.",
        )
    if told.archives:
        last = "not yet" if told.seconds is None else f"{told.seconds:.0f} s ago"
        return ok(f"the write-ahead log is archived, last {last}, and streamed {to}")
    if told.standbys:
        return ok(f"the write-ahead log is not archived, but streamed {to}")
    weigh = warning if confirm else _harmless
    advice = "pgBackRest or Barman archive it (docs/backups.md); a standby has it too."
    return weigh(
        "the write-ahead log goes nowhere: a lost machine costs what came since the last copy", advice
    )


def _harmless(detail: str, advice: str) -> Finding:
    return Finding(Severity.OK, detail, advice)


def about_release(release: Release, journal: Journal) -> Iterator[Finding]:
    """Say whether it was left as bad before, or is built from what is committed nowhere."""
    record = records(journal.deployments()).get(release.id)
    if record is not None and record.bad:
        yield warning(f"{release.id} was left as bad: {record.why}", "See `rollout releases`.")
    elif release.dirty:
        yield warning(f"{release.id} is built from uncommitted changes", "Commit them.")
    else:
        yield ok(release.id)


def _data(site: Site, release: Release) -> Iterator[Finding]:
    """Say who copies the data, and whether it could be brought back."""
    store = store_of(site)
    if store is None:
        yield ok("the service keeps none: nothing is backed up, and a rollback brings none back")
    elif not store.can_copy(release):
        advice = "Write service.commands.store_snapshot in rollout.toml."
        yield warning("nothing copies it: no backup can be taken", advice)
    elif isinstance(store, PostgresqlStore):
        if store.database.may_create():
            yield ok(f"the database {store.database.name} is dumped and restored by pg_dump and pg_restore")
        else:
            advice = "Let an administrator run ALTER ROLE … CREATEDB, to bring data back by --data exact."
            yield warning(
                f"its user may not make the database that {store.database.name} is restored in", advice
            )
    else:
        by = "SQLite" if store.kind is StoreKind.SQLITE else "the service's own commands"
        yield ok(f"{store.file.path if store.file else 'it'} is copied and checked by {by}")


def _left_out(site: Site, release: Release) -> Iterator[Finding]:
    """List what cannot be done because rollout.toml has no command for it."""
    store = store_of(site)
    missing = {
        name: loss
        for name, loss in ABILITIES.items()
        if not site.has(release, name) and (store is not None or not name.startswith("store_"))
    }
    for name, loss in missing.items():
        yield ok(f"{name}: {loss}")
    if not missing:
        yield ok("none")


def _variables(site: Site, release: Release) -> Iterator[Finding]:
    """List what would change in the service's environment variables."""
    for change in variable_changes(site, release) or ["as those of what serves"]:
        yield ok(change)


def _migrations(site: Site, release: Release, allow_unknown: bool) -> Iterator[Finding]:
    plan = plan_for(site, release)
    problems = [] if plan.current is None else lint(plan.expanding(), allow_unknown=allow_unknown)
    if problems:
        yield failed("; ".join(problems), "Split it into expand and contract.")
    elif plan.revisions:
        yield ok("to run: " + ", ".join(f"{r.id} ({r.kind})" for r in plan.revisions))
    else:
        yield ok("nothing to migrate")


def _commit(site: Site, release: Release | None) -> str:
    """The commit that is to be deployed: the release's own, else the one that is checked out."""
    if release is not None and release.commit:
        return release.commit
    commit, _ = revision(site.environment.service.source)
    return commit


def _notifications(site: Site) -> Iterator[Finding]:
    """Warn where nobody would be told, and where others can read how."""
    environment = site.environment
    if (mode := settings.readable_by_others(environment.project)) is not None:
        what = f"{settings.FILE} holds secrets, and other users can read it (mode {mode:o})."
        yield warning(what, f"Run `chmod 600 {settings.FILE}`.")
    elif channels := configured(settings.load(environment.project)):
        yield ok(", ".join(channels))
    else:
        advice = "`rollout notify --setup slack=https://…` writes one down; see docs/notifications.md."
        yield warning("no channel is set: nobody is told of anything.", advice)


def _artifacts(site: Site, folder: Path, release: Release | None) -> Iterator[Finding]:
    """Require what `rollout premerge` left: whole, passed, and about the commit that is deployed."""
    if not (folder / manifest.FILE).exists():
        yield warning(f"there are none in {folder.name}/", "`rollout premerge` makes them.")
        return
    found = manifest.read(folder)
    commit = _commit(site, release)
    bad = [check.name for check in found.checks if not check.passed]
    if bad or not found.passed:
        yield failed(f"failed: {', '.join(bad) or 'nothing was run'}", "See its report.md.")
    elif found.commit != commit:
        made, here = found.commit[:12] or "no commit", commit[:12] or "no commit"
        about = f"they are about {made}, and {here} is to be deployed"
        yield failed(about, "Run `rollout premerge` on this commit.")
    elif found.dirty:
        advice = "Commit, and run `rollout premerge` again."
        yield warning("they were made with uncommitted changes", advice)
    else:
        yield ok(f"{len(found.checks)} checks passed at {found.commit[:12]}")


def _reviews(site: Site, path: Path, release: Release | None) -> Iterator[Finding]:
    """Require enough approvals of what is deployed, one of them by ops."""
    reviews, asked_for = read_reviews(path)
    commit = _commit(site, release)
    approval = judge(reviews, asked_for or commit)
    problems = approval.problems(site.environment.approvals, site.environment.ops)
    if asked_for and commit and asked_for != commit:
        problems.append(f"they are about {asked_for[:12]}, and {commit[:12]} is to be deployed")
    if problems:
        yield failed("; ".join(problems), "Ask for the reviews that are missing.")
    else:
        yield ok(f"approved by {', '.join(approval.approved)}")
