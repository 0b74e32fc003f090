"""Many fingerprints at once, that were made elsewhere: COPY on PostgreSQL, one statement for all on SQLite.

No lookups are made of them: nobody asked about these pictures. All else holds as for a submitted one: what is
here stays as it is, and what was erased or taken down does not come back.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Table, select

from dhash_service.facts import Label, Picture, Source
from dhash_service.store import erasure
from dhash_service.store.prompt import driver_of
from dhash_service.store.recorder import (
    NewSighting,
    add,
    fingerprint_row,
    image_row,
    present,
    sighting_row,
    storable,
)
from dhash_service.store.repository import chunks
from dhash_service.store.tables import fingerprints, images, sightings
from dhash_service.store.writer import Writer


@dataclass(frozen=True, slots=True)
class Loaded:
    """A picture without its file, and where it was seen."""

    picture: Picture
    label: Label
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """The result: images that were added, that were here, and that were refused, as erased or taken down."""

    added: int = 0
    known: int = 0
    refused: int = 0

    def __add__(self, other: "Load") -> "Load":
        return Load(self.added + other.added, self.known + other.known, self.refused + other.refused)


class Loader:
    """Loads into one store, as one release."""

    def __init__(self, writer: Writer, release: str, clock: Callable[[], datetime]) -> None:
        self._writer = writer
        self._release = release
        self._clock = clock

    def load(self, pictures: Sequence[Loaded]) -> Future[Load]:
        """Add pictures and sightings in one commit; all of them, or none. Loading them again adds nothing."""
        return self._writer.submit(self._load_all, pictures)

    def _load_all(self, connection: Connection, wishes: Sequence[Sequence[Loaded]]) -> list[Load]:
        return [self._load(connection, wish) for wish in wishes]

    def _load(self, connection: Connection, wish: Sequence[Loaded]) -> Load:
        for each in wish:
            storable(each.label.name, each.label.source)
        unique = {each.picture.id: each.picture for each in wish}
        here = set(present(driver_of(connection), list(unique)))
        refused = erasure.refused(connection, [id for id in unique if id not in here])
        refused |= erasure.refused_hidden(connection, list(here))
        new = [picture for id, picture in unique.items() if id not in here and id not in refused]
        stamp = {"release": self._release, "created_at": self._clock()}
        fill(connection, images, [image_row(picture) | stamp for picture in new])
        fill(
            connection,
            fingerprints,
            [fingerprint_row(picture) | {"repeats": False} | stamp for picture in new],
        )
        seen = (
            sighting_row(NewSighting(each.picture.id, each.label, each.source))
            for each in wish
            if each.picture.id not in refused
        )
        rows = {row["id"]: row | stamp for row in seen if row}
        for id in _present_sightings(connection, list(rows)):
            del rows[id]
        fill(connection, sightings, list(rows.values()))
        return Load(len(new), len(here - refused.keys()), len(refused))


def _present_sightings(connection: Connection, ids: Sequence[UUID]) -> list[UUID]:
    wanted = select(sightings.c.id)
    return [id for chunk in chunks(ids) for id in connection.scalars(wanted.where(sightings.c.id.in_(chunk)))]


def fill(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of which none is there, inside a transaction of the only writer."""
    if connection.dialect.name != "postgresql":
        add(connection, table, rows)
        return
    if not rows:
        return
    columns = list(rows[0])
    types = [table.c[name].type.dialect_impl(connection.dialect) for name in columns]
    converts = [kind.bind_processor(connection.dialect) or _unchanged for kind in types]
    driver: Any = driver_of(connection).connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({', '.join(columns)}) FROM STDIN") as out,
    ):
        for row in rows:
            out.write_row([convert(row[name]) for convert, name in zip(converts, columns, strict=True)])


def _unchanged(value: Any) -> Any:
    return value
