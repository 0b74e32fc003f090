"""Trying every channel once, aside from the outbox: what `rollout notify --test` tabulates."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from guarded_rollout.errors import NotificationSettingsError
from guarded_rollout.notify.channels import Refused, Unavailable, factory
from guarded_rollout.notify.events import Event
from guarded_rollout.notify.message import render, shipped
from guarded_rollout.notify.settings import Settings


@dataclass(frozen=True, slots=True)
class Trial:
    """How one channel took a test message."""

    channel: str
    delivered: bool
    seconds: float
    problem: str = ""


def try_each(channels: Sequence[str], event: Event, settings: Settings) -> list[Trial]:
    """Send an event to these channels at the same time."""
    if not channels:
        return []
    with ThreadPoolExecutor(len(channels)) as pool:
        return list(pool.map(lambda channel: _try(channel, event, settings), channels))


def _try(channel: str, event: Event, settings: Settings) -> Trial:
    begun = time.monotonic()
    problem = ""
    try:
        factory.build(channel, settings).send(render(event, shipped(event.kind)))
    except NotificationSettingsError as error:
        problem = error.sentence
    except (Refused, Unavailable) as error:
        problem = str(error)
    return Trial(channel, not problem, time.monotonic() - begun, settings.redact(problem))
