"""`dhash db`: the store's schema, its snapshots, and what is taken out of search."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dhash_service.cli.app import AsJson, app, open_store, tidy_at_sigterm, user
from dhash_service.facts import Subject, Tombstone, new_id

if TYPE_CHECKING:
    from dhash_service.settings import Settings
    from dhash_service.store.merge import Progress
    from dhash_service.store.plan import Planned

db = typer.Typer(no_args_is_help=True, help="The store: its schema, checks, snapshots and merges.")
app.add_typer(db, name="db")


@db.command(epilog="Example: dhash db current --json")
def current(as_json: AsJson = False) -> None:
    """Show the store's schema revision, and those still to come."""
    from dhash_service.settings import Settings
    from dhash_service.store.schema import KNOWN
    from dhash_service.store.schema import current as current_of

    had = current_of(store_url(Settings.load()))
    names = {revision.id for revision in had}
    pending = [name for name, _ in KNOWN if name not in names]
    at = had[-1].id if had else None
    if as_json:
        applied = [
            {"revision": each.id, "kind": each.kind, "message": each.message, "release": each.release}
            for each in had
        ]
        typer.echo(json.dumps({"revision": at, "head": KNOWN[-1][0], "pending": pending, "applied": applied}))
        return
    for each in had:
        typer.echo(f"{each.id}  {each.kind:8}  {each.message}  (by {each.release})")
    typer.echo(f"The store is at {at or 'nothing'}; to come: {', '.join(pending) or 'nothing'}.")


@db.command(epilog="Example: dhash db plan --sql")
def plan(
    sql: Annotated[bool, typer.Option("--sql", help="The statements too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what `dhash db upgrade` would do, and whether each revision keeps its word. Changes nothing."""
    from dhash_service.settings import Settings
    from dhash_service.store.schema import KNOWN
    from dhash_service.store.schema import current as current_of

    url = store_url(Settings.load())
    planned: list[Planned] = []
    if [revision.id for revision in current_of(url)] != [name for name, _ in KNOWN]:
        from dhash_service.store.plan import plan as pending_of  # loads the migrations, at a second each time

        planned = pending_of(url)
    if not planned and not as_json:
        typer.echo("Nothing to do.")
    tell(planned, sql=sql, as_json=as_json)


@db.command(epilog="Example: dhash db lint")
def lint(as_json: AsJson = False) -> None:
    """Hold every revision of this release to its word: one that says `expand` may take nothing away.

    The exit code is 1 if one does.
    """
    from dhash_service.store.plan import plan as all_of

    planned = all_of("sqlite:///unused.db", everything=True)
    tell(planned, sql=False, as_json=as_json)
    if any(each.findings for each in planned):
        raise typer.Exit(1)


@db.command(epilog="Example: dhash db upgrade --expand-only")
def upgrade(
    revision: Annotated[str | None, typer.Argument(help="Up to this one; the newest if left out.")] = None,
    expand_only: Annotated[
        bool, typer.Option("--expand-only", help="Stop before the first that contracts.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the store's schema up, making a new store where there is none."""
    from dhash_service.settings import Settings
    from dhash_service.store import migrate
    from dhash_service.store.schema import current as current_of

    settings = Settings.load()
    url = store_url(settings)
    done = migrate.upgrade(url, revision, release=settings.release, expand_only=expand_only)
    moved([each.id for each in done], [each.id for each in current_of(url)], as_json=as_json)


@db.command(epilog="Example: dhash db downgrade 0001")
def downgrade(
    revision: Annotated[str, typer.Argument(help="Down to this one, or `base`.")],
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Drop tables and columns that hold data.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take the store's schema down. Refuses where data would go, unless told to."""
    from dhash_service.settings import Settings
    from dhash_service.store import migrate
    from dhash_service.store.schema import current as current_of

    url = store_url(Settings.load())
    done = migrate.downgrade(url, revision, accept_loss=accept_loss)
    moved([each.id for each in done], [each.id for each in current_of(url)], as_json=as_json)


@db.command(name="search-index", epilog="Example: dhash db search-index")
def search_index(
    drop: Annotated[bool, typer.Option("--drop", help="Remove them instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the indexes that DHASH_INDEX=store searches by, in PostgreSQL: 34 bytes a fingerprint.

    The store is read and written meanwhile. Start it again if it was interrupted.
    """
    from dhash_service.settings import Settings
    from dhash_service.store import bands

    url = store_url(Settings.load())
    made: list[str] = []
    if drop:
        bands.drop(url)
    else:
        made = bands.create(url, lambda name: typer.echo(f"Making {name} …", err=True))
    if as_json:
        typer.echo(json.dumps({"made": made, "there": not drop}))
    elif drop:
        typer.echo("The store has no search indexes any more.")
    else:
        typer.echo(f"{len(made)} of {len(bands.BANDS)} search indexes were made; all are there.")


@db.command(epilog="Example: dhash db check")
def check(
    index: Annotated[
        bool, typer.Option("--index", help="Compare searches in memory with PostgreSQL's own, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read the whole store and name what is wrong; then the exit code is 1."""
    from dhash_service.pictures.fingerprint import ALGORITHMS
    from dhash_service.settings import Settings
    from dhash_service.store.check import acknowledged, check_index
    from dhash_service.store.check import check as findings_of
    from dhash_service.store.engine import existing

    settings = Settings.load()
    with existing(store_url(settings)) as engine:
        findings = findings_of(engine, ALGORITHMS[settings.algorithm] if settings.algorithm else None)
        if index:
            findings.append(check_index(engine, settings.match_radius))
        findings.append(acknowledged(engine, synchronous=settings.require_synchronous))
    for finding in findings:
        if as_json:
            typer.echo(json.dumps(asdict(finding)))
        else:
            mark = typer.style("✓", fg="green") if finding.ok else typer.style("✗", fg="red")
            typer.echo(f"{mark} {finding.check}: {finding.detail}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@db.command(epilog="Example: dhash db snapshot /var/backups/dhash.db")
def snapshot(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
    if_exists: Annotated[
        bool, typer.Option("--if-exists", help="End well, without a file, where there is no store yet.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the store, as it is at one moment, into one SQLite file, while it goes on being written.

    The copy is verified before the file appears. Originals are no part of the store: they are copied
    as any folder is, or kept by their object store's own means.
    """
    from dhash_service.settings import Settings
    from dhash_service.store.engine import existing
    from dhash_service.store.schema import current as current_of
    from dhash_service.store.snapshot import take

    settings = Settings.load()
    if if_exists and not current_of(store_url(settings)):
        typer.echo(json.dumps({"path": None}) if as_json else "There is no store yet: nothing to copy.")
        return
    with existing(store_url(settings)) as engine, tidy_at_sigterm():
        taken = take(engine, file)
    if as_json:
        typer.echo(json.dumps({**asdict(taken), "path": str(taken.path)}))
        return
    typer.echo(
        f"{taken.path}: {taken.size / 1e6:,.1f} MB, revision {taken.revision},"
        f" {taken.rows.get('images', 0):,} images, verified."
    )
    if settings.keep_originals:
        typer.echo(f"Originals are not in it; they stay in {settings.originals}.")


@db.command(epilog="Example: dhash db merge /var/backups/dhash.db")
def merge(
    file: Annotated[Path, typer.Argument(help="A snapshot, or a SQLite store.")],
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Take what can be read from a damaged file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add to the store what a snapshot has and it lacks; nothing that it has is changed.

    May be done while the service runs, and again if it was interrupted.
    """
    from dhash_service.pictures.fingerprint import NEW
    from dhash_service.settings import Settings
    from dhash_service.store.merge import algorithm_of
    from dhash_service.store.merge import merge as merged_from
    from dhash_service.store.store import Store

    theirs = algorithm_of(file, salvage=salvage) or NEW
    with Store.open_from(Settings.load(), otherwise=theirs) as store, progress() as tell_progress:
        merged = merged_from(
            store.engine, file, algorithm=store.algorithm, salvage=salvage, progress=tell_progress
        )
        erased = store.erase_again()
    if as_json:
        typer.echo(json.dumps({**asdict(merged), "erased": erased}))
        return
    for table, read in merged.read.items():
        lost = merged.lost.get(table, 0)
        if read or lost:
            beside = f", {merged.left_out[table]:,} left out, {lost:,} unreadable" if salvage else ""
            typer.echo(f"{table:18} {read:>10,} read, {merged.added[table]:>10,} added{beside}")
    typer.echo(f"{sum(merged.added.values()):,} rows added.")
    if erased:
        typer.echo(f"{erased:,} pictures had been erased, and were erased again.")


@db.command(epilog="Example: dhash db forget /srv/dhash/data/dhash.db.before-0198")
def forget(
    file: Annotated[Path, typer.Argument(help="A snapshot or SQLite store, maybe a damaged one.")],
    as_json: AsJson = False,
) -> None:
    """Remove from the store what another one has erased. Nothing else of that one is taken.

    For a store that an older backup has replaced: it is told what was erased since. A merge does this itself.
    """
    from dhash_service.store.merge import merge_erasures

    with open_store() as store:
        learnt = merge_erasures(store.engine, file, algorithm=store.algorithm)
        removed = store.erase_again()
    if as_json:
        typer.echo(json.dumps({"erasures": learnt, "erased": removed}))
        return
    typer.echo(f"{learnt:,} erasures were new to the store; {removed:,} pictures were removed.")


@db.command(epilog='Example: dhash db quarantine --release 1.4.0-3fa2 --reason "wrong bits on CMYK"')
def quarantine(
    release: Annotated[str, typer.Option(help="The release whose fingerprints are in doubt.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the fact.")],
    lift: Annotated[bool, typer.Option("--lift", help="Bring them back instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take the fingerprints that a release computed out of search, or bring them back. Nothing is deleted."""
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

    settings = Settings.load()
    with Store.open_from(settings) as store:
        count = store.fingerprints_of(release)
        actor, now = user(), datetime.now(UTC)
        store.add_tombstone(
            Tombstone(new_id(), Subject.RELEASE, release, not lift, reason, actor, settings.release, now)
        ).result()
    if as_json:
        typer.echo(json.dumps({"release": release, "hidden": not lift, "fingerprints": count}))
        return
    where = "back in search" if lift else "out of search"
    typer.echo(f"{count:,} fingerprints of {release} are {where}.")


@db.command(epilog="Example: dhash db gone --release 1.4.0-3fa2 > send-again.txt")
def gone(
    release: Annotated[str, typer.Option(help="A release in quarantine.")], as_json: AsJson = False
) -> None:
    """Name the images that left search with a release: one that is sent again is fingerprinted again."""

    with open_store() as store:
        found = store.gone_with(release)
    for digest in found:
        typer.echo(json.dumps({"sha256": digest}) if as_json else digest)


def store_url(settings: "Settings") -> str:
    """The store's URL, password included: for opening it, never for printing."""
    return settings.store.get_secret_value()


def tell(planned: "list[Planned]", *, sql: bool, as_json: bool) -> None:
    """Print revisions, each with what it would break."""
    for each in planned:
        if as_json:
            line = {
                "revision": each.id,
                "kind": each.kind,
                "message": each.message,
                "sql": each.sql,
                "findings": list(each.findings),
            }
            typer.echo(json.dumps(line))
            continue
        typer.echo(f"{each.id}  {each.kind:8}  {each.message}")
        for finding in each.findings:
            typer.secho(f"      but {finding}", fg="red")
        if sql:
            typer.echo("\n".join(f"      {line}" for line in each.sql.splitlines()))


def moved(done: list[str], standing: list[str], *, as_json: bool) -> None:
    """Print which revisions were passed and where the store is now."""
    at = standing[-1] if standing else None
    if as_json:
        typer.echo(json.dumps({"revision": at, "done": done}))
    else:
        typer.echo(f"{', '.join(done) or 'Nothing'} done; the store is at {at or 'nothing'}.")


@contextmanager
def progress() -> "Iterator[Progress]":
    """A bar per table on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bars:
        tasks = {}

        def show(table: str, done: int, of: int) -> None:
            if table not in tasks:
                tasks[table] = bars.add_task(table, total=of)
            bars.update(tasks[table], completed=done)

        yield show
