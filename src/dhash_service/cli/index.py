"""`dhash index`: whole folders into the store."""

import gc
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dhash_service.cli.app import app
from dhash_service.cli.collection import (
    PER_TASK,
    Engine,
    Out,
    PerTask,
    counted,
    existing,
    index_collection,
    is_collection,
    tell_of_documents,
)
from dhash_service.cli.remote import Url, asking, send_files
from dhash_service.files import printable

if TYPE_CHECKING:
    pass


@app.command(epilog="Example: dhash index ~/Pictures scans/report.pdf")
def index(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATHS", help="Folders, pictures and PDFs; URLs as s3://…; manifests in Parquet."
        ),
    ],
    root: Annotated[
        Path | None, typer.Option(help="Keep paths relative to this folder, as pictures' sources.")
    ] = None,
    url: Url = None,
    engine: Engine = "local",
    out: Out = None,
    per_task: PerTask = PER_TASK,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
) -> None:
    """Add pictures to the store that DHASH_STORE names, using every core; or send them to a service.

    Each file's path is kept, so that `dhash where` finds it. What is known is skipped, so an interrupted run
    goes on where it was by being started again. A file that
    cannot be read is named on stderr and passed over; then the exit code is 1.

    Collections that no machine holds are read by a Dask cluster (--engine), from object stores, into the
    store or into Parquet (--out); that needs the extra `scale`.
    """
    if is_collection(paths, engine, out):
        index_collection(paths, engine, out, per_task, root, url, as_json=as_json)
        return
    gc.disable()  # looking through what is imported again and again takes an eighth of the start
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from dhash_service.bulk import Progress as Standing
    from dhash_service.bulk import find, index_files
    from dhash_service.matcher import Matcher
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

    gc.freeze()
    gc.enable()
    settings = Settings.load()
    selection = find(existing(paths))
    files = selection.files
    standing = Standing(len(files))
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not sys.stderr.isatty(),
    )
    interrupted = False
    with ExitStack() as stack:
        if url is not None:
            steps = send_files(files, stack.enter_context(asking(url)), settings, root)
        else:
            store = stack.enter_context(Store.open_from(settings))
            matcher = stack.enter_context(Matcher(store, settings))
            steps = index_files(files, settings, store, matcher, root)
        stack.enter_context(bar)
        task = bar.add_task("Indexing", total=len(files), rate="")
        try:
            for step in steps:
                standing = step.progress
                if step.error:
                    console.print(
                        f"{printable(str(step.path))}: {step.error}",
                        style="red",
                        highlight=False,
                        markup=False,
                        soft_wrap=True,
                    )
                if not bar.disable:  # what is not seen costs an eighth of the command's time
                    speed = bar.tasks[0].speed
                    bar.update(task, completed=standing.done, rate=f"{speed:,.0f} files/s" if speed else "")
        except KeyboardInterrupt:
            interrupted = True
        finally:
            steps.close()  # what was begun is committed

    for path, why in selection.unreadable:
        typer.echo(f"{printable(str(path))}: {why}", err=True)
    if as_json:
        left_out = {"left_out": selection.left_out, "suffixes": selection.suffixes}
        typer.echo(json.dumps({**asdict(standing), **left_out, "interrupted": interrupted}))
    else:
        typer.echo(
            f"{standing.pictures:,} pictures added; of {standing.files:,} files {standing.done:,} are done, "
            f"{standing.known:,} were known, {standing.failed:,} failed."
        )
        tell_of_documents(standing)
        if selection.left_out:
            kinds = counted({suffix or "none": number for suffix, number in selection.suffixes.items()})
            suffixes = f" (suffixes: {kinds})" if kinds else ""
            typer.echo(f"In folders, left out: {counted(selection.left_out)}{suffixes}.")
        if interrupted:
            typer.echo("Interrupted; start it again to go on.", err=True)
    if interrupted:
        raise typer.Exit(130)
    if standing.failed or selection.unreadable:
        raise typer.Exit(1)
