"""`dhash index` for collections that no machine holds: what is shown of a run, and how it ends."""

import json
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from dhash_service.bulk import Progress
    from dhash_service.scale.run import Step
    from dhash_service.scale.sources import Counting, Source

Name = TypeVar("Name", bound=str)

PER_TASK = 256
CONTENT_BYTES = 64 * 1024**2  # of a task whose files are sent whole, for originals

Engine = Annotated[
    str, typer.Option(help="Who reads: local, dask (a cluster on this machine) or dask://HOST:PORT.")
]
Out = Annotated[
    str | None, typer.Option(help="Write Parquet below this folder or URL instead of adding to the store.")
]
PerTask = Annotated[int, typer.Option(min=1, help="Files of a task of an engine, on average.")]


def is_collection(paths: Sequence[str], engine: str, out: str | None) -> bool:
    """True where the store's own machine does not do it by itself."""
    remote = any("://" in path or path.lower().endswith(".parquet") for path in paths)
    return remote or engine != "local" or out is not None


def existing(paths: Sequence[str]) -> list[Path]:
    """The paths. Raises `BadParameter` for one that is not there."""
    from dhash_service.files import is_missing

    for path in paths:
        if is_missing(path):
            raise typer.BadParameter(f"Path {path!r} does not exist.", param_hint="PATHS")
    return [Path(path) for path in paths]


def index_collection(
    paths: Sequence[str],
    engine: str,
    out: str | None,
    per_task: int,
    root: Path | None,
    url: str | None,
    *,
    as_json: bool,
) -> None:
    """Have an engine read the files at these URLs and paths, and show how it goes."""
    from dhash_service.errors import BadRequestError
    from dhash_service.scale import installed
    from dhash_service.scale.engines import require_known

    require_known(engine)
    if url is not None:
        raise BadRequestError("--url sends files of this machine.", "Leave out --url, or --engine and --out.")
    existing([path for path in paths if "://" not in path])
    urls = [path if "://" in path else str(Path(path).absolute()) for path in paths]
    with installed():
        import obstore  # noqa: F401

        from dhash_service.scale.sources import Counting, Source

        if engine != "local":
            import distributed  # noqa: F401

    source = Source(urls)
    with ExitStack() as stack:
        steps = _steps(stack, source, urls, engine, out, per_task, root)
        progress, interrupted = _follow(steps, Counting(source))
    _tell(progress, source, out, interrupted=interrupted, as_json=as_json)
    if interrupted:
        raise typer.Exit(130)
    if progress.failed:
        raise typer.Exit(1)


def _steps(
    stack: ExitStack,
    source: "Source",
    urls: Sequence[str],
    engine: str,
    out: str | None,
    per_task: int,
    root: Path | None,
) -> "Generator[Step, None, None]":
    from dhash_service.banks import BankMatcher
    from dhash_service.matcher import Matcher
    from dhash_service.pictures.fingerprint import ALGORITHMS, NEW
    from dhash_service.scale.engines import opened, processes_of
    from dhash_service.scale.items import cut
    from dhash_service.scale.run import index_into_parts, index_into_store, rules_of, source_folder
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

    settings = Settings.load()
    if out is not None:
        algorithm = ALGORITHMS[settings.algorithm] if settings.algorithm else NEW
        rules = rules_of(settings, algorithm, thumbnail=False)
        folder = source_folder(out if "://" in out else str(Path(out).absolute()), urls)
        started = stack.enter_context(opened(engine, processes_of(settings.threads)))
        groups = cut(source.items(), per_task)
        return index_into_parts(groups, rules, started, folder, str(root or ""), source.empty)
    store = stack.enter_context(Store.open_from(settings))
    matcher = stack.enter_context(Matcher(store, settings))
    whole = settings.keep_originals or BankMatcher(store.banks, store.algorithm.name).wants_md5()
    if not settings.keep_originals:
        store.originals = None  # bytes may come along, for banks alone
    rules = rules_of(settings, store.algorithm, thumbnail=settings.keep_thumbnails, content=whole)
    groups = cut(source.items(), per_task, CONTENT_BYTES) if whole else cut(source.items(), per_task)
    started = stack.enter_context(opened(engine, processes_of(settings.threads)))
    return index_into_store(groups, rules, started, store, matcher, settings.max_body_bytes, root)


def _follow(steps: "Generator[Step, None, None]", counting: "Counting") -> "tuple[Progress, bool]":
    """Show the run until it ends, or is interrupted."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from dhash_service.bulk import Progress

    console = Console(stderr=True)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [TextColumn("{task.fields[rate]}"), TimeRemainingColumn()]
    bar = Bar(*columns, console=console, disable=not sys.stderr.isatty())
    progress = Progress(0)
    with bar:
        task = bar.add_task("Indexing", total=None, rate="")
        try:
            for step in steps:
                progress = step.progress
                for name, why in step.errors:
                    said = f"{name}: {why}"
                    console.print(said, style="red", highlight=False, markup=False, soft_wrap=True)
                speed = bar.tasks[0].speed
                rate = f"{speed:,.0f} files/s" if speed else ""
                bar.update(task, total=counting.total, completed=progress.done, rate=rate)
        except KeyboardInterrupt:
            return progress, True
        finally:
            steps.close()  # what was begun is given up; parts that are written stay
    return progress, False


def _tell(
    progress: "Progress", source: "Source", out: str | None, *, interrupted: bool, as_json: bool
) -> None:
    if as_json:
        said = {**asdict(progress), "suffixes": dict(source.left_out), "interrupted": interrupted}
        typer.echo(json.dumps(said))
        return
    where = f"written below {out}" if out else "added"
    typer.echo(
        f"{progress.pictures:,} pictures {where}; of {progress.files:,} files {progress.known:,} were known, "
        f"{progress.failed:,} failed."
    )
    tell_of_documents(progress)
    if source.left_out:
        typer.echo(f"Left out by their suffixes: {counted(source.left_out)}.")
    if interrupted:
        typer.echo("Interrupted; start it again to go on.", err=True)


def tell_of_documents(progress: "Progress") -> None:
    """Say what documents hold and was not taken."""
    if progress.empty:
        typer.echo(f"{progress.empty:,} documents hold no picture that was taken.")
    if progress.skipped:
        typer.echo(f"In documents, not taken: {counted(progress.skipped)}.")


def counted(numbers: Mapping[Name, int]) -> str:
    """The ten largest, largest first: `12 suffix, 1 link`."""
    largest = sorted(numbers.items(), key=lambda item: -item[1])[:10]
    return ", ".join(f"{number:,} {name}" for name, number in largest)
