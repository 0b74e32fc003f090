"""`dhash import`: fingerprints that were made elsewhere, from Parquet into the store."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from dhash_service.cli.app import app


@app.command("import", epilog="Example: dhash import s3://prints/2026/")
def import_(
    parquet: Annotated[str, typer.Argument(help="A Parquet file, or a folder or URL with such files.")],
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
) -> None:
    """Add fingerprints that `dhash index --out` wrote to the store that DHASH_STORE names.

    No lookups are made of them; what is known already is skipped, so an interrupted run is started again.
    Needs the extra `scale`.
    """
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from dhash_service.pictures.fingerprint import NEW
    from dhash_service.scale import installed
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

    with installed():
        from dhash_service.scale.imports import Imports, algorithm_at, import_all

    settings = Settings.load()
    otherwise = algorithm_at(parquet) or NEW
    columns = (TextColumn("Importing"), TextColumn("{task.completed:,} rows"), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    done, interrupted = Imports(), False
    with Store.open_from(settings, otherwise=otherwise) as store, bar:
        task = bar.add_task("", total=None)
        try:
            for done in import_all(parquet, store):
                bar.update(task, completed=done.rows)
        except KeyboardInterrupt:
            interrupted = True
    if as_json:
        told = {"rows": done.rows, "bad": done.bad, **asdict(done.load), "interrupted": interrupted}
        typer.echo(json.dumps(told))
    else:
        typer.echo(
            f"{done.load.added:,} pictures added; of {done.rows:,} rows {done.load.known:,} were known,"
            f" {done.load.refused:,} refused, {done.bad:,} are of files that could not be read."
        )
    if interrupted:
        typer.echo("Interrupted; start it again to go on.", err=True)
        raise typer.Exit(130)
