"""Parquet: a row for each picture, and for each file that could not be read with the reason.

A part is one task's rows, named by its content: what is there already is not done again.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet

from dhash_service.documents.extraction import Extraction
from dhash_service.errors import DhashError, PlaceError
from dhash_service.facts import Picture
from dhash_service.scale.items import Item, Task
from dhash_service.scale.places import MissingError, below, place_of
from dhash_service.scale.task import Answer, Read, answers, fetched, is_passing

SCHEMA = arrow.schema(
    [
        ("name", arrow.string()),  # the file's URL, or its path as `dhash index` keeps it
        ("sha256", arrow.string()),  # of the picture's bytes, 64 hex digits
        ("hash", arrow.uint64()),
        ("quality", arrow.float64()),  # 0 to 1
        ("reasons", arrow.list_(arrow.string())),  # what lowered the quality
        ("format", arrow.string()),
        ("width", arrow.int32()),
        ("height", arrow.int32()),
        ("size", arrow.int64()),  # bytes of the picture; of a bad file, as far as they are known
        ("document", arrow.string()),  # SHA-256 of the PDF that shows the picture
        ("page", arrow.int32()),  # from 1
        ("algorithm", arrow.string()),  # name/version
        ("error", arrow.string()),  # a bad file's reason; then there is no hash
    ]
)
"""The columns of a part. A hash is unsigned and exact: bit 63 is the top-left comparison."""

ABOUT = b"dhash"
LIMIT = 1 << 34  # bytes of a part; they are some 20 KB

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a part holds. `unread` files may be read at another try; they are among the failed ones.

    `errors` are the first of the reasons, each with the file's name.
    """

    files: int = 0
    pictures: int = 0
    failed: int = 0
    unread: int = 0
    empty: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    errors: Sequence[tuple[str, str]] = ()
    known: bool = False  # it was there already


def rows(task: Task, read: Read = fetched) -> list[Row]:
    """The rows of a task: the whole of what a worker does, for engines that take care of the rest."""
    return [row for item, answer in answers(task, read) for row in rows_of(task, item, answer)]


def rows_of(task: Task, item: Item, answer: Answer) -> Iterator[Row]:
    """A file's rows, one at least, but for a document in which nothing was taken."""
    algorithm = task.rules.files.picture.algorithm
    said = {"name": item.label(Path(task.root) if task.root else None).source}
    said["algorithm"] = f"{algorithm.name}/{algorithm.version}"
    if isinstance(answer, DhashError):
        yield said | {"size": item.size, "error": f"{answer.title}: {answer.detail}"}
    elif isinstance(answer, Picture):
        yield said | _picture(answer)
    else:
        for found in answer.pictures:
            yield said | _picture(found.picture) | {"document": answer.sha256, "page": found.page}


def _picture(picture: Picture) -> Row:
    fingerprint = picture.fingerprint
    return {
        "sha256": picture.sha256,
        "hash": fingerprint.value,
        "quality": fingerprint.quality,
        "reasons": list(fingerprint.reasons),
        "format": picture.format,
        "width": fingerprint.width,
        "height": fingerprint.height,
        "size": picture.size,
    }


def table_of(rows: Sequence[Row]) -> Any:
    """Rows as an Arrow table, for Parquet and for engines that pass these on."""
    return arrow.Table.from_pylist(list(rows), schema=SCHEMA)


def part_url(out: str, task: Task) -> str:
    """Where a task's part lies."""
    return below(out, f"part-{task.name}.parquet")


def make_part(task: Task, out: str) -> Counts:
    """Read a task's files and write its part, unless it is there: then say what it holds.

    A part with files that did not come is made again. Raises `PlaceError`, `SettingError`.
    """
    url = part_url(out, task)
    if (there := counts_at(url)) and not there.unread:
        return replace(there, known=True)
    made: list[Row] = []
    counts = Counts()
    for item, answer in answers(task):
        new = list(rows_of(task, item, answer))
        made += new
        counts = counted(counts, new[0]["name"] if new else item.url, answer)
    place_of(url).write(url, encoded(made, counts))
    return counts


def counted(counts: Counts, name: str, answer: Answer) -> Counts:
    """The counts with one more file."""
    failed = isinstance(answer, DhashError)
    skipped, found = counts.skipped, int(isinstance(answer, Picture))
    if isinstance(answer, Extraction):
        found = len(answer.pictures)
        skipped = dict(
            Counter(skipped) + Counter({why.value: number for why, number in answer.skipped.items()})
        )
    errors = counts.errors
    if isinstance(answer, DhashError) and len(errors) < 20:
        errors = (*errors, (name, f"{answer.title}: {answer.detail}"))
    return Counts(
        counts.files + 1,
        counts.pictures + found,
        counts.failed + failed,
        counts.unread + is_passing(answer),
        counts.empty + (not found and not failed),
        skipped,
        errors,
    )


def encoded(rows: Sequence[Row], counts: Counts) -> bytes:
    """A part's bytes."""
    table = table_of(rows).replace_schema_metadata({ABOUT: json.dumps(asdict(counts)).encode()})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def counts_at(url: str) -> Counts | None:
    """What the part at a URL holds; None where there is none, or none that is whole."""
    try:
        data = place_of(url).read(url, LIMIT)
    except MissingError:
        return None
    try:
        metadata = parquet.read_schema(io.BytesIO(data)).metadata
        return Counts(**json.loads(metadata[ABOUT]))
    except (arrow.ArrowException, KeyError, TypeError, ValueError):
        return None  # cut short, or somebody else's: it is made again


def parts(url: str) -> Iterator[str]:
    """The Parquet files at or below a URL. Raises `PlaceError`."""
    for item in place_of(url).find(url):
        if item.url.endswith(".parquet"):
            yield item.url


def batches(url: str, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The record batches of the Parquet files at or below a URL, one file in memory at a time."""
    found = False
    for part in parts(url):
        found = True
        try:
            file = parquet.ParquetFile(io.BytesIO(place_of(part).read(part, LIMIT)))
            yield from file.iter_batches(batch_size=16_384, columns=columns)
        except arrow.ArrowException as error:
            raise PlaceError(
                f"{part}: {str(error).rstrip('.')}.", "Give what `dhash index --out` wrote."
            ) from None
    if not found:
        raise PlaceError(f"{url}: there is no Parquet file.", "Give what `dhash index --out` wrote.")


@contextmanager
def brought_here(url: str) -> Iterator[Path]:
    """A folder with copies of the Parquet at or below a URL, until the block ends. Raises `PlaceError`."""
    with tempfile.TemporaryDirectory(prefix="dhash-parts-") as folder:
        found = list(parts(url))
        if not found:
            raise PlaceError(f"{url}: there is no Parquet file.", "Give what `dhash index --out` wrote.")
        for number, part in enumerate(found):
            Path(folder, f"{number}.parquet").write_bytes(place_of(part).read(part, LIMIT))
        yield Path(folder)
