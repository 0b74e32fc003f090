"""A snapshot: the whole store at one moment, as one SQLite file, whatever database it came from.

Writers go on meanwhile. The copy is verified before it gets its name, so a file with that name is a good one.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, MetaData, Table, delete, func, inspect, select, text
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID
from sqlalchemy.schema import CreateColumn
from sqlalchemy.types import TypeEngine

from dhash_service.errors import (
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreSchemaError,
    StoreUnreachableError,
)
from dhash_service.files import NO_ROOM
from dhash_service.store import schema
from dhash_service.store.engine import connect, reading, translated, unhurried, writing
from dhash_service.store.migrate import known_part, this_release
from dhash_service.store.tables import FOREIGN, metadata, schema_revisions
from dhash_service.store.types import Id, Instant

ROWS = 1_000
"""Rows copied at a time: with thumbnails, some 10 MB."""


STEP = 1_024
"""Pages of 4 KB copied, and flushed, at a time."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A finished snapshot: its file, size in bytes, schema revision and how many rows each table has."""

    path: Path
    size: int
    revision: str
    rows: Mapping[str, int]


def take(engine: Engine, path: Path) -> Snapshot:
    """Copy the store into a new file. Raises `StoreError`; then there is no file at `path`."""
    with appearing(path) as unfinished:
        with reading(engine) as connection:
            unhurried(connection)
            if not schema.applied(connection):
                raise StoreSchemaError(
                    "There is no store yet, only an empty database.", "Run `dhash db upgrade`."
                )
            expected = counted(connection)
            if engine.dialect.name == "sqlite":
                copy_pages(connection, unfinished)
            else:
                copy_rows(connection, unfinished)
        revision = verify(unfinished, expected)
    return Snapshot(path, path.stat().st_size, revision, expected)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A file to be filled aside; it gets its name when it is complete and on the disk, or never."""
    try:
        if path.exists():
            raise StoreError(
                f"{path} exists already.", "Choose another name; a snapshot is never overwritten."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        aside = Path(name)
        try:
            yield aside
            _sync(aside)
            os.rename(aside, path)
        finally:
            for leftover in (
                aside,
                *(aside.with_name(aside.name + end) for end in ("-journal", "-wal", "-shm")),
            ):
                leftover.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        kind = StoreFullError if error.errno in NO_ROOM else StoreUnreachableError
        raise kind(f"{path} cannot be written: {error.strerror}.", "Choose another folder.") from error


def counted(connection: Connection) -> dict[str, int]:
    """Count the rows of each table at the transaction's moment."""
    tables = sorted(inspect(connection).get_table_names())
    return {
        name: connection.scalar(select(func.count()).select_from(text(f'"{name}"'))) or 0 for name in tables
    }


def copy_pages(connection: Connection, path: Path) -> None:
    """Copy a SQLite store as of the connection's transaction.

    It reaches the disk a few megabytes at a time: one flush of it all would keep the disk busy for as long as
    everybody who commits meanwhile has to wait. The transaction is open already, so that the steps see one
    moment; without it, the copy would start over whenever somebody writes, and never end.
    """
    source = connection.connection.driver_connection
    assert source is not None
    with (
        translated(),
        closing(sqlite3.connect(path, isolation_level=None)) as target,
        path.open("rb") as file,
    ):
        target.execute("PRAGMA synchronous = OFF")  # we flush, and so does whoever gives the file its name

        def flush(*_: int) -> None:
            os.fsync(file.fileno())

        source.backup(target, pages=STEP, progress=flush)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it


def copy_rows(connection: Connection, path: Path) -> None:
    """Copy a PostgreSQL store as of the connection's transaction, row by row, into the same schema."""
    migrations = this_release()
    known = known_part(schema.applied(connection), migrations)
    target = connect(f"sqlite:///{path}", foreign_keys=False)
    try:
        with writing(target) as copy:
            for script in migrations.scripts[: len(known)]:
                migrations.up(copy, script, release="")
            copy.execute(delete(schema_revisions))
            copy.exec_driver_sql("DELETE FROM alembic_version")
            for table in widened(connection, copy):
                rows = connection.execution_options(yield_per=ROWS).execute(select(table))
                for block in rows.mappings().partitions():
                    copy.execute(table.insert(), [dict(row) for row in block])
    finally:
        target.dispose()


def widened(connection: Connection, copy: Connection) -> Iterator[Table]:
    """The store's tables, after the copy was given those and the columns that a newer release has added."""
    there = set(inspect(copy).get_table_names())
    for table in tables_of(connection):
        if table.name not in there:
            table.create(copy)
        else:
            had = {column["name"] for column in inspect(copy).get_columns(table.name)}
            for column in table.columns:
                if column.name not in had:
                    spelled = CreateColumn(column).compile(dialect=copy.dialect)
                    copy.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {spelled}")
        yield table


def tables_of(connection: Connection) -> list[Table]:
    """A store's tables as they are, with what a newer release has added, parents before children.

    Their types store the same values in either database.
    """
    found = MetaData()
    found.reflect(connection)
    return [
        Table(
            seen.name,
            MetaData(),
            *(
                Column(
                    column.name,
                    type_of(seen.name, column),
                    primary_key=column.primary_key,
                    nullable=column.nullable,
                )
                for column in seen.columns
            ),
        )
        for seen in found.sorted_tables
        if not seen.name.startswith(FOREIGN)
    ]


def type_of(table: str, column: Column[Any]) -> TypeEngine[Any]:
    """Our type of a column we know; of another, the one that fits what the database says."""
    known = metadata.tables.get(table)
    if known is not None and column.name in known.c:
        return known.c[column.name].type
    match column.type:
        case UUID():
            return Id()
        case TIMESTAMP():
            return Instant()
        case kind:
            return kind.as_generic()


def verify(path: Path, expected: Mapping[str, int]) -> str:
    """Read a copy through; its schema revision. Raises `StoreDamagedError` if it is not what was copied."""
    with translated(), closing(sqlite3.connect(path, isolation_level=None)) as copy:
        said = [line for (line,) in copy.execute("PRAGMA integrity_check(3)")]
        if said != ["ok"]:
            raise StoreDamagedError(f"The copy is damaged: {'; '.join(said)}.")
        for name, count in expected.items():
            found = copy.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
            if found != count:
                raise StoreDamagedError(f"The copy has {found:,} of {count:,} rows of {name}.")
        (revision,) = copy.execute("SELECT max(revision) FROM schema_revisions").fetchone()
        if revision is None:
            raise StoreDamagedError("The copy has no schema revision.")
    return str(revision)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
