"""Rows of the pre-deployment checklist on what a lost machine would cost: backup, copies, stream."""

from collections.abc import Iterator

from guarded_rollout.backup import copies
from guarded_rollout.backup.catalog import latest
from guarded_rollout.backup.verify import verify
from guarded_rollout.checks.findings import Finding, Severity, ok, warning
from guarded_rollout.config.copies import BackupEngine
from guarded_rollout.config.service import StoreKind
from guarded_rollout.errors import (
    MissingProgramError,
    RolloutError,
    StoreProgramError,
    StreamError,
)
from guarded_rollout.host.postgresql import LogShipping, PostgresqlDatabase
from guarded_rollout.host.programs import program
from guarded_rollout.host.site import Site
from guarded_rollout.secret import Secret

LAG_SECONDS = 60


def newest_backup(site: Site) -> Iterator[Finding]:
    if site.environment.service.store is StoreKind.NONE:
        yield ok("none is needed: the service keeps no data")
        return
    if site.environment.backup_engine is BackupEngine.RESTIC:
        yield ok("kept as copies alone; see there")
        return
    newest = latest(site.environment.backups, site.environment.name, site.environment.service.name)
    if newest is None:
        advice = "Take one with `rollout backup` or --backup-first."
        yield Finding(Severity.WARNING if site.serves else Severity.OK, "there is none", advice)
        return
    verify(newest.path, allowed_signers=site.environment.allowed_signers)
    yield ok(f"{newest.name} is verified")


def sent_copies(site: Site) -> Iterator[Finding]:
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


def stream_lag(site: Site) -> Iterator[Finding]:
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
        yield _brought_back(site, f"it is {state.lag_seconds:g} s behind")


def _brought_back(site: Site, lag: str) -> Finding:
    """Whether the store would come back: a target that was exchanged for a while lacks what was sent then."""
    try:
        site.stream.rehearse()
    except StreamError as error:
        advice = "Another `url` under `[backup.stream]` begins it anew, whole."
        return warning(f"{lag}, and the store cannot be brought back: {error.data['reason']}", advice)
    return ok(lag)


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
