"""The files of a collection, and how they are cut into tasks."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dhash_service.documents.extraction import FileRules
from dhash_service.facts import Label
from dhash_service.files import printable
from dhash_service.store.sightings import LONGEST_NAME, LONGEST_SOURCE, path_label

PER_TASK = 256
"""Files of a task on average: some tenths of a second for small pictures, some 20 KB of Parquet."""

MOST_BYTES = 1024**3
"""Bytes of a task, so that one of large files does not take hours."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file: its URL or path, its bytes, and what changes when its content does; where these are known."""

    url: str
    size: float | None = None
    tag: str = ""

    def label(self, root: Path | None = None) -> Label:
        """The words under which its pictures are kept: its URL, or its path as `dhash index` writes it."""
        if is_path(self.url):
            return path_label(Path(self.url), root)
        source = printable(self.url)[-LONGEST_SOURCE:]
        return Label(source.rstrip("/").rpartition("/")[2][-LONGEST_NAME:], source)


def is_path(url: str) -> bool:
    """True for a path of this machine, without a scheme."""
    return not urlsplit(url).scheme or "://" not in url


@dataclass(frozen=True, slots=True)
class Rules:
    """How files are read, and with what: another Pillow may decode other bits.

    `seconds` and `memory_bytes` bound what is read in a process of its own.
    """

    files: FileRules
    seconds: float
    memory_bytes: int
    pillow: str


@dataclass(frozen=True, slots=True)
class Task:
    """Files to be read together. A `careful` one reads each in a process that may die of it."""

    items: tuple[Item, ...]
    rules: Rules
    root: str = ""
    careful: bool = False
    name: str = field(init=False)  # hex digits that follow from all that the answer follows from

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _name(self))


def _name(task: Task) -> str:
    picture, limits = task.rules.files.picture, task.rules.files.document.limits
    opening = picture.opening
    said = [
        [picture.algorithm.name, picture.algorithm.version, task.rules.files.largest, task.root],
        [opening.max_pixels, sorted(opening.formats), opening.take_cut],
        [limits.max_pages, limits.max_pictures, limits.max_pixels],
        [[item.url, item.size, item.tag] for item in task.items],
    ]
    return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()


def cut(
    items: Iterable[Item], per_task: int = PER_TASK, most_bytes: int = MOST_BYTES
) -> Iterator[tuple[Item, ...]]:
    """The items in their order, in groups of `per_task` on average and at most four times as many.

    Where one ends is decided by a file's own name. So a file that is added or goes changes its group, and
    leaves the others, and the parts that are named by them, as they were.
    """
    group: list[Item] = []
    held = 0.0
    for item in items:
        group.append(item)
        held += item.size or 0
        ends = len(group) * 4 >= per_task and _number(item.url) % max(1, per_task - per_task // 4) == 0
        if ends or len(group) >= 4 * per_task or held >= most_bytes:
            yield tuple(group)
            group, held = [], 0.0
    if group:
        yield tuple(group)


def _number(url: str) -> int:
    digest = hashlib.blake2b(url.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
