"""The one thread that writes: many facts in one transaction, each acknowledged once it is on the disk.

A commit waits for the disk, so its price is per commit. Facts that arrive while one commit is under way
share the next one; under load a commit carries many, and an idle store still answers after one.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine

from dhash_service.errors import (
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreSchemaError,
    StoreUnreachableError,
)
from dhash_service.store.engine import LOCK_SECONDS, writing

F = TypeVar("F", contravariant=True)
R = TypeVar("R", covariant=True)

GROUP = 256
"""Most facts in one commit: bounds how long the first of them waits for the last."""

GATHER = 0.005
"""Seconds that a commit waits for facts that are known to be on their way (PostgreSQL's `commit_delay`)."""

SHARED_FATE = (StoreLockedError, StoreFullError, StoreUnreachableError, StoreDamagedError, StoreSchemaError)
"""Failures of the store, not of a fact: trying facts one by one would only fail as often."""


class Handler(Protocol[F, R]):
    """Writes facts of one kind inside a transaction it is given, and returns one result for each.

    It may be called again for the same facts after a rollback.
    """

    def __call__(self, connection: Connection, facts: Sequence[F], /) -> Sequence[R]: ...


@dataclass(frozen=True, slots=True)
class Pending:
    """A fact that waits for its commit."""

    handler: Callable[[Connection, Sequence[Any]], Sequence[Any]]
    fact: Any
    future: Future[Any]


NUDGE = Pending(lambda connection, facts: (), None, Future())
"""No fact: it wakes a writer that waits for one."""


def wanted(group: Iterable[Pending | None]) -> list[Pending]:
    """Those of these that somebody still waits for: from here on, none of their futures can be cancelled."""
    return [item for item in group if item and item.future.set_running_or_notify_cancel()]


class Writer:
    """Group commit over one engine. `submit` from any thread; `close` writes all that was submitted."""

    def __init__(self, engine: Engine, *, lock_seconds: float = LOCK_SECONDS, gather: float = GATHER) -> None:
        self._engine = engine
        self._lock_seconds = lock_seconds
        self._gather = gather
        self._on_their_way = 0
        self._gathering = False
        self.committed: Callable[[Sequence[Any]], object] = lambda results: None
        """Called with the results after each commit, before they are acknowledged. It must not raise."""
        self._queue: SimpleQueue[Pending | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    def submit(self, handler: Handler[Any, R], fact: object) -> Future[R]:
        """Queue a fact. The future is resolved after the durable commit, or with what went wrong."""
        future: Future[R] = Future()
        with self._closing:  # nothing may be queued behind the end mark
            if self._closed:
                raise StoreError("The store is closed.", "Start the service again.")
            self._queue.put(Pending(handler, fact, future))
        return future

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Around the work that ends in a fact: meanwhile, others may wait a moment to share its commit."""
        with self._closing:
            self._on_their_way += 1
        try:
            yield
        finally:
            with self._closing:
                self._on_their_way -= 1
                if self._gathering and not self._on_their_way:
                    self._queue.put(NUDGE)  # nothing more to wait for

    def close(self) -> None:
        """Write all that was submitted, then end the thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            group = self._gathered(self._queue.get())
            going = None not in group
            if ready := wanted(group):
                self._write(ready)

    def _gathered(self, first: Pending | None) -> list[Pending | None]:
        """The first fact, those that wait behind it, and those that are here within a moment."""
        group = [first]
        deadline = time.monotonic() + self._gather
        while len(group) < GROUP and group[-1] is not None:
            try:
                group.append(self._queue.get(timeout=self._patience(deadline)))
            except Empty:
                break
        self._gathering = False
        return [item for item in group if item is not NUDGE]

    def _patience(self, deadline: float) -> float:
        """Seconds to wait for the next fact: none unless one is on its way."""
        with self._closing:
            left = max(0.0, deadline - time.monotonic()) if self._on_their_way else 0.0
            self._gathering = left > 0
        return left

    def _joining(self, room: int) -> list[Pending]:
        """At most so many facts that came while the store's write lock was waited for."""
        group: list[Pending | None] = []
        with suppress(Empty):
            while len(group) < room:
                item = self._queue.get_nowait()
                if item is None:
                    self._queue.put(item)  # the end mark; nothing is queued behind it
                    break
                group.append(item)
        return wanted(item for item in group if item is not NUDGE)

    def _write(self, group: list[Pending], *, joined: bool = False) -> None:
        """Commit the group. If one fact is at fault, halve until it stands alone and fails alone."""
        try:
            results = self._commit(group, joined)
        except BaseException as error:
            if len(group) > 1 and not isinstance(error, SHARED_FATE):
                middle = len(group) // 2
                self._write(group[:middle], joined=True)
                self._write(group[middle:], joined=True)
            else:
                for item in group:
                    item.future.set_exception(error)
            return
        self.committed(results)
        for item, result in zip(group, results, strict=True):
            item.future.set_result(result)

    def _commit(self, group: list[Pending], joined: bool) -> list[Any]:
        """Commit the group, which grows by what came meanwhile unless that has `joined` it already."""
        deadline = time.monotonic() + self._lock_seconds
        while True:
            try:
                with writing(self._engine) as connection:
                    if not joined:
                        group += self._joining(GROUP - len(group))
                    results: list[Any] = []
                    for handler, items in groupby(group, key=lambda item: item.handler):
                        results += handler(connection, [item.fact for item in items])
                return results
            except StoreLockedError:
                # The database has waited already; it gives up at once only where waiting could deadlock.
                if time.monotonic() >= deadline:
                    raise
