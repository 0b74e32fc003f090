"""What one worker does: a list of files in, an answer for each out. It knows of no engine.

So it can be called from Dask, from Ray's `map_batches`, or from a loop. Files are fetched ahead of the one
that is decoded; the usual formats are decoded here, PDFs and the further ones in a process of their own.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from PIL import __version__ as PILLOW

from dhash_service.documents.extraction import Extraction
from dhash_service.documents.lane import Lane
from dhash_service.errors import DhashError, NotInstalledError, PlaceError, SettingError, as_error
from dhash_service.facts import Picture
from dhash_service.pictures.fingerprint import read_picture
from dhash_service.scale.items import Item, Task
from dhash_service.scale.places import place_of

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 16
"""Files that are fetched at once, ahead of the one that is decoded."""

Answer = Picture | Extraction | DhashError
Read = Callable[[Item, int], bytes]


def fetched(item: Item, limit: int) -> bytes:
    """An item's bytes. Raises what `Place.read` does."""
    return place_of(item.url).read(item.url, limit)


def answers(task: Task, read: Read = fetched) -> Iterator[tuple[Item, Answer]]:
    """What became of each file, in their order. Nothing that a file does is raised.

    Raises `SettingError` where this worker would decode other bits than the one who asks.
    """
    rules = task.rules
    if rules.pillow != PILLOW:
        raise SettingError(
            f"This worker has Pillow {PILLOW}, and the run was started with {rules.pillow}.",
            "Install the same release of mobius-dhash everywhere: another Pillow may decode other bits.",
        )

    def fetch(item: Item) -> bytes | DhashError:
        try:
            return read(item, rules.files.largest)
        except Exception as error:  # whatever it is, it is this file's
            return as_error(error)

    for item, data in zip(task.items, ahead(fetch, task.items), strict=True):
        yield item, data if isinstance(data, DhashError) else answer(data, task)


def answer(data: bytes, task: Task) -> Answer:
    """What a file holds, or the error in place of it."""
    files = task.rules.files
    reading = files.picture if task.careful else None
    try:
        if apart := files.apart(data) or reading:
            read: Answer = read_apart(data, apart, task.rules.seconds, task.rules.memory_bytes)
            return read
        picture = files.picture
        return read_picture(
            data,
            picture.algorithm,
            picture.opening,
            thumbnail=picture.thumbnail,
            keep_content=picture.keep_content,
        )
    except Exception as error:
        return as_error(error)


def ahead(call: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """The results in their order, of calls in threads, at most `AHEAD` begun and not yet taken."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="fetch") as threads:
        try:
            for item in items:
                waiting.append(threads.submit(call, item))
                if len(waiting) >= AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def is_passing(answer: Answer) -> bool:
    """True where another try may end otherwise: the file did not come, or could not be read here."""
    return isinstance(answer, PlaceError | NotInstalledError)


def read_apart(data: bytes, reading: Any, seconds: float, memory_bytes: int) -> Any:
    """Read a file in a process of its own. Raises as `DocumentReader.extract` does."""
    if multiprocessing.current_process().daemon:
        raise NotInstalledError(
            "It is read in a process of its own, which this worker may not start.",
            "Start workers with DASK_DISTRIBUTED__WORKER__DAEMON=False.",
        )
    lane, taken = _lane(seconds, memory_bytes)
    with taken:
        return lane.read(data, reading)


@cache
def _lane(seconds: float, memory_bytes: int) -> tuple[Lane, threading.Lock]:
    return Lane(seconds, memory_bytes), threading.Lock()


def pictures(items: Sequence[tuple[Item, Answer]]) -> int:
    """The number of pictures among these answers."""
    return sum(
        len(each.pictures) if isinstance(each, Extraction) else isinstance(each, Picture) for _, each in items
    )
