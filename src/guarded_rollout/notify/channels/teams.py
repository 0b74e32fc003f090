"""Microsoft Teams: an Adaptive Card, which workflow addresses and the old connectors' both take."""

import json
import re
from typing import Any

from guarded_rollout.notify.channels import Refused, Unavailable
from guarded_rollout.notify.channels.http import Poster, webhook
from guarded_rollout.notify.events import Level
from guarded_rollout.notify.message import Message, fit
from guarded_rollout.notify.settings import Settings

COLOURS = {
    Level.INFO: "accent",
    Level.WARNING: "warning",
    Level.ERROR: "attention",
    Level.CRITICAL: "attention",
}
TITLE = 500
WHOLE = 28 * 1024  # bytes of a whole message: the receiver's own limit
ROOMS = ((8000, 1000, 60), (4000, 300, 40), (1000, 100, 25))
"""Limits of the text, of each fact, and of the number of facts: the first that stays within WHOLE is used."""


class Teams:
    def __init__(self, settings: Settings) -> None:
        self._poster = Poster(webhook("TEAMS_WEBHOOK_URL", settings), settings)

    def send(self, message: Message) -> None:
        answer = self._poster.post(body(message), message)
        # Connectors answer 200 for a failure too, and name it in the text.
        failed = re.search(r"HTTP error (\d{3})", answer) if "delivery failed" in answer else None
        if failed and failed[1] in ("429", "500", "502", "503", "504"):
            raise Unavailable(answer[:200])
        if "delivery failed" in answer:
            raise Refused(answer[:200])


def body(message: Message) -> dict[str, Any]:
    """Return the message as a card that Teams accepts, with as much of it as there is room for."""
    for text, fact, number in ROOMS:
        made = _body(message, text, fact, number)
        if len(json.dumps(made, ensure_ascii=False).encode()) <= WHOLE:
            break
    return made


def _body(message: Message, most_text: int, most_fact: int, most_facts: int) -> dict[str, Any]:
    content: list[dict[str, Any]] = [
        {
            "type": "TextBlock",
            "text": fit(message.title, TITLE, escape),
            "size": "large",
            "weight": "bolder",
            "color": COLOURS[message.level],
            "wrap": True,
        }
    ]
    if message.text:
        text = fit(message.text, most_text, escape).replace("\n", "\n\n")
        content.append({"type": "TextBlock", "text": text, "wrap": True})
    facts = [
        {"title": label, "value": fit(value, most_fact, escape)}
        for label, value in (*message.facts[:most_facts], ("Event", message.event.id))
    ]
    content.append({"type": "FactSet", "facts": facts})
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": content,
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def escape(text: str) -> str:
    """Escape a card's emphasis, links and mentions."""
    return re.sub(r"([\\`*_\[\]<])", r"\\\1", text)
