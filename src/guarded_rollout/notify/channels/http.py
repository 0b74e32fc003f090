"""Webhooks: posts JSON within a time limit, and reads what the answer means."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from guarded_rollout.host.endpoint import Endpoint, is_url
from guarded_rollout.notify.channels import Refused, Unavailable
from guarded_rollout.notify.message import Message
from guarded_rollout.notify.settings import Settings

AGAIN = {408, 425, 429, 500, 502, 503, 504}
MOST_BYTES = 4096  # of an answer; the rest is of no use
LONGEST_WAIT = 3600.0
PAGE = re.compile(r"\s*(<!doctype html|<html)", re.IGNORECASE)
"""A sign-in or a proxy took the message: no webhook answers with a page. Slack says "ok" as text/html."""


def webhook(name: str, settings: Settings) -> str:
    """Return the address in a setting. Raises `NotificationSettingsError` without quoting it."""
    address = settings.text(name)
    if not is_url(address):
        settings.reject(name, "is not an address such as https://host/path")
    return address


class Poster:
    """Posts to one address."""

    def __init__(self, url: str, settings: Settings) -> None:
        timeout = settings.seconds("NOTIFICATION_TIMEOUT")
        self._endpoint = Endpoint(url, timeout, max_bytes=MOST_BYTES, proxied=True)

    def post(self, body: Mapping[str, Any], message: Message) -> str:
        """Post a message; return the beginning of the answer. Raises `Unavailable`, `Refused`."""
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": message.event.id,
            "X-Event-Id": message.event.id,
        }
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        answer = self._endpoint.fetch("POST", "", body=content, headers=headers)
        if not answer.status:
            raise Unavailable(f"it {answer.problem}")
        if answer.ok and PAGE.match(answer.text):
            raise Unavailable(f"answered {answer.status} with a web page: {answer.beginning()}")
        if answer.ok:
            return answer.text
        problem = f"answered {answer.status}: {answer.beginning() or 'nothing'}"
        if answer.status in AGAIN:
            raise Unavailable(problem, retry_after(answer.headers.get("retry-after")))
        raise Refused(problem)


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Parse a Retry-After header, in seconds or a date; return at most an hour's seconds."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return min(max(0.0, seconds), LONGEST_WAIT) if seconds == seconds else None
