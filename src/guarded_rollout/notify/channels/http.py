"""Posting JSON to a webhook within a time limit, and what its answer means."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from guarded_rollout.errors import NotificationSettingsError
from guarded_rollout.notify.channels import Refused, Unavailable
from guarded_rollout.notify.message import Message
from guarded_rollout.secret import Secret

AGAIN = {408, 425, 429, 500, 502, 503, 504}
MOST_BYTES = 4096  # of an answer; what follows says nothing that matters
LONGEST_WAIT = 3600.0


def webhook(name: str, address: Secret) -> httpx.URL:
    """The address that a setting holds. Raises `NotificationSettingsError` without quoting it."""
    text = address.reveal()
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or any(c.isspace() for c in text):
        raise NotificationSettingsError(path=name, problem="is not an address such as https://host/path")
    return url


class Poster:
    """Posts to one address over a connection that is kept open."""

    def __init__(self, url: httpx.URL, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._client = httpx.Client(timeout=timeout)

    def post(self, body: Mapping[str, Any], message: Message) -> str:
        """The answer's text. Raises `Unavailable`, `Refused`."""
        headers = {"Idempotency-Key": message.event.id, "X-Event-Id": message.event.id}
        begun = time.monotonic()
        try:
            with self._client.stream("POST", self._url, json=body, headers=headers) as answer:
                text = self._read(answer, begun)
        except httpx.TimeoutException:
            raise Unavailable(f"no answer within {self._timeout:g} s") from None
        except httpx.TransportError as error:
            raise Unavailable(str(error) or type(error).__name__) from None
        if answer.is_success:
            return text
        problem = f"answered {answer.status_code}: {text[:200].strip() or answer.reason_phrase}"
        if answer.status_code in AGAIN:
            raise Unavailable(problem, retry_after(answer.headers.get("retry-after")))
        raise Refused(problem)

    def _read(self, answer: httpx.Response, begun: float) -> str:
        """The beginning of a body; httpx's limit is for each read, and a receiver may drip for ever."""
        body = b""
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) >= MOST_BYTES:
                break
            if time.monotonic() - begun > self._timeout:
                raise Unavailable(f"its answer took more than {self._timeout:g} s")
        return body[:MOST_BYTES].decode(errors="replace")


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, given in seconds or as a date; at most an hour."""
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
