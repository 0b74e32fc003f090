"""The threads that deliver: one a channel, so that a dead one delays no other, and one that keeps order."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from guarded_rollout.errors import RolloutError
from guarded_rollout.notify.backoff import Backoff
from guarded_rollout.notify.dispatch import Dispatcher
from guarded_rollout.notify.events import Event
from guarded_rollout.notify.outbox import Outbox, State

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds."""

    poll: float = 1.0  # between looks at what other processes put in
    retries: float = 4.0  # waited for at the end, while nothing comes through
    first_try: float = 15.0  # waited for at the end, at most; above what one attempt may take
    attempts: int = 3  # that fail, before an event goes to the fallback file
    backoff: Backoff = field(default_factory=Backoff)


class Workers:
    """Runs from `start` to `stop`."""

    def __init__(
        self, outbox: Outbox, dispatcher: Dispatcher, patience: Patience, keep: Callable[[], None]
    ) -> None:
        self._outbox = outbox
        self._dispatcher = dispatcher
        self._patience = patience
        self._keep = keep
        self._stopping = threading.Event()
        self._keeper_news = threading.Event()
        self._news: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._tried: set[str] = set()

    def start(self) -> None:
        self._spawn(self._keeper, "notify-keeper")

    def wake(self) -> None:
        """Say that there is something new."""
        self._keeper_news.set()

    def settle(self, events: Sequence[Event] = ()) -> None:
        """Wait until these events (or all) are through, or waiting longer would not help.

        Raises `OutboxError`.
        """
        begun = moved = time.monotonic()
        waiting = self._outbox.waiting()
        while self._threads and not self._settled(begun, moved, events):
            time.sleep(0.02)
            if (left := self._outbox.waiting()) < waiting:
                waiting, moved = left, time.monotonic()

    def stop(self) -> None:
        """End the threads; an attempt that has begun is finished, and its outcome kept."""
        self._stopping.set()
        for news in (self._keeper_news, *self._news.values()):
            news.set()
        deadline = time.monotonic() + self._patience.first_try
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads.clear()

    def _settled(self, begun: float, moved: float, events: Sequence[Event]) -> bool:
        now = time.monotonic()
        waiting = self._waiting(events)
        if not waiting or now - begun > self._patience.first_try:
            return True
        if waiting - self._tried:
            return False
        left = self._patience.retries - (now - moved)
        return left <= 0 or all(self._dispatcher.due_in(channel) > left for channel in waiting)

    def _waiting(self, events: Sequence[Event]) -> set[str]:
        if not events:
            return set(self._outbox.channels())
        results = [self._outbox.results(event) for event in events]
        return {name for found in results for name, result in found.items() if result.state is State.PENDING}

    def _spawn(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _keeper(self) -> None:
        while not self._stopping.is_set():
            self._keeper_news.clear()
            try:
                self._keep()
                for channel in self._outbox.channels():
                    self._tell(channel)
            except RolloutError as error:
                log.error(error.sentence)
            self._keeper_news.wait(self._patience.poll)

    def _tell(self, channel: str) -> None:
        if channel not in self._news:
            self._news[channel] = threading.Event()
            self._spawn(lambda: self._worker(channel), f"notify-{channel}")
        self._news[channel].set()

    def _worker(self, channel: str) -> None:
        news = self._news[channel]
        while not self._stopping.is_set():
            news.clear()
            wait = None
            try:
                wait = self._dispatcher.work(channel, self._stopping.is_set)
            except (RolloutError, OSError) as error:
                log.error("Notification line stopped", channel=channel, problem=str(error))
            self._tried.add(channel)
            news.wait(self._patience.poll if wait is None else min(wait, self._patience.poll))
