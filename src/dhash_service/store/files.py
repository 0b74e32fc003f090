"""Files that were indexed: by path, size and times, so that one that has not changed is not read again.

What this remembers saves work and is no fact about a picture: it is not merged, and losing it costs a
reading.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Connection, Engine, bindparam, select

from dhash_service.facts import Label, id_of_digest
from dhash_service.store.prompt import Prompt, driver_of, glancing
from dhash_service.store.recorder import add, present
from dhash_service.store.repository import chunks
from dhash_service.store.tables import seen_files
from dhash_service.store.visibility import visible_image
from dhash_service.store.writer import Writer

SETTLED = 2.0
"""Seconds: a file that changed later than this before it was looked at may change again unseen, within the
tick of its file system's clock."""


class SeenFiles:
    """The files of one store that were indexed."""

    def __init__(self, engine: Engine, writer: Writer, release: str) -> None:
        self._engine = engine
        self._writer = writer
        self._release = release

    def images(self, files: Sequence[UUID]) -> dict[UUID, UUID]:
        """Of these files, those whose image is in search, and which it is."""
        found: dict[UUID, UUID] = {}
        with glancing(self._engine) as driver:
            for chunk in chunks(files):
                found |= {row.id: row.image_id for row in _IN_SEARCH.rows(driver, wanted=list(chunk))}
        return found

    def add(self, files: Mapping[UUID, UUID]) -> Future[None]:
        """Remember files, each with its image."""
        return self._writer.submit(self._add, files)

    def _add(self, connection: Connection, wishes: Sequence[Mapping[UUID, UUID]]) -> list[None]:
        stamp = {"release": self._release, "created_at": datetime.now(UTC)}
        here = present(driver_of(connection), list({image for wish in wishes for image in wish.values()}))
        kept = set(here)  # the others were erased meanwhile
        rows = [
            {"id": id, "image_id": image} | stamp
            for wish in wishes
            for id, image in wish.items()
            if image in kept
        ]
        add(connection, seen_files, rows)
        return [None] * len(wishes)


_IN_SEARCH = Prompt(
    select(seen_files.c.id, seen_files.c.image_id).where(
        seen_files.c.id.in_(bindparam("wanted", expanding=True)), visible_image(seen_files.c.image_id)
    )
)


def seen_id(label: Label, status: os.stat_result) -> UUID:
    """The id of a file under this label with this size and these times."""
    said = json.dumps([label.source, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return id_of_digest(hashlib.sha256(said.encode()).hexdigest())


def is_settled(status: os.stat_result, now: float) -> bool:
    """True for a file that had not changed for a while `now` (seconds since 1970)."""
    return now - max(status.st_mtime, status.st_ctime) > SETTLED
