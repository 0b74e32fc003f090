"""The notifier: stores and delivers events, and escalates open incidents until someone acknowledges them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from guarded_rollout.clock import Clock, SystemClock
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import Notifications, gates_of
from guarded_rollout.errors import OutboxError, RolloutError
from guarded_rollout.logs import ModuleLog
from guarded_rollout.notify import incidents, settings
from guarded_rollout.notify import message as messages
from guarded_rollout.notify.channels import Channel, NotConfigured, Unavailable, factory
from guarded_rollout.notify.dispatch import Patience, attempt
from guarded_rollout.notify.events import Event, Kind
from guarded_rollout.notify.fallback import Fallback
from guarded_rollout.notify.outbox import CONSOLE, Delivery, DeliveryState, Outbox
from guarded_rollout.notify.publisher import Publisher
from guarded_rollout.notify.settings import Settings

log = ModuleLog()

CLOCK_JUMP_SECONDS = 2 * 3600.0
"""A delivery due later than this was stored before the clock was set back: it is tried now."""


@dataclass(frozen=True, slots=True)
class Unstored:
    """An event that the outbox has not taken yet; `saved` if the fallback file has."""

    event: Event
    channels: tuple[str, ...]
    saved: bool = False


class Notifier:
    """A `Publisher` that delivers while its block lasts, by a thread for each channel and one for the outbox.

    What is undelivered when the block ends stays in the outbox for the next process.
    """

    def __init__(
        self,
        outbox: Outbox,
        fallback: Fallback,
        settings: Settings,
        plan: Notifications,
        *,
        service: str = "",
        clock: Clock | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._service = service
        self.outbox = outbox
        self.fallback = fallback
        self.settings = settings
        self.plan = plan
        self._clock = clock or SystemClock()
        self._patience = patience or Patience()
        self._unstored: deque[Unstored] = deque()
        self._storing = threading.Lock()
        self._channels: dict[str, Channel] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._tried: set[str] = set()
        self._changed = threading.Condition()
        self._news = 0
        self._stopping = False

    @classmethod
    def of(
        cls, environment: Environment, *, clock: Clock | None = None, patience: Patience | None = None
    ) -> Self:
        """Open the notifier of an environment. Raises `OutboxError`; wrong settings are logged, and affect
        only their own channel."""
        found = settings.load_what_can_be(environment.project)
        if found.problem:
            log.error(found.problem)
        return cls(
            Outbox.open(environment.root / "notifications.db"),
            Fallback(environment.logs),
            found,
            plan_of(environment),
            service=environment.service.name,
            clock=clock,
            patience=patience,
        )

    def __enter__(self) -> Self:
        self._repeat("keeper", self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        self._store()
        try:
            self._wait_for()
        except OutboxError as error:
            log.error(error.sentence)
        finally:  # Ctrl-C must not leave a thread with a message half sent
            self._stop()
            self._fall_back(attempts=1)
            self.outbox.close()

    # ---- events

    def publish(self, event: Event) -> None:
        """Store an event for the environment's channels. Never raises."""
        self.send(event, self.default_channels())

    def send(self, event: Event, channels: Iterable[str]) -> None:
        """Store an event for these channels. Never raises: what the outbox does not take goes to the fallback
        file, and into the outbox as soon as that works again."""
        self._store(Unstored(event, tuple(channels)))

    def acknowledge(self, event: Event) -> tuple[str, ...]:
        """Acknowledge the open incidents, notify, and return their keys. Raises `OutboxError`."""
        keys = self.outbox.acknowledge(event, self.default_channels())
        self._wake()
        return keys

    def escalate(self) -> None:
        """Notify every stage that is due. Raises `OutboxError`."""
        for incident in self.outbox.incidents():
            now = self._clock.now()
            for stage in incidents.due(incident, self.plan, now):
                if self.outbox.escalate(incident, stage, incidents.stage_event(incident, stage, now)):
                    log.warning("Notification escalated", incident=incident.key, stage=stage.number)
                    self._wake()

    def replay(self) -> Sequence[Event]:
        """Send the undelivered events of the fallback file again, and mark what came through.

        Returns the events that were tried. Raises `OutboxError`, `FallbackFileError`.
        """
        waiting = [line.event for line in self.fallback.lines() if line.event and not line.replayed]
        for event in waiting:
            if not self.delivered(event):
                self.outbox.requeue(event, self.all_channels(event))
        self.flush(waiting)
        delivered = {event.id: self.outcome(event) for event in waiting if self.delivered(event)}
        if delivered:
            self.fallback.mark(delivered, self._clock.now())
        return waiting

    def flush(self, events: Sequence[Event]) -> None:
        """Try what is pending now, and wait for these events as long as it may help. Raises `OutboxError`."""
        self.outbox.skip_backoff()
        self._wake()
        if events:
            self._wait_for(events)

    # ---- queries

    def delivered(self, event: Event) -> bool:
        """Return True if a channel delivered an event; the console counts where it is the only one."""
        results = dict(self.outbox.results(event))
        beside = [result for channel, result in results.items() if channel != CONSOLE]
        return any(result.state is DeliveryState.DELIVERED for result in beside or results.values())

    def outcome(self, event: Event) -> Mapping[str, str]:
        """Return an event's results by channel, in words."""
        return {channel: str(result) for channel, result in self.outbox.results(event).items()}

    def default_channels(self) -> tuple[str, ...]:
        """Return those of the environment's channels that are configured; if none is, all of them, so that
        their results say so."""
        on = factory.configured(self.settings)
        names = [str(channel) for channel in self.plan.channels]
        also = [name for name in ("apprise",) if name in on]
        return tuple([name for name in names if name in on or name == "console"] + also) or tuple(names)

    def all_channels(self, event: Event) -> tuple[str, ...]:
        """Return where an operator's message goes: every configured channel, a pager if it is critical."""
        on = factory.configured(self.settings) if event.kind is Kind.MESSAGE else ()
        also = [name for name in on if name != "pager" or event.level.rank >= 3]
        return tuple(dict.fromkeys([*also, *self.default_channels()]))

    # ---- storing

    def _store(self, *fresh: Unstored) -> None:
        """Store what is left over and what is new, in order; the fallback file has it meanwhile."""
        with self._storing:
            self._unstored.extend(fresh)
            try:
                while self._unstored:
                    self._put(self._unstored[0])
                    self._unstored.popleft()
            except OutboxError as error:
                for place, one in enumerate(self._unstored):
                    saved = one.saved or self.fallback.save(one.event, {}, error.sentence)
                    self._unstored[place] = replace(one, saved=saved)

    def _put(self, one: Unstored) -> None:
        event = one.event
        first = incidents.stages(event, self.plan)[0]
        delayed = incidents.opens(event) is not None and first.after.total_seconds() > 0
        notified = self.outbox.put(event, one.channels, self._clock.now(), delayed=delayed)
        if one.saved:
            self.outbox.mark_fallback(event)
        log.debug("Notification stored", event_id=event.id, kind=event.kind, notified=notified)
        self._wake()

    def _fall_back(self, attempts: int) -> None:
        """Write what no channel could deliver to the fallback file."""
        reason = self.settings.problem or (
            "no channel delivered it" if factory.configured(self.settings) else "no channel is configured"
        )
        try:
            for event in self.outbox.undelivered(attempts):
                if self.fallback.save(event, self.outcome(event), reason):
                    self.outbox.mark_fallback(event)
        except OutboxError as error:
            log.error(error.sentence)

    # ---- delivering

    def _keep(self) -> float:
        """Store, escalate and fall back, and give each channel with something pending its thread."""
        self._store()
        self.escalate()
        self._fall_back(self._patience.attempts)
        for channel in self.outbox.channels():
            if channel not in self._threads:
                self._repeat(channel, partial(self._deliver, channel))
        return self._patience.poll

    def _deliver(self, channel: str) -> float:
        """Send what is due in a channel's queue; return the seconds until there may be more."""
        with self.outbox.claim(channel) as mine:
            while mine and not self._stopping:
                delivery = self.outbox.head(channel)
                if delivery is None:
                    break
                wait = delivery.due - self._clock.now().timestamp()
                if 0 < wait < CLOCK_JUMP_SECONDS:
                    return min(wait, self._patience.poll)
                self._attempt(delivery)
        return self._patience.poll

    def _attempt(self, delivery: Delivery) -> None:
        """Make one attempt, and store its outcome."""
        about = {"channel": delivery.channel, "event_id": delivery.event.id}
        failure = attempt(lambda: self._send(delivery))
        if failure is None:
            self.outbox.finish(delivery, DeliveryState.DELIVERED)
            log.debug("Notification delivered", **about)
            return
        problem = " ".join(messages.printable(self.settings.redact(str(failure))).split())[:500]
        if not isinstance(failure, Unavailable):
            self.outbox.finish(delivery, DeliveryState.REFUSED, problem)
            report = log.debug if isinstance(failure, NotConfigured) else log.warning
            report("Notification refused", **about, problem=problem)
            return
        now, tried = self._clock.now().timestamp(), delivery.attempts + 1
        backoff = self._patience.backoff(tried)
        # 0 and what has passed ask for nothing, and are no leave to hammer.
        asked = failure.retry_after or 0.0
        self.outbox.postpone(delivery, problem, due=now + backoff, closed=now + asked)
        wait = max(backoff, asked)
        log.warning("Notification postponed", **about, problem=problem, attempt=tried, seconds=round(wait, 1))

    def _send(self, delivery: Delivery) -> None:
        name = delivery.channel
        if name not in self._channels:
            self._channels[name] = factory.build(name, self.settings)
        templates, incidents = self.settings.templates, delivery.incidents
        message = messages.compose(delivery.event, templates, incidents, self._service)
        self._channels[name].send(message)

    # ---- threads

    def _repeat(self, name: str, work: Callable[[], float]) -> None:
        """Work in a thread until the end, again after the seconds that `work` returns or when woken."""

        def loop() -> None:
            while not self._stopping:
                seen, pause = self._news, self._patience.poll
                try:
                    pause = work()
                except (RolloutError, OSError) as error:
                    log.error("Notifications are interrupted", thread=name, problem=str(error))
                self._tried.add(name)
                with self._changed:
                    if self._news == seen and not self._stopping:
                        self._changed.wait(pause)

        thread = threading.Thread(target=loop, name=f"notify-{name}", daemon=True)
        thread.start()
        self._threads[name] = thread  # once it can be joined

    def _wake(self) -> None:
        with self._changed:
            self._news += 1
            self._changed.notify_all()

    def _stop(self) -> None:
        """End the threads; an attempt that has begun is finished, and its outcome stored."""
        self._stopping = True
        self._wake()
        deadline = time.monotonic() + self._patience.first_try
        while self._threads:
            _, thread = self._threads.popitem()
            thread.join(max(0.0, deadline - time.monotonic()))

    def _wait_for(self, events: Sequence[Event] = ()) -> None:
        """Wait until these events (or all) are through, or waiting longer would not help."""
        begun = moved = time.monotonic()
        pending = self.outbox.pending()
        while self._threads and not self._settled(begun, moved, events):
            time.sleep(0.02)
            if (left := self.outbox.pending()) < pending:
                pending, moved = left, time.monotonic()

    def _settled(self, begun: float, moved: float, events: Sequence[Event]) -> bool:
        now = time.monotonic()
        channels = self._pending_channels(events)
        if not channels or now - begun > self._patience.first_try:
            return True
        if channels - self._tried:
            return False
        left = self._patience.retries - (now - moved)
        due = self._clock.now().timestamp() + left
        heads = filter(None, map(self.outbox.head, channels))
        return left <= 0 or all(head.due > due for head in heads)

    def _pending_channels(self, events: Sequence[Event]) -> set[str]:
        if not events:
            return set(self.outbox.channels())
        results = [result for event in events for result in self.outbox.results(event).items()]
        return {channel for channel, result in results if result.state is DeliveryState.PENDING}


class FallbackPublisher:
    """Writes every event to the fallback file, where there is no outbox."""

    def __init__(self, fallback: Fallback, reason: str) -> None:
        self._fallback = fallback
        self._reason = reason

    def publish(self, event: Event) -> None:
        self._fallback.save(event, {}, self._reason)


@contextmanager
def publisher_for(environment: Environment, *, clock: Clock | None = None) -> Iterator[Publisher]:
    """Open the publisher of an environment for a block. Never raises for a reason of its own."""
    try:
        notifier = Notifier.of(environment, clock=clock)
    except OutboxError as error:
        log.error(error.sentence)
        yield FallbackPublisher(Fallback(environment.logs), error.sentence)
        return
    with notifier:
        yield notifier


def plan_of(environment: Environment) -> Notifications:
    """Read channels and escalation from the gates file; one that is wrong is logged and names no channel."""
    try:
        return gates_of(environment).notifications
    except RolloutError as error:
        log.error(error.sentence)
        return Notifications(channels=())
