"""Judges which schemas this release can work with, without loading the migrations.

Two releases share one store during a rollout, so the question is not "is it the same revision" but "has
anything been taken away that this release needs, and has everything been added".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, inspect, select

from dhash_service.errors import StoreSchemaError
from dhash_service.store.engine import connect, parse_url, reading, sqlite_path
from dhash_service.store.tables import schema_revisions


class Kind(StrEnum):
    """The effect of a revision on the release before it."""

    EXPAND = "expand"  # leaves all that the release before uses
    CONTRACT = "contract"  # takes something away


@dataclass(frozen=True, slots=True)
class Revision:
    """A step of the schema's history."""

    id: str
    kind: Kind
    message: str


@dataclass(frozen=True, slots=True)
class Applied(Revision):
    """A revision that a store has had, and the release that brought it."""

    release: str


KNOWN: Sequence[tuple[str, Kind]] = tuple((f"{number:04}", Kind.EXPAND) for number in range(1, 9))
"""The revisions of this release, oldest first: what `migrations/versions` holds (a test compares them)."""


def current(url: str) -> list[Applied]:
    """The revisions that the store has had, oldest first; none where there is no store."""
    path = sqlite_path(parse_url(url))
    if path and not path.exists():
        return []
    engine = connect(url)
    try:
        with reading(engine) as connection:
            return applied(connection)
    finally:
        engine.dispose()


def applied(connection: Connection) -> list[Applied]:
    """The revisions a store has had, oldest first; empty for a store that has none."""
    if not inspect(connection).has_table(schema_revisions.name):
        return []
    columns = schema_revisions.c
    rows = connection.execute(
        select(columns.revision, columns.kind, columns.message, columns.release).order_by(columns.revision)
    )
    return [Applied(revision, kind_of(kind), message, release) for revision, kind, message, release in rows]


def kind_of(text: str) -> Kind:
    """The kind a store names. One that this release does not know may take anything away."""
    return Kind.EXPAND if text == Kind.EXPAND else Kind.CONTRACT


def lacking(store: Sequence[Revision], known: Sequence[tuple[str, Kind]] = KNOWN) -> list[str]:
    """The revisions that a release needs and the store has not had. Contracting ones can wait."""
    had = {revision.id for revision in store}
    return [name for name, kind in known if kind is Kind.EXPAND and name not in had]


def require_fit(store: Sequence[Revision], known: Sequence[tuple[str, Kind]] = KNOWN) -> None:
    """Raise `StoreSchemaError` unless a release that knows these revisions can work with this store.

    A store may be ahead by expanding revisions: that is what lets the old release go on while the new one is
    rolled out. It may lack contracting ones: the new release begins before they are due.
    """
    had = {revision.id for revision in store}
    if not had:
        raise StoreSchemaError("There is no store yet.", "Run `dhash db upgrade`.")
    if missing := lacking(store, known):
        raise StoreSchemaError(
            f"The store is at revision {max(had)}; this release needs {', '.join(missing)} as well."
        )
    names = {name for name, _ in known}
    taken = [revision.id for revision in store if revision.id not in names and revision.kind is Kind.CONTRACT]
    if taken:
        raise StoreSchemaError(
            f"Revision {', '.join(taken)} of a newer release took away what this release needs.",
            "Run the newer release, or merge a snapshot into a store of this release.",
        )
