"""Where a run's files come from: places that are listed, and manifests in Parquet. Never held as a whole."""

import math
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pyarrow.parquet as parquet

from dhash_service.errors import DhashError, PlaceError
from dhash_service.pictures.formats import SUFFIXES
from dhash_service.scale.items import Item, is_path
from dhash_service.scale.places import Elsewhere, Folder, opened_object, place_of

NAMES = ("url", "name", "path")
"""The columns of a manifest that may hold the files' URLs, the first that is there."""


class Source:
    """The files at or below some URLs; of a folder, those that pictures may be in, by their suffixes."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self.left_out: Counter[str] = Counter()  # by suffix, of the listing that is under way
        self.empty: list[str] = []  # those of the URLs that it found nothing at

    def items(self) -> Iterator[Item]:
        """The files in their order. Raises `PlaceError`."""
        self.left_out.clear()
        self.empty.clear()
        for url in self._urls:
            found = False
            for item in _listed(url) if url.lower().endswith(".parquet") else self._found(url):
                found = True
                yield item
            if not found:
                self.empty.append(url)

    def _found(self, url: str) -> Iterator[Item]:
        for item in place_of(url).find(url):
            suffix = _suffix(item.url)
            if item.url.rstrip("/") == url.rstrip("/") or not suffix or suffix in SUFFIXES:
                yield item
            else:
                self.left_out[suffix] += 1

    def count(self) -> int:
        """The number of files, from a listing of its own. Raises `PlaceError`."""
        return sum(
            _opened(url).metadata.num_rows
            if url.lower().endswith(".parquet")
            else sum(1 for _ in Source([url]).items())
            for url in self._urls
        )


class Counting:
    """Counts a source's files beside the work on them. `total` is None until it is known."""

    def __init__(self, source: Source) -> None:
        self.total: int | None = None
        self._source = Source(source._urls)
        threading.Thread(target=self._count, name="counting", daemon=True).start()

    def _count(self) -> None:
        with suppress(DhashError):  # the run itself says so
            self.total = self._source.count()


def _suffix(url: str) -> str:
    name = url.rpartition("/")[2]
    return f".{name.rpartition('.')[2].lower()}" if "." in name.strip(".") else ""


def _listed(url: str) -> Iterator[Item]:
    """The files of a manifest: a column `url` (or `name`, `path`), and where it has them `size` and `tag`."""
    file = _opened(url)
    known = set(file.schema_arrow.names)
    name = next((each for each in NAMES if each in known), None)
    if name is None:
        raise PlaceError(f"{url}: it has no column {', '.join(NAMES)}.", "Name the files' column `url`.")
    wanted = [name, *(each for each in ("size", "tag") if each in known)]
    for batch in file.iter_batches(batch_size=8192, columns=wanted):
        for row in batch.to_pylist():
            if row[name]:
                yield Item(str(row[name]), _size(row.get("size")), str(row.get("tag") or ""))


def _size(told: object) -> float | None:
    """Bytes; what is no number of them is not known, and only decides how the work is cut."""
    with suppress(ValueError):
        size = int(told) if isinstance(told, str) else told
        if isinstance(size, int | float) and 0 <= size < math.inf:
            return size  # as it stands there: parts are named by it
    return None


def _opened(url: str) -> Any:
    """A Parquet file, of which only what is asked for is read."""
    try:
        if is_path(url) or isinstance(place_of(url), Folder):
            return parquet.ParquetFile(url.removeprefix("file://"))
        if isinstance(place_of(url), Elsewhere):
            import fsspec

            return parquet.ParquetFile(fsspec.open(url).open())
        return parquet.ParquetFile(opened_object(url))
    except DhashError:
        raise
    except Exception as error:
        raise PlaceError(f"{url}: {error}.", "Give a Parquet file.") from error
