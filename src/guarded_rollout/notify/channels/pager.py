"""A pager: PagerDuty's Events API v2, whose incidents open, are acknowledged and end by a key."""

from collections.abc import Iterator
from typing import Any

from guarded_rollout.notify import matters
from guarded_rollout.notify.channels.http import Poster, webhook
from guarded_rollout.notify.events import Kind
from guarded_rollout.notify.message import Message, printable, shorten
from guarded_rollout.notify.settings import Settings

SUMMARY, KEY, DETAIL = 1024, 255, 4000


class Pager:
    def __init__(self, settings: Settings) -> None:
        self._poster = Poster(
            webhook("PAGER_URL", settings.secret("PAGER_URL")), settings.seconds("NOTIFICATION_TIMEOUT")
        )
        self._routing_key = settings.secret("PAGER_ROUTING_KEY")

    def send(self, message: Message) -> None:
        # One request a key. If a later one fails, all go again, which the keys make harmless.
        for body in bodies(message):
            self._poster.post({"routing_key": self._routing_key.reveal(), **body}, message)


def bodies(message: Message) -> Iterator[dict[str, Any]]:
    """One request for each incident that the message is about."""
    event = message.event
    if event.kind is Kind.ACKNOWLEDGED:
        yield from ({"event_action": "acknowledge", "dedup_key": key(message, m)} for m in message.matters)
        return
    ended = [matter for matter in message.matters if matters.closes(event, matter)]
    if ended:
        yield from ({"event_action": "resolve", "dedup_key": key(message, matter)} for matter in ended)
        return
    yield {
        "event_action": "trigger",
        "dedup_key": key(message, message.matters[0] if message.matters else event.id),
        "client": "rollout",
        "payload": {
            "summary": shorten(message.title, SUMMARY),
            "source": printable(event.environment),
            "severity": event.level.value,
            "timestamp": event.at.isoformat(),
            "component": printable(str(event.facts.get("release", ""))),
            "class": event.kind.value,
            "custom_details": {
                **{label: shorten(value, DETAIL) for label, value in message.facts},
                "Text": shorten(message.text, DETAIL),
                "Event": event.id,
            },
        },
    }


def key(message: Message, matter: str) -> str:
    """The incident's key: the same for a breach, its escalation and its end."""
    return printable(f"{message.event.environment}:{matter}")[:KEY]
