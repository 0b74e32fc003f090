"""Console: the message as text on stderr."""

import sys
from typing import TextIO

from guarded_rollout.notify.channels import Refused
from guarded_rollout.notify.message import Message, shorten

TEXT = 10_000


class Console:
    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def send(self, message: Message) -> None:
        try:
            print(shorten(message.plain(), TEXT), file=self._stream or sys.stderr, flush=True)
        except (OSError, ValueError) as error:  # a closed terminal
            raise Refused(str(error)) from None
