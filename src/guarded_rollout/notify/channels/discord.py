"""Discord: a webhook that takes embeds."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from guarded_rollout.notify.channels.http import Poster, webhook
from guarded_rollout.notify.events import Level
from guarded_rollout.notify.message import Message, fit, shorten
from guarded_rollout.notify.settings import Settings

COLOURS = {Level.INFO: 0x3498DB, Level.WARNING: 0xF1C40F, Level.ERROR: 0xE74C3C, Level.CRITICAL: 0x992D22}
TITLE, TEXT, NAME, VALUE, FIELDS, WHOLE = 256, 2500, 256, 1024, 25, 6000  # Discord's own limits, WHOLE in all


class Discord:
    def __init__(self, settings: Settings) -> None:
        self._poster = Poster(waiting(webhook("DISCORD_WEBHOOK_URL", settings)), settings)
        self._username = settings.text("DISCORD_USERNAME")

    def send(self, message: Message) -> None:
        sender = {"username": self._username} if self._username else {}
        self._poster.post({**sender, **body(message)}, message)


def waiting(url: str) -> str:
    """Add `wait` to the address: without it Discord answers 204 before it has checked the message."""
    parts = urlsplit(url)
    query = [*(pair for pair in parse_qsl(parts.query, True) if pair[0] != "wait"), ("wait", "true")]
    return parts._replace(query=urlencode(query)).geturl()


def body(message: Message) -> dict[str, Any]:
    """Return the message as one embed that pings nobody by accident."""
    title = fit(message.title, TITLE, escape)
    text = fit(message.text, TEXT, escape)
    footer = f"{message.level} · event {message.event.id}"
    room = WHOLE - len(title) - len(text) - len(footer)
    fields = []
    for label, value in message.facts[:FIELDS]:
        shown = fit(value, min(VALUE, max(60, room // len(message.facts))), escape)
        fields.append({"name": shorten(label, NAME), "value": shown, "inline": len(shown) <= 40})
    embed = {
        "title": title,
        "description": text,
        "color": COLOURS[message.level],
        "fields": fields,
        "footer": {"text": footer},
        "timestamp": message.event.at.isoformat(),
    }
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def escape(text: str) -> str:
    """Escape Discord's markup."""
    return re.sub(r"([\\`*_~|>\[\]])", r"\\\1", text)
