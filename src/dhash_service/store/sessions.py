"""Browsers that signed in. A session is a fact in the store, so a restart or another release knows it too.

Only the SHA-256 of a session's secret is kept. A session ends at its time, when it is signed out, or with
the token that it was opened with.
"""

import hashlib
import hmac
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Engine, exists, select

from dhash_service.facts import Role, Session, Sha256, new_id
from dhash_service.store.engine import reading
from dhash_service.store.recorder import add
from dhash_service.store.tables import session_ends, sessions, token_revocations, tokens
from dhash_service.store.writer import Writer


class Sessions:
    """The sessions of one store."""

    def __init__(self, engine: Engine, writer: Writer, release: str) -> None:
        self._engine = engine
        self._writer = writer
        self._release = release

    def open(self, session: Session) -> Future[Session]:
        """Keep a new session."""
        return self._writer.submit(self._add, session)

    def end(self, session: UUID, now: datetime) -> Future[UUID]:
        """Sign a session out, for good."""
        return self._writer.submit(self._end, (session, now))

    def find(self, secret: str, now: datetime) -> Session | None:
        """The session with this secret, if it has not ended. See `Repository.token` for why plain SHA-256."""
        digest = hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
        wanted = (
            select(sessions, tokens.c.name, tokens.c.role)
            .join(tokens, tokens.c.id == sessions.c.token_id)
            .where(
                sessions.c.digest == digest,
                sessions.c.until > now,
                ~exists().where(session_ends.c.session_id == sessions.c.id),
                ~exists().where(token_revocations.c.token_id == tokens.c.id),
            )
        )
        with reading(self._engine) as connection:
            row = connection.execute(wanted).first()
        if row is None or not hmac.compare_digest(row.digest, digest):
            return None
        return Session(
            row.id,
            row.token_id,
            row.name,
            Role(row.role),
            Sha256(row.digest),
            row.until,
            row.release,
            row.created_at,
        )

    def _add(self, connection: Connection, new: Sequence[Session]) -> list[Session]:
        rows = [
            {
                "id": session.id,
                "token_id": session.token,
                "digest": session.digest,
                "until": session.until,
                "release": session.release,
                "created_at": session.created_at,
            }
            for session in new
        ]
        add(connection, sessions, rows)
        return list(new)

    def _end(self, connection: Connection, ended: Sequence[tuple[UUID, datetime]]) -> list[UUID]:
        rows = [
            {"id": new_id(), "session_id": id, "release": self._release, "created_at": now}
            for id, now in ended
        ]
        add(connection, session_ends, rows)
        return [id for id, _ in ended]
