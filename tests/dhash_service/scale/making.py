"""Collections and tasks for the tests."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as arrow

from dhash_service.pictures.fingerprint import NEW
from dhash_service.scale.items import Item, Rules, Task
from dhash_service.scale.parts import batches
from dhash_service.scale.places import place_of
from dhash_service.scale.run import rules_of
from dhash_service.settings import Settings


def rules(**given: object) -> Rules:
    return rules_of(Settings.load(**given), NEW, thumbnail=False)


def task(items: Iterable[Item]) -> Task:
    return Task(tuple(items), rules())


def put(url: str, files: dict[str, bytes]) -> None:
    """Write files below a URL, some at a time."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda item: place_of(url).write(f"{url}/{item[0]}", item[1]), files.items()))


def many(pictures: Sequence[bytes], number: int) -> dict[str, bytes]:
    """The pictures under so many names."""
    return {f"{n // 100:02}/{n:05}.jpg": pictures[n % len(pictures)] for n in range(number)}


def rows_at(url: str) -> list[dict[str, object]]:
    """All rows below a URL."""
    found: list[dict[str, object]] = arrow.Table.from_batches(list(batches(url))).to_pylist()
    return found
