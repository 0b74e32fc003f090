"""Who does the tasks: processes of this machine, or a Dask cluster. An engine knows nothing of pictures.

Only some tasks are under way at a time, so the memory of the one who asks does not grow with their number.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import Any, Protocol, TypeVar

from dhash_service.documents.files import children_spared
from dhash_service.errors import BadRequestError, DhashError, EngineError
from dhash_service.scale.items import Task

T = TypeVar("T")

AHEAD = 2
"""Tasks under way for each thread of a worker: one that is done, one that waits at its door."""

LOOK_SECONDS = 5.0
"""How often the number of workers is asked for."""

WORKERS_SECONDS = 30.0
RETRIES = 2
"""How often a task that failed is tried again; one whose worker died is by Dask's own count (3)."""


class Engine(Protocol):
    """Does tasks, some at a time."""

    def run(self, call: Callable[[Task], T], tasks: Iterator[Task]) -> Iterator[tuple[Task, T | Exception]]:
        """Each task's result, or what it failed with, as they end. Raises `EngineError` when it is gone."""
        ...


def require_known(name: str) -> None:
    """Raise `BadRequestError` for what is no engine's name."""
    if name not in ("local", "dask") and not name.startswith("dask://"):
        raise BadRequestError(f"There is no engine {name}.", "Say local, dask or dask://HOST:PORT.")


@contextmanager
def opened(name: str, processes: int) -> Iterator[Engine]:
    """The engine `local`, `dask` or `dask://HOST:PORT`, until the block ends. Raises `EngineError`."""
    require_known(name)
    resource_tracker.ensure_running()  # its start lets SIGINT through again, where children are spared it
    if name == "local":
        with LocalEngine(processes) as engine:
            yield engine
    else:
        with dask_client(name.removeprefix("dask").removeprefix("://"), processes) as client:
            yield DaskEngine(client)


class LocalEngine:
    """Processes of this machine. One that dies fails what was under way, and others take its place."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool = self._started()

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._processes, mp_context=spawn)

    def run(self, call: Callable[[Task], T], tasks: Iterator[Task]) -> Iterator[tuple[Task, T | Exception]]:
        waiting: dict[Future[T], Task] = {}
        while True:
            while len(waiting) < AHEAD * self._processes and (task := next(tasks, None)):
                waiting[self._submit(call, task)] = task
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                task, error = waiting.pop(future), future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield task, error or future.result()

    def _submit(self, call: Callable[[Task], T], task: Task) -> Future[T]:
        with children_spared():  # a process starts with its first task
            try:
                return self._pool.submit(call, task)
            except BrokenProcessPool:
                self._pool = self._started()
                return self._pool.submit(call, task)


class DaskEngine:
    """A Dask cluster. A worker that dies costs nothing: the scheduler gives its tasks to others."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._threads, self._looked = 0, 0.0

    def run(self, call: Callable[[Task], T], tasks: Iterator[Task]) -> Iterator[tuple[Task, T | Exception]]:
        from distributed import as_completed

        waiting: defaultdict[str, list[Task]] = defaultdict(list)  # files that are named twice share a key
        completed = as_completed(loop=self._client.loop, raise_errors=False)
        try:
            while True:
                while len(waiting) < self._room() and (task := next(tasks, None)):
                    future = self._submit(call, task)
                    waiting[future.key].append(task)
                    completed.add(future)
                    del future
                if not waiting:
                    return
                self._wait(completed)
                future = next(completed)
                result = self._result(future)
                task = waiting[future.key].pop()
                if not waiting[future.key]:
                    del waiting[future.key]
                del future  # the scheduler forgets the result
                yield task, result
        except (OSError, asyncio.CancelledError) as error:
            raise EngineError(f"The scheduler is gone: {error or type(error).__name__}.") from error

    def _submit(self, call: Callable[[Task], T], task: Task) -> Any:
        """The future of a task, under a key that follows from what it does: two who ask share it."""
        from dask.base import tokenize

        key = f"dhash-{task.name}-{tokenize(call)}{'-careful' if task.careful else ''}"
        return self._client.submit(call, task, key=key, pure=False, retries=RETRIES)

    def _result(self, future: Any) -> Any:
        if future.status == "finished":
            return future.result()
        if future.status == "cancelled" or self._client.status != "running":
            raise EngineError("The scheduler is gone, or somebody cancelled the run's tasks.")
        error = future.exception()
        return error if isinstance(error, Exception) else RuntimeError(str(error))

    def _wait(self, completed: Any) -> None:
        """Return when a task has ended. Raises `EngineError` when there has been no worker for a while."""
        alone = 0.0
        while True:
            with completed.thread_condition:
                if completed.has_ready() or completed.thread_condition.wait(LOOK_SECONDS):
                    return
            alone = 0.0 if self._client.nthreads() else alone + LOOK_SECONDS
            if alone >= WORKERS_SECONDS:
                raise EngineError("The scheduler has no worker any more.")

    def _room(self) -> int:
        if time.monotonic() > self._looked + LOOK_SECONDS or not self._threads:
            self._threads, self._looked = sum(self._client.nthreads().values()), time.monotonic()
        return AHEAD * max(1, self._threads)


@contextmanager
def dask_client(address: str, processes: int) -> Iterator[Any]:
    """A client of the scheduler at HOST:PORT, or of a cluster on this machine. Raises `EngineError`."""
    import dask
    from distributed import Client, LocalCluster

    quiet = logging.CRITICAL  # what goes wrong is told once, as an error of ours
    for name in ("distributed", "distributed.client", "distributed.scheduler", "tornado.application"):
        logging.getLogger(name).setLevel(quiet)
    with ExitStack() as stack:
        if not address:
            stack.enter_context(dask.config.set({"distributed.worker.daemon": False}))
            with children_spared():
                cluster = LocalCluster(
                    n_workers=processes, threads_per_worker=1, dashboard_address=None, silence_logs=quiet
                )
            address = stack.enter_context(cluster).scheduler_address
        try:
            client = stack.enter_context(Client(address, set_as_default=False))
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise EngineError(f"{address}: {error or 'no worker came'}.") from error
        yield client


def processes_of(threads: int) -> int:
    """The number of processes on this machine where the settings say so many threads."""
    return threads or os.cpu_count() or 1


def as_result(error: Exception) -> DhashError:
    """What a whole task failed with, as an error of ours."""
    if isinstance(error, DhashError):
        return error
    said = " ".join(str(error).split())[:300].rstrip(".")
    return EngineError(f"A task failed: {type(error).__name__} {said}.".replace(" .", "."))
