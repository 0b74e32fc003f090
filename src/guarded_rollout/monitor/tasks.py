"""Runs tasks in the background, so that a slow one delays no other."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class TaskResult:
    """An task that came back, with its result or its error."""

    name: str
    result: Any = None
    error: BaseException | None = None


class Executor(Protocol):
    """Runs tasks in the background."""

    def start(self, name: str, work: Callable[[], Any]) -> None:
        """Start a task."""
        ...

    def wait(self, seconds: float) -> list[TaskResult]:
        """Return what came back as soon as anything has; nothing if so many seconds pass first."""
        ...


class ThreadExecutor:
    """Each task in a thread of its own. A thread that never ends does not keep the program from ending."""

    def __init__(self) -> None:
        self._done: queue.SimpleQueue[TaskResult] = queue.SimpleQueue()

    def start(self, name: str, work: Callable[[], Any]) -> None:
        threading.Thread(target=self._run, args=(name, work), name=name, daemon=True).start()

    def wait(self, seconds: float) -> list[TaskResult]:
        found: list[TaskResult] = []
        try:
            found.append(
                self._done.get(timeout=max(0.0, seconds)) if seconds > 0 else self._done.get_nowait()
            )
            while True:
                found.append(self._done.get_nowait())
        except queue.Empty:
            return found

    def _run(self, name: str, work: Callable[[], Any]) -> None:
        try:
            self._done.put(TaskResult(name, work()))
        except BaseException as error:
            self._done.put(TaskResult(name, error=error))
