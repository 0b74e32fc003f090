"""`dhash hash`: fingerprints of files, without a store."""

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, TypeVar

import typer

from dhash_service.cli.app import Algorithm, app, standard_input
from dhash_service.files import printable

if TYPE_CHECKING:
    from dhash_service.errors import DhashError
    from dhash_service.facts import Fingerprint
    from dhash_service.settings import Settings

STDIN = "-"
SILENT_SECONDS = 2.0

T = TypeVar("T")


@app.command(epilog="Example: dhash hash holiday.jpg scans/*.png --json; or: curl … | dhash hash -")
def hash(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Pictures; - is standard input.")],
    algorithm: Algorithm = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One object a line: path algorithm hash quality width height.")
    ] = False,
) -> None:
    """Print the fingerprint of each file, in the order given; exit 1 if any of them failed."""
    from dhash_service.cli.app import report
    from dhash_service.errors import BadRequestError, DhashError
    from dhash_service.files import path_fields
    from dhash_service.settings import Settings

    if files.count(STDIN) > 1:
        raise BadRequestError("Standard input can be read only once.", "Give - only once.")
    settings = Settings.load(algorithm=algorithm)
    failed = False
    for path, found in _watched(_fingerprints(files, settings), len(files)):
        if isinstance(found, DhashError):
            failed = True
            typer.echo(f"{printable(str(path))}: ", err=True, nl=False)
            report(found)
        elif as_json:
            line = json.dumps({**path_fields(path), **_facts(found)}, ensure_ascii=False)
            typer.echo(line.encode())  # UTF-8 whatever the locale
        else:
            shape = f"{found.width}×{found.height}"
            reasons = f" ({', '.join(found.reasons)})" if found.reasons else ""
            typer.echo(f"{found.hex}  {found.quality:.2f}{reasons}  {shape}  {printable(str(path))}")
    if failed:
        raise typer.Exit(1)


def _watched(results: Iterator[T], total: int) -> Iterator[T]:
    """The same results; after two seconds with a bar on stderr, where only a person sees it."""
    if not sys.stderr.isatty() or sys.stdout.isatty():  # on one terminal, the lines show how far it is
        yield from results
        return
    from rich.console import Console
    from rich.progress import Progress

    begin = time.monotonic()
    with Progress(console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task("hashing", total=total, visible=False)
        for result in results:
            yield result
            long = time.monotonic() - begin > SILENT_SECONDS
            bar.update(task, advance=1, visible=long, refresh=long)


def _facts(found: "Fingerprint") -> dict[str, object]:
    return {
        "algorithm": found.algorithm.name,
        "hash": found.hex,
        "quality": found.quality,
        "width": found.width,
        "height": found.height,
    }


def _fingerprints(files: list[str], settings: "Settings") -> Iterator[tuple[str, "Fingerprint | DhashError"]]:
    """Each path with what became of it, one after the other, computed on every core."""
    from dhash_service.documents import DocumentReader
    from dhash_service.errors import as_error
    from dhash_service.pictures.fingerprint import ALGORITHMS, NEW

    way = ALGORITHMS[settings.algorithm or NEW.name]
    reader = DocumentReader(settings)

    def one(path: str) -> "Fingerprint | DhashError":
        try:
            return reader.fingerprint(_read(path, settings.max_body_bytes), way)
        except Exception as error:  # whatever it is, it is this file's
            return as_error(error)

    with ThreadPoolExecutor() as pool:
        try:
            yield from zip(files, pool.map(one, files), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C, too
            reader.close()


def _read(path: str, limit: int) -> bytes:
    """Raises `UnreadableFileError` where it cannot be opened, `BodyTooLargeError` past `limit` bytes."""
    from dhash_service.files import read_file

    return _at_most(standard_input(), limit) if path == STDIN else read_file(Path(path), limit)


def _at_most(file: BinaryIO, limit: int) -> bytes:
    from dhash_service.errors import BodyTooLargeError

    data = file.read(limit + 1)
    if len(data) > limit:
        raise BodyTooLargeError(f"More than {limit:,} bytes.")
    return data
