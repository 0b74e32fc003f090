"""Working the lines: each channel's events in order, one attempt after another, every outcome stored."""

from collections.abc import Callable
from math import inf
from random import Random

import structlog

from guarded_rollout.clock import Clock
from guarded_rollout.errors import NotificationSettingsError, NotificationTemplateError
from guarded_rollout.notify import message as messages
from guarded_rollout.notify.backoff import Backoff
from guarded_rollout.notify.channels import Channel, NotConfigured, Refused, Unavailable
from guarded_rollout.notify.message import Message
from guarded_rollout.notify.outbox import Delivery, Outbox, State
from guarded_rollout.notify.settings import Settings

log = structlog.get_logger()

FURTHEST = 2 * 3600.0
"""Seconds. What seems due later than this was stored before the clock was set back."""


class Dispatcher:
    """Sends what waits in an outbox. One instance serves all channels, each from its own thread."""

    def __init__(
        self,
        outbox: Outbox,
        settings: Settings,
        build: Callable[[str, Settings], Channel],
        *,
        clock: Clock,
        random: Random,
        backoff: Backoff,
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._build = build
        self._clock = clock
        self._random = random
        self._backoff = backoff
        self._channels: dict[str, Channel] = {}

    def work(self, channel: str, stopping: Callable[[], bool] = lambda: False) -> float | None:
        """Send what is due in a channel's line. Seconds until the next is due; None: empty, or another's."""
        with self._outbox.line(channel) as mine:
            while mine and not stopping():
                delivery = self._outbox.head(channel)
                if delivery is None:
                    break
                wait = delivery.due - self._clock.now().timestamp()
                if 0 < wait < FURTHEST:
                    return wait
                self._attempt(delivery)
        return None

    def due_in(self, channel: str) -> float:
        """Seconds until the head of a line may be tried; infinite for an empty one."""
        head = self._outbox.head(channel)
        return inf if head is None else max(0.0, head.due - self._clock.now().timestamp())

    def _attempt(self, delivery: Delivery) -> None:
        """One attempt, and what became of it."""
        about = {"channel": delivery.channel, "event_id": delivery.event.id}
        try:
            self._channel(delivery.channel).send(self.words(delivery))
        except (Refused, NotificationSettingsError) as error:
            problem = self._clean(error)
            self._outbox.settle(delivery, State.REFUSED, problem)
            tell = log.debug if isinstance(error, NotConfigured) else log.warning
            tell("Notification refused", **about, problem=problem)
        except Unavailable as error:
            self._postpone(delivery, self._clean(error), error.retry_after)
        except Exception as error:  # a defect of one channel must not end its line
            self._postpone(delivery, f"{type(error).__name__}: {self._clean(error)}", None)
        else:
            self._outbox.settle(delivery, State.DELIVERED)
            log.debug("Notification delivered", **about)

    def _postpone(self, delivery: Delivery, problem: str, retry_after: float | None) -> None:
        now = self._clock.now().timestamp()
        wait = self._backoff.after(delivery.attempts + 1, self._random)
        closed = 0.0 if retry_after is None else now + retry_after
        due = now + wait if retry_after is None else 0.0
        self._outbox.postpone(delivery, problem, due=due, closed=closed)
        log.warning(
            "Notification postponed",
            channel=delivery.channel,
            event_id=delivery.event.id,
            problem=problem,
            attempt=delivery.attempts + 1,
            seconds=round(wait if retry_after is None else retry_after, 1),
        )

    def words(self, delivery: Delivery) -> Message:
        """The event in words; a broken template of the operator's is reported and the shipped one taken."""
        event = delivery.event
        try:
            template = messages.template_for(event.kind, self._settings.templates)
        except NotificationTemplateError as error:
            log.error(error.sentence)
            template = messages.shipped(event.kind)
        return messages.render(event, template, delivery.matters)

    def _channel(self, name: str) -> Channel:
        if name not in self._channels:
            self._channels[name] = self._build(name, self._settings)
        return self._channels[name]

    def _clean(self, error: Exception) -> str:
        sentence = error.sentence if isinstance(error, NotificationSettingsError) else str(error)
        return " ".join(messages.printable(self._settings.redact(sentence)).split())[:500]
