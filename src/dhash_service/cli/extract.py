"""`dhash extract`: the pictures inside PDFs, without a store."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dhash_service.cli.app import Algorithm, app
from dhash_service.files import printable

if TYPE_CHECKING:
    from dhash_service.documents import Box, DocumentReader
    from dhash_service.facts import Picture
    from dhash_service.pictures.export import PictureFolder
    from dhash_service.settings import Settings


@dataclass(frozen=True, slots=True)
class Found:
    """A picture of a file; page and box only where the file is a PDF."""

    picture: "Picture"
    page: int | None = None
    box: "Box | None" = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The pictures in a file, and the number left out by reason."""

    found: Sequence[Found]
    skipped: dict[str, int]


@app.command(epilog="Example: dhash extract report.pdf --output pictures")
def extract(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="PDFs; pictures stand for themselves.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write the pictures there; nothing is overwritten."),
    ] = None,
    algorithm: Algorithm = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object a picture and line.")] = False,
) -> None:
    """Print every picture in each file: where it stands, its size and its fingerprint.

    Goes on after a file that cannot be read; then the exit code is 1.
    """
    from dhash_service.cli.app import report
    from dhash_service.errors import as_error
    from dhash_service.pictures.export import PictureFolder
    from dhash_service.settings import Settings

    settings = Settings.load(algorithm=algorithm)
    folder = None if output is None else PictureFolder(output)
    failed = False
    for path, reading in _readings(files, settings, keep_content=folder is not None):
        try:
            held = reading.result()
            saved = {} if folder is None else _save(folder, path, held.found)
            for found in held.found:
                place = saved.get(found.picture.sha256)
                typer.echo(_as_json(path, found, place) if as_json else _as_text(path, found, place))
        except Exception as error:  # whatever it is, it is this file's
            failed = True
            typer.echo(f"{printable(str(path))}: ", err=True, nl=False)
            report(as_error(error))
            continue
        if held.skipped and not as_json:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in held.skipped.items())
            typer.echo(f"{printable(str(path))}: skipped {reasons}", err=True)
    if failed:
        raise typer.Exit(1)


def _readings(
    files: list[Path], settings: "Settings", *, keep_content: bool
) -> Iterator[tuple[Path, "Future[Reading]"]]:
    """Each file with its reading under way, in order; only a few ahead, for they may hold every picture."""
    from dhash_service.documents import DocumentReader

    width = settings.document_workers
    with closing(DocumentReader(settings)) as reader, ThreadPoolExecutor(width) as pool:
        ahead: deque[tuple[Path, Future[Reading]]] = deque()
        try:
            for path in files:
                ahead.append((path, pool.submit(_read, path, settings, reader, keep_content)))
                if len(ahead) > width:
                    yield ahead.popleft()
            while ahead:
                yield ahead.popleft()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C, too
            reader.close()


def _read(path: Path, settings: "Settings", reader: "DocumentReader", keep_content: bool) -> Reading:
    """Raises `UnreadableFileError`, `BodyTooLargeError`, and what reading a picture or a PDF raises."""
    from dhash_service.documents import is_document
    from dhash_service.files import read_file
    from dhash_service.pictures.fingerprint import ALGORITHMS, NEW

    algorithm = ALGORITHMS[settings.algorithm or NEW.name]
    data = read_file(path, settings.max_body_bytes)
    if is_document(data):
        held = reader.extract(data, algorithm, keep_content=keep_content, thumbnails=False).result()
        found = [Found(item.picture, item.page, item.box) for item in held.pictures]
        return Reading(found, {str(reason): number for reason, number in held.skipped.items()})
    picture = reader.picture(data, algorithm, thumbnail=False, keep_content=keep_content)
    return Reading([Found(picture)], {})


def _save(folder: "PictureFolder", path: Path, held: Sequence[Found]) -> dict[str, Path]:
    """Write the pictures; returns each one's path by SHA-256, named after the first page that shows it."""
    from dhash_service.pictures.export import name_of

    saved: dict[str, Path] = {}
    for found in held:
        picture = found.picture
        if picture.content is not None and picture.sha256 not in saved:
            name = name_of(path, found.page, picture.sha256, picture.format)
            saved[picture.sha256] = folder.add(picture.content, name)
    return saved


def _as_json(path: Path, found: Found, saved: Path | None) -> str:
    picture, fingerprint = found.picture, found.picture.fingerprint
    from dhash_service.files import path_fields

    return json.dumps(
        {
            **path_fields(path),
            "page": found.page,
            "box": found.box,
            "sha256": picture.sha256,
            "format": picture.format,
            "size": picture.size,
            "width": fingerprint.width,
            "height": fingerprint.height,
            "algorithm": fingerprint.algorithm.name,
            "hash": fingerprint.hex,
            "quality": fingerprint.quality,
            "reasons": fingerprint.reasons,
            **({} if saved is None else {"saved": path_fields(saved)["path"]}),
        }
    )


def _as_text(path: Path, found: Found, saved: Path | None) -> str:
    fingerprint = found.picture.fingerprint
    reasons = f" ({', '.join(fingerprint.reasons)})" if fingerprint.reasons else ""
    shape = f"{fingerprint.width}×{fingerprint.height} {found.picture.format}"
    place = ""
    if found.box is not None:
        left, bottom, right, top = found.box
        place = f", page {found.page} at {left:g},{bottom:g} to {right:g},{top:g}"
    kept = "" if saved is None else f" → {printable(str(saved))}"
    found_in = printable(str(path)) + place + kept
    return f"{fingerprint.hex}  {fingerprint.quality:.2f}{reasons}  {shape}  {found_in}"
