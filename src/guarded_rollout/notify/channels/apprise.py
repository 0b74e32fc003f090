"""Apprise: a hundred other services by address."""

import logging
from importlib import import_module
from typing import Any

from guarded_rollout.notify.channels import Unavailable
from guarded_rollout.notify.events import Level
from guarded_rollout.notify.message import Message, shorten
from guarded_rollout.notify.settings import Settings

TYPES = {Level.INFO: "info", Level.WARNING: "warning", Level.ERROR: "failure", Level.CRITICAL: "failure"}
TEXT = 10_000


class Apprise:
    def __init__(self, settings: Settings) -> None:
        library: Any = import_module("apprise")  # slow to import, and few machines need it
        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would log addresses with their secrets
        self._apprise = library.Apprise()
        for number, address in enumerate(settings.secret("APPRISE_URLS").reveal().split(), start=1):
            if not self._apprise.add(address):
                settings.reject("APPRISE_URLS", f"number {number} is no address that Apprise knows")

    def send(self, message: Message) -> None:
        # Apprise answers for all addresses together: those that worked get the event again.
        body = shorten(message.plain().partition("\n")[2].strip(), TEXT)
        if not self._apprise.notify(body=body, title=message.title, notify_type=TYPES[message.level]):
            raise Unavailable("an address of APPRISE_URLS took nothing")
