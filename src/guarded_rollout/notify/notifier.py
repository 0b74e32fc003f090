"""The notifier: takes events, keeps them, tells whoever is to be told, and keeps on until someone has heard.

with publisher_for(environment) as publisher:
    publisher.publish(event(Kind.DEPLOYMENT_STARTED, environment.name, clock.now(), release="1.4.0"))
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Self

import structlog

from guarded_rollout.clock import Clock, SystemClock
from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import Notifications
from guarded_rollout.errors import FallbackFileError, OutboxError, RolloutError
from guarded_rollout.notify import escalation, matters, settings
from guarded_rollout.notify import message as messages
from guarded_rollout.notify.channels import factory
from guarded_rollout.notify.dispatch import Dispatcher
from guarded_rollout.notify.events import Event, Kind
from guarded_rollout.notify.fallback import Fallback
from guarded_rollout.notify.outbox import Outbox, Result, State
from guarded_rollout.notify.publisher import Publisher
from guarded_rollout.notify.settings import Settings
from guarded_rollout.notify.workers import Patience, Workers

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Unstored:
    """An event that the outbox has not taken yet; `written_down` if the fallback file has."""

    event: Event
    channels: tuple[str, ...]
    written_down: bool = False


class Notifier:
    """A `Publisher` that delivers from threads of its own while its block lasts.

    What is not through when the block ends stays in the outbox, for whoever opens it next.
    """

    def __init__(
        self,
        outbox: Outbox,
        fallback: Fallback,
        settings: Settings,
        plan: Notifications,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.outbox = outbox
        self.fallback = fallback
        self.settings = settings
        self.plan = plan
        self._clock = clock or SystemClock()
        self._patience = patience or Patience()
        dispatcher = Dispatcher(
            outbox,
            settings,
            factory.build,
            clock=self._clock,
            random=random or Random(),
            backoff=self._patience.backoff,
        )
        self._workers = Workers(outbox, dispatcher, self._patience, self._keep)
        self._unstored: deque[Unstored] = deque()
        self._storing = threading.Lock()

    @classmethod
    def of(
        cls, environment: Environment, *, clock: Clock | None = None, patience: Patience | None = None
    ) -> Self:
        """The notifier of an environment. Raises `OutboxError`; wrong settings are logged, and in the way
        of nothing but their own channel."""
        found = settings.load_what_can_be(environment.project)
        if found.problem:
            log.error(found.problem)
        return cls(
            Outbox.open(environment.root / "notifications.db"),
            Fallback(environment.logs),
            found,
            plan_of(environment),
            clock=clock,
            patience=patience,
        )

    def __enter__(self) -> Self:
        self._workers.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._store()
        try:
            self._workers.settle()
        except OutboxError as error:
            log.error(error.sentence)
        finally:  # Ctrl-C must not leave a thread with a message half sent
            self._workers.stop()
            self._fall_back(attempts=1)
            self.outbox.close()

    # ---- telling

    def publish(self, event: Event) -> None:
        """Store an event for the environment's channels. Never raises."""
        self.send(event, self.usual())

    def send(self, event: Event, channels: Iterable[str]) -> None:
        """Store an event for these channels. Never raises: what the outbox does not take goes to the fallback
        file, and into the outbox as soon as it can while this lives."""
        self._store(Unstored(event, tuple(channels)))
        self._workers.wake()

    def acknowledge(self, event: Event) -> tuple[str, ...]:
        """Note who looks after what is open, and tell; the matters' keys. Raises `OutboxError`."""
        keys = self.outbox.acknowledge(event, self.usual())
        self._workers.wake()
        return keys

    def escalate(self) -> None:
        """Tell every stage that is due. Raises `OutboxError`."""
        for matter in self.outbox.matters():
            now = self._clock.now()
            for stage in escalation.due(matter, self.plan, now):
                if self.outbox.tell(matter, stage, escalation.told(matter, stage, now)):
                    log.warning("Notification escalated", matter=matter.key, stage=stage.number)

    def replay(self) -> Sequence[Event]:
        """Send again what the fallback file has and nobody heard, and mark what came through.

        Returns the events that were tried. Raises `OutboxError`, `FallbackFileError`.
        """
        waiting = [entry.event for entry in self.fallback.entries() if entry.event and not entry.replayed]
        for event in waiting:
            if not self.heard(event):
                self.outbox.again(event, self.everyone(event))
        self.settle(waiting)
        heard = {event.id: self.outcome(event) for event in waiting if self.heard(event)}
        if heard:
            self.fallback.mark(heard, self._clock.now())
        return waiting

    def settle(self, events: Sequence[Event]) -> None:
        """Try what waits now, and wait for these events as long as it may help."""
        self.outbox.hurry()
        self._workers.wake()
        if events:
            self._workers.settle(events)

    # ---- asking

    def results(self, event: Event) -> Mapping[str, Result]:
        """How far an event came, by channel."""
        return self.outbox.results(event)

    def heard(self, event: Event) -> bool:
        """Whether at least one channel delivered an event."""
        return any(result.state is State.DELIVERED for result in self.results(event).values())

    def outcome(self, event: Event) -> Mapping[str, str]:
        """`results` as the fallback file has them."""
        return {channel: str(result) for channel, result in self.results(event).items()}

    def usual(self) -> tuple[str, ...]:
        """Where an event goes: those of the environment's channels that are configured, or, when none is,
        all of them, so that their results say so."""
        on = factory.configured(self.settings)
        names = [str(channel) for channel in self.plan.channels]
        also = [name for name in ("apprise",) if name in on]
        return tuple([name for name in names if name in on or name == "console"] + also) or tuple(names)

    def everyone(self, event: Event) -> tuple[str, ...]:
        """Where someone's own words go: every configured channel, a pager only with what is critical."""
        on = factory.configured(self.settings)
        loud = event.kind is not Kind.MESSAGE or event.level.rank >= 3
        also = [name for name in on if name != "pager" or loud] if event.kind is Kind.MESSAGE else []
        return tuple(dict.fromkeys([*also, *self.usual()]))

    # ---- keeping

    def _store(self, *fresh: Unstored) -> None:
        """Store what has waited and what is new, in order; what cannot be is written down meanwhile."""
        with self._storing:
            self._unstored.extend(fresh)
            try:
                while self._unstored:
                    self._put(self._unstored[0])
                    self._unstored.popleft()
            except OutboxError as error:
                for place, one in enumerate(self._unstored):
                    written = one.written_down or write_down(self.fallback, one.event, {}, error.sentence)
                    self._unstored[place] = replace(one, written_down=written)

    def _put(self, one: Unstored) -> None:
        event = one.event
        first = escalation.stages(event, self.plan)[0]
        held = matters.opens(event) is not None and first.after.total_seconds() > 0
        told = self.outbox.put(event, one.channels, self._clock.now(), held=held)
        if one.written_down:
            self.outbox.fell_back(event)
        log.debug("Notification stored", event_id=event.id, kind=event.kind, told=told)

    def _keep(self) -> None:
        self._store()
        self.escalate()
        self._fall_back(self._patience.attempts)

    def _fall_back(self, attempts: int) -> None:
        """Write down what no channel could deliver."""
        reason = self.settings.problem or (
            "no channel delivered it" if factory.configured(self.settings) else "no channel is configured"
        )
        try:
            for event in self.outbox.unheard(attempts):
                if write_down(self.fallback, event, self.outcome(event), reason):
                    self.outbox.fell_back(event)
        except OutboxError as error:
            log.error(error.sentence)


class Unkept:
    """Stands in where there is no outbox: everything goes straight to the fallback file."""

    def __init__(self, fallback: Fallback, reason: str) -> None:
        self._fallback = fallback
        self._reason = reason

    def publish(self, event: Event) -> None:
        write_down(self._fallback, event, {}, self._reason)


@contextmanager
def publisher_for(environment: Environment, *, clock: Clock | None = None) -> Iterator[Publisher]:
    """Whom to tell about an environment, for a block. Never raises for a reason of its own."""
    try:
        notifier = Notifier.of(environment, clock=clock)
    except OutboxError as error:
        log.error(error.sentence)
        yield Unkept(Fallback(environment.logs), error.sentence)
        return
    with notifier:
        yield notifier


def plan_of(environment: Environment) -> Notifications:
    """Channels and escalation from the gates file; a file that is wrong is logged and names no channel."""
    try:
        return gates.load(environment.gates).environment(environment.name).notifications
    except RolloutError as error:
        log.error(error.sentence)
        return Notifications(channels=())


def write_down(fallback: Fallback, event: Event, results: Mapping[str, str], reason: str) -> bool:
    """Add an event to the fallback file; where even that fails, to the log."""
    title = event.message or messages.render(event, messages.shipped(event.kind)).title
    try:
        fallback.add(event, title, results, reason)
    except FallbackFileError as error:
        log.error(error.sentence, notification=event.as_json())
        return False
    return True
