"""A run: a source's files are cut into tasks, an engine does them, and what they give goes into a sink.

Two sinks: parts in Parquet, which workers write themselves, and the store, into which the one who asks
writes what the workers send. A run that was interrupted goes on by being started again.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from PIL import __version__ as PILLOW

from dhash_service.bulk import File, Keeper, Kept, Progress, advanced, interrupts_delayed
from dhash_service.documents.extraction import FileRules, Limits, PictureReading, Reading
from dhash_service.errors import DhashError, EngineError, PlaceError, SettingError
from dhash_service.facts import Algorithm, id_of_digest
from dhash_service.scale.engines import Engine, as_result
from dhash_service.scale.items import Item, Rules, Task
from dhash_service.scale.parts import Counts, make_part, parts
from dhash_service.scale.places import below, place_of
from dhash_service.scale.task import Answer, answers

if TYPE_CHECKING:
    from dhash_service.matcher import Matcher
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

Errors = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Step:
    """A task that is done: the run so far, and the first of its bad files, each with its reason."""

    progress: Progress
    errors: Errors


def rules_of(settings: Settings, algorithm: Algorithm, *, thumbnail: bool, content: bool = False) -> Rules:
    """How a run reads files, as the settings say."""
    limits = Limits(settings.max_pages, settings.max_pictures, settings.max_pixels, settings.take_cut)
    files = FileRules(
        Reading(algorithm, limits, content, thumbnail),
        PictureReading(algorithm, settings.opening, thumbnail, content),
        settings.max_body_bytes,
    )
    return Rules(files, settings.document_seconds, settings.document_memory_bytes, PILLOW)


def index_into_parts(
    groups: Iterator[tuple[Item, ...]],
    rules: Rules,
    engine: Engine,
    out: str,
    root: str,
    empty: Sequence[str] = (),
) -> Generator[Step, None, None]:
    """Have workers write each group's part below `out`; yields once per task that is done.

    Parts of this source that no task of a whole run names any more are removed at its end: their files are
    gone, or have changed. Raises `PlaceError` instead where a place of the source is `empty` by then: it is
    more often one that is not mounted.
    """
    progress, whole = Progress(0), True
    named = array("Q")  # 8 bytes a task
    tasks = _Tasks((Task(items, rules, root) for items in groups), named)
    for task, result in engine.run(partial(make_part, out=out), tasks):
        if isinstance(result, Exception):
            if tasks.again(task, result):
                continue
            error, number, whole = as_result(result), len(task.items), False
            result = Counts(number, failed=number, errors=[(_span(task), f"{error.title}: {error.detail}")])
        progress = _with_part(progress, result)
        yield Step(progress, result.errors)
    if whole:
        _remove_others(out, named, empty)


class _Tasks(Iterator[Task]):
    """Tasks, those to be tried again first; notes the names of all."""

    def __init__(self, tasks: Iterator[Task], named: array[int] | None = None) -> None:
        self._tasks = tasks
        self._again: deque[Task] = deque()
        self._named = named

    def __next__(self) -> Task:
        if self._again:
            return self._again.popleft()
        task = next(self._tasks)
        if self._named is not None:
            self._named.append(_short(task.name))
        return task

    def again(self, task: Task, error: Exception) -> bool:
        """Have a task tried again, each file in a process that may die of it; False after the second time.

        What its worker died of, or another file's worker beside it, is then that file's alone.
        Raises what no other try would change: a worker that cannot do any task.
        """
        if isinstance(error, SettingError):
            raise error
        if isinstance(error, ModuleNotFoundError):
            raise EngineError(f"A worker lacks {error.name}.", "Install mobius-dhash[scale] on all of them.")
        if task.careful or isinstance(error, DhashError):
            return False
        self._again.append(replace(task, careful=True))
        return True


def _with_part(progress: Progress, part: Counts) -> Progress:
    skipped = {**progress.skipped}
    for reason, number in part.skipped.items():
        skipped[reason] = skipped.get(reason, 0) + number
    return Progress(
        progress.files + part.files,
        progress.done + part.files,
        progress.pictures + (0 if part.known else part.pictures),
        progress.known + (part.files - part.failed - part.empty if part.known else 0),
        progress.failed + part.failed,
        progress.empty + part.empty,
        skipped,
    )


def _span(task: Task) -> str:
    first, last = task.items[0].url, task.items[-1].url
    return first if first == last else f"{first} … {last}"


def source_folder(out: str, urls: Sequence[str]) -> str:
    """The folder of a source's parts, so that one place may hold those of several."""
    return below(out, hashlib.blake2b(json.dumps(list(urls)).encode(), digest_size=6).hexdigest())


def _short(name: str) -> int:
    return int(name[:16], 16)


def _remove_others(out: str, named: array[int], empty: Sequence[str]) -> None:
    mine = np.sort(np.frombuffer(named, np.uint64)) if named else np.empty(0, np.uint64)
    others = list(_others(out, mine))
    if others and empty:
        raise PlaceError(
            f"There are no files in {', '.join(empty)}. {len(others):,} parts of an earlier run were kept.",
            f"Mount it and start again; if its files are gone for good, remove {out} first.",
        )
    for url in others:
        place_of(url).remove(url)


def _others(out: str, mine: NDArray[np.uint64]) -> Iterator[str]:
    for url in parts(out):
        name = url.rpartition("/")[2]
        if name.startswith("part-"):
            number = np.uint64(_short(name.removeprefix("part-")))
            at = int(np.searchsorted(mine, number))
            if at == len(mine) or mine[at] != number:
                yield url


# ---- into the store


def read_task(task: Task) -> list[Answer]:
    """What a worker sends for the store: an answer for each file, pictures with their thumbnails."""
    return [answer for _, answer in answers(task)]


def index_into_store(
    groups: Iterator[tuple[Item, ...]],
    rules: Rules,
    engine: Engine,
    store: Store,
    matcher: Matcher,
    longest: int,
    root: Path | None,
) -> Generator[Step, None, None]:
    """Have workers read the files that the store has not seen, and keep what they send."""
    keeper = Keeper(store, matcher, longest)
    progress = Progress(0)
    settled: deque[list[File]] = deque()

    def unseen() -> Iterator[Task]:
        for items in groups:
            seen = store.files.images([seen_id(item) for item in items if item.tag])
            known = [item for item in items if seen_id(item) in seen]
            if known:
                settled.append([File(Path(item.url), item.label(root)) for item in known])
            if rest := tuple(item for item in items if seen_id(item) not in seen):
                yield Task(rest, rules)

    tasks = _Tasks(unseen())
    for task, result in chain(engine.run(read_task, tasks), [(None, None)]):
        files = list(chain.from_iterable(settled))
        settled.clear()
        if task is not None:
            if isinstance(result, Exception) and tasks.again(task, result):
                continue
            files += _read(task, result, root)
        progress, errors = _kept(keeper, files, progress)
        yield Step(progress, errors)


def _read(task: Task, result: Sequence[Answer] | Exception | None, root: Path | None) -> list[File]:
    found = [as_result(result)] * len(task.items) if isinstance(result, Exception) else result or ()
    return [
        File(Path(item.url), item.label(root), seen_id(item) if item.tag else None, answer)
        for item, answer in zip(task.items, found, strict=True)
    ]


def _kept(keeper: Keeper, files: Sequence[File], progress: Progress) -> tuple[Progress, Errors]:
    errors = []
    with interrupts_delayed():
        for file, outcome in zip(files, keeper.keep(files), strict=True):
            progress = advanced(replace(progress, files=progress.files + 1), file, outcome)
            if not isinstance(outcome, Kept):
                errors.append((file.label.source, f"{outcome.title}: {outcome.detail}"))
    return progress, errors


def seen_id(item: Item) -> UUID:
    """The id of a file with this tag: it is not read again."""
    said = json.dumps([item.url, item.size, item.tag])
    return id_of_digest(hashlib.sha256(said.encode()).hexdigest())
