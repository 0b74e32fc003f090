"""Slack: an incoming webhook that takes Block Kit."""

from typing import Any

from guarded_rollout.notify.channels.http import Poster, webhook
from guarded_rollout.notify.events import Level
from guarded_rollout.notify.message import Message, fit, shorten
from guarded_rollout.notify.settings import Settings

EMOJI = {
    Level.INFO: ":information_source:",
    Level.WARNING: ":warning:",
    Level.ERROR: ":x:",
    Level.CRITICAL: ":rotating_light:",
}
HEADER, SECTION, FIELD, FIELDS, BLOCKS = 150, 3000, 2000, 10, 50  # Block Kit's own limits
FACTS = (BLOCKS - 3) * FIELDS  # header, text and footer are blocks too


class Slack:
    def __init__(self, settings: Settings) -> None:
        self._poster = Poster(webhook("SLACK_WEBHOOK_URL", settings), settings)
        icon = settings.text("SLACK_ICON")
        self._sender = {
            "channel": settings.text("SLACK_CHANNEL"),
            "username": settings.text("SLACK_USERNAME"),
            "icon_url" if icon.startswith("http") else "icon_emoji": icon,
        }

    def send(self, message: Message) -> None:
        sender = {name: value for name, value in self._sender.items() if value}
        self._poster.post({**sender, **body(message)}, message)


def body(message: Message) -> dict[str, Any]:
    """Return the message as blocks, and as the text that notifications on a phone show."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": shorten(message.title, HEADER)}}
    ]
    if message.text:
        blocks.append({"type": "section", "text": _markdown(message.text, SECTION)})
    facts = message.facts[:FACTS]
    for start in range(0, len(facts), FIELDS):
        fields = [
            {"type": "mrkdwn", "text": f"*{escape(label)}*\n" + fit(value, FIELD - len(label) - 10, escape)}
            for label, value in facts[start : start + FIELDS]
        ]
        blocks.append({"type": "section", "fields": fields})
    footer = f"{EMOJI[message.level]} {message.level} · event {message.event.id}"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": footer}]})
    return {"text": f"{EMOJI[message.level]} {fit(message.title, SECTION, escape)}", "blocks": blocks}


def escape(text: str) -> str:
    """Escape Slack's links and mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _markdown(text: str, limit: int) -> dict[str, str]:
    return {"type": "mrkdwn", "text": fit(text, limit, escape)}
