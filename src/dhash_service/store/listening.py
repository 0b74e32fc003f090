"""Hearing of commits: PostgreSQL's NOTIFY wakes a follower within milliseconds of a write elsewhere.

Nothing depends on it: a search asks the database itself what is newest. So a notification that is lost, or a
listening connection, costs a follower its sleep and nobody an answer.
"""

import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import structlog
from sqlalchemy import Engine

from dhash_service.search.feed import Bell
from dhash_service.store.engine import CHANNEL, connect, sender_of
from dhash_service.store.prompt import opened_apart

log = structlog.get_logger()

UNHEARD = 1.0
"""Seconds after which a follower that is told of commits reads nevertheless."""

PROOF = 2.0
"""Seconds within which a listener must hear itself: a pooler in transaction mode swallows notifications."""

PATIENCE = 30.0
"""Longest pause between attempts to listen, in seconds."""


def bell_for(engine: Engine, direct: str | None) -> Bell:
    """The bell of a store; on PostgreSQL it rings when another process commits.

    `direct` is the database's URL past a pooler, where the engine's own goes through one.
    """
    if engine.dialect.name != "postgresql":
        return Bell()
    return Listener(engine, direct)


class Listener(Bell):
    """Listens on a connection of its own, in the thread that waits; opened anew after it was lost."""

    def __init__(
        self, engine: Engine, direct: str | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._engine = engine
        self._direct = connect(direct) if direct else engine
        self._sender = sender_of(engine)
        self._clock = clock
        self._connection: Any = None
        self._failures = 0
        self._again_at = clock()
        self._ringing, self._rung = socket.socketpair()
        self._ringing.setblocking(False)

    @property
    def hears(self) -> bool:
        """True while commits of others are heard."""
        return self._connection is not None

    def ring(self) -> None:
        with suppress(OSError):  # it rings already, or is closed
            self._ringing.send(b"\0")

    def wait(self, seconds: float) -> None:
        if self._connection is None and self._clock() >= self._again_at and self._listen():
            return  # whoever waits reads what came before anybody listened
        until = self._clock() + (max(seconds, UNHEARD) if self.hears else seconds)
        while (left := until - self._clock()) > 0 and not self._heard(left):
            pass

    def close(self) -> None:
        self._hang_up()
        self._direct.dispose()
        self._ringing.close()
        self._rung.close()

    def _heard(self, seconds: float) -> bool:
        """Wait for a ring or a notification; False where neither came, or one of our own."""
        sources = [self._rung, *([self._connection] if self._connection is not None else [])]
        poll = select.poll()
        for source in sources:
            poll.register(source, select.POLLIN)
        ready = {number for number, _ in poll.poll(seconds * 1000)}
        if self._rung.fileno() in ready:
            self._rung.recv(4096)
            return True
        if not ready:
            return False
        try:
            return any(each.payload != self._sender for each in self._connection.notifies(timeout=0))
        except Exception as error:  # whatever the driver raises
            self._lost(error)
            return True

    def _listen(self) -> bool:
        try:
            connection = opened_apart(self._direct)
            with ExitStack() as stack:
                stack.callback(connection.close)
                connection.execute(f"LISTEN {CHANNEL}")
                self._prove(connection)
                stack.pop_all()
        except Exception as error:  # whatever the driver raises
            self._lost(error)
            return False
        self._connection = connection
        if self._failures:
            log.info("listening_again")
        self._failures = 0
        return True

    def _prove(self, listening: Any) -> None:
        """Raise unless what another connection sends to the channel is heard."""
        with self._engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("SELECT pg_notify(%s, %s)", (CHANNEL, self._sender))
        if not any(listening.notifies(timeout=PROOF, stop_after=1)):
            raise ConnectionError("what is sent is not heard; set DHASH_STORE_DIRECT past the pooler")

    def _lost(self, error: Exception) -> None:
        self._hang_up()
        self._again_at = self._clock() + min(self._failures * 0.25 * 2**self._failures, PATIENCE)
        self._failures = min(self._failures + 1, 16)
        if self._failures == 1:
            log.warning("listening_failed", error=str(error).strip(), otherwise="the store is polled")

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
