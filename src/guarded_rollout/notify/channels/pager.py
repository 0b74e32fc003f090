"""Pager: PagerDuty's Events API v2, which opens, acknowledges and resolves incidents by key."""

from collections.abc import Iterator
from typing import Any

from guarded_rollout.notify import incidents
from guarded_rollout.notify.channels.http import Poster, webhook
from guarded_rollout.notify.events import Kind
from guarded_rollout.notify.message import Message, printable, shorten
from guarded_rollout.notify.settings import Settings

SUMMARY, KEY, DETAIL = 1024, 255, 4000


class Pager:
    def __init__(self, settings: Settings) -> None:
        self._poster = Poster(webhook("PAGER_URL", settings), settings)
        self._routing_key = settings.secret("PAGER_ROUTING_KEY")

    def send(self, message: Message) -> None:
        # One request per key. If a later one fails, all go again, which the keys make harmless.
        for body in bodies(message):
            self._poster.post({"routing_key": self._routing_key.reveal(), **body}, message)


def bodies(message: Message) -> Iterator[dict[str, Any]]:
    """Yield one request for each incident that the message is about."""
    event = message.event
    ended = [known for known in message.incidents if incidents.closes(event, known)]
    if ended or event.kind is Kind.ACKNOWLEDGED:
        action, about = ("resolve", ended) if ended else ("acknowledge", message.incidents)
        yield from ({"event_action": action, "dedup_key": key(message, known)} for known in about)
        return
    yield {
        "event_action": "trigger",
        "dedup_key": key(message, message.incidents[0] if message.incidents else event.id),
        "client": "rollout",
        "payload": {
            "summary": shorten(message.title, SUMMARY),
            "source": printable(f"{message.service} {event.environment}".strip()),
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


def key(message: Message, incident: str) -> str:
    """Return PagerDuty's key of an incident: the same for a breach, its escalation and its end.

    Two services of one integration have incidents of their own.
    """
    about = filter(None, (message.service, message.event.environment, incident))
    return printable(":".join(about))[:KEY]
