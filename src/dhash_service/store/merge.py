"""Merging a snapshot: the store gets what it lacks, and nothing that it has is changed.

Pictures that either of them has erased are left out; `Store.erase_again` removes those that the store had.

A fact's key tells it apart, so merging twice adds nothing, and two stores merged either way hold the same
facts. Rows go over in blocks, each a commit of its own: a running service writes in between, memory stays
bounded, and a merge that was interrupted is simply done again. So is one in whose middle somebody erases.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection, Engine, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from dhash_service.errors import StoreAlgorithmError, StoreDamagedError, StoreSchemaError
from dhash_service.facts import Algorithm
from dhash_service.pictures.fingerprint import ALGORITHMS
from dhash_service.store.engine import reading, unhurried, writing
from dhash_service.store.erasure import Erased, Forgetting
from dhash_service.store.recorder import fingerprinted
from dhash_service.store.repository import chunks
from dhash_service.store.salvage import RawRow, SnapshotFile, source
from dhash_service.store.snapshot import tables_of
from dhash_service.store.soundness import KeyReader, Row, RowReader, UnsoundError
from dhash_service.store.tables import FACTS, metadata

Progress = Callable[[str, int, int], None]

OWN = frozenset({"seq", "repeats"})
"""Columns that are each store's own."""

KEYS = {
    "fingerprints": ("image_id", "algorithm", "algorithm_version", "release"),
    "tombstones": ("id",),
    "banks": ("id",),
    "bank_entries": ("id",),
}
"""The key of a fact, where it is not the primary key."""

BOOKKEEPING = frozenset({"meta", "schema_revisions", "alembic_version", "erased_fingerprints", "seen_files"})


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows of a merge, by table: read, added, left out as unsound or without parent, and unreadable."""

    read: Mapping[str, int]
    added: Mapping[str, int]
    left_out: Mapping[str, int]
    lost: Mapping[str, int]


def merge(
    engine: Engine,
    path: Path,
    *,
    algorithm: Algorithm,
    salvage: bool = False,
    progress: Progress = lambda table, done, of: None,
) -> Merged:
    """Add to the store what the snapshot has and it lacks.

    `salvage` takes what can be read from a damaged file and leaves out what cannot be trusted. Raises
    `StoreSchemaError` for a snapshot with more in it than this store can hold, `StoreAlgorithmError`,
    `StoreDamagedError`, `StoreUnreachableError`.
    """
    with source(path, salvage=salvage) as snapshot:
        theirs = snapshot.tables()
        with reading(engine) as connection:
            ours = {table.name: table for table in tables_of(connection)}
        require_room(snapshot, theirs, ours)
        require_algorithm(snapshot, algorithm)
        added: Counter[str] = Counter()

        def take(table: Table, forgetting: Forgetting | None) -> tuple[int, int]:
            """How many rows were read, and left out."""
            taker = Taker(engine, table, theirs[table.name], algorithm, salvage, forgetting)
            try:
                return taker.take_all(snapshot, progress), taker.left_out
            finally:
                added[table.name] += taker.added

        taken = _take_all(engine, [table for table in in_order(ours) if table.name in theirs], take)
        if engine.dialect.name == "postgresql" and any(added.values()):
            with writing(engine) as connection:
                unhurried(connection)
                connection.exec_driver_sql("ANALYZE")  # or it would plan for the store as it was
        read = {name: count for name, (count, _) in taken.items()}
        left_out = {name: count for name, (_, count) in taken.items()}
        return Merged(read, dict(added), left_out, dict(snapshot.lost))


Take = Callable[[Table, "Forgetting | None"], tuple[int, int]]


def _take_all(engine: Engine, tables: Sequence[Table], take: Take) -> dict[str, tuple[int, int]]:
    """What `take` gives for each table; all of it again where somebody erases in the middle."""
    while True:
        forgetting: Forgetting | None = None
        taken: dict[str, tuple[int, int]] = {}
        with suppress(_ErasedMeanwhile):
            for table in tables:
                if forgetting is None and table.name != "erasures":  # theirs are in: they hold for their rows
                    with reading(engine) as connection:
                        forgetting = Forgetting(Erased(connection))
                taken[table.name] = take(table, forgetting)
            return taken


class _ErasedMeanwhile(Exception):
    """What was looked up of the store's erasures is not all of them any more."""


def merge_erasures(engine: Engine, path: Path, *, algorithm: Algorithm) -> int:
    """Add to the store's erasures those of another, which may be damaged; how many were new to it.

    `Store.erase_again` then removes the pictures. Raises `StoreDamagedError`, `StoreUnreachableError`.
    """
    with source(path, salvage=True) as snapshot:
        theirs = snapshot.tables()
        with reading(engine) as connection:
            ours = {table.name: table for table in tables_of(connection)}
        if "erasures" not in theirs or "erasures" not in ours:
            return 0
        taker = Taker(engine, ours["erasures"], theirs["erasures"], algorithm, True, None)
        taker.take_all(snapshot, lambda table, done, of: None)
        return taker.added


def in_order(ours: Mapping[str, Table]) -> Iterable[Table]:
    """The tables to be merged, parents before children."""
    names = [table.name for table in FACTS]
    newer = [name for name in ours if name not in names and name not in BOOKKEEPING]
    return [ours[name] for name in (*names, *newer)]


def require_room(
    snapshot: SnapshotFile, theirs: Mapping[str, Sequence[str]], ours: Mapping[str, Table]
) -> None:
    """Raise `StoreSchemaError` if the snapshot has tables or columns that this store cannot hold."""
    if "images" not in theirs:
        raise StoreSchemaError(f"{snapshot.path} is not a store.", "Give a file of `dhash db snapshot`.")
    lacking = [
        f"{table}.{column}" if table in ours else table
        for table, columns in theirs.items()
        if table not in BOOKKEEPING
        for column in columns
        if table not in ours or column not in ours[table].c
    ]
    if lacking:
        raise StoreSchemaError(
            f"{snapshot.path} is of a newer schema: this store has no {', '.join(dict.fromkeys(lacking))}.",
            "Bring the store up with the newer release's `dhash db upgrade`, then merge.",
        )


def require_algorithm(snapshot: SnapshotFile, algorithm: Algorithm) -> None:
    """Raise `StoreAlgorithmError` if the snapshot says that it holds another algorithm's fingerprints."""
    ours = f"{algorithm.name}/{algorithm.version}"
    said = _said(snapshot)
    if said and said != [ours]:
        raise StoreAlgorithmError(
            f"{snapshot.path} holds {', '.join(said)}, this store {ours}.",
            "Merge it into a store of its own.",
        )


def algorithm_of(path: Path, *, salvage: bool = False) -> Algorithm | None:
    """The algorithm that a snapshot says it holds, if this release knows it. Raises what `merge` does."""
    with source(path, salvage=salvage) as snapshot:
        said = _said(snapshot) if "meta" in snapshot.tables() else []
    known = {f"{algorithm.name}/{algorithm.version}": algorithm for algorithm in ALGORITHMS.values()}
    return known.get(said[0]) if said else None


def _said(snapshot: SnapshotFile) -> list[str]:
    return [
        value
        for block in snapshot.blocks("meta", ["name", "value"])
        for name, value in block
        if name == "algorithm"
    ]


class Taker:
    """Takes the rows of one table into the store."""

    def __init__(
        self,
        engine: Engine,
        table: Table,
        theirs: Sequence[str],
        algorithm: Algorithm,
        salvage: bool,
        forgetting: Forgetting | None,
    ) -> None:
        self.columns = [name for name in theirs if name not in OWN]
        self.added = 0
        self.left_out = 0
        self._engine = engine
        self._table = table
        self._salvage = salvage
        self._forgetting = forgetting
        self.key = (
            KEYS.get(table.name)
            or tuple(column.name for column in table.primary_key)
            or tuple(table.columns.keys())  # a table of another release may have none: the whole row tells
        )
        self._keys = KeyReader(table, self.key, raw=engine.dialect.name == "sqlite")
        self._reader = RowReader(table, self.columns, algorithm)
        known = metadata.tables.get(table.name)
        self._parents = list(known.foreign_keys) if known is not None else []
        dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
        self._insert = dialect.insert(table).on_conflict_do_nothing()

    def take_all(self, snapshot: SnapshotFile, progress: Progress) -> int:
        """Take what a snapshot has of the table and the store lacks; how many rows it has.

        Mostly the store has them all: their keys are enough, and the thumbnails stay unread.
        """
        name = self._table.name
        of, done = snapshot.count(name), 0
        for block in snapshot.blocks(name, ["rowid", *self.key]):
            self.take(snapshot.rows(name, self.columns, self.lacking(block)))
            done += len(block)
            progress(name, done, of)
        return done

    def lacking(self, block: Sequence[RawRow]) -> list[int]:
        """Of rows given by number and key, the numbers of those whose keys the store has not."""
        keys = [self._keys.read(raw[1:]) for raw in block]
        there: set[RawRow] = set()
        with reading(self._engine) as connection:
            for chunk in chunks([key for key in keys if key]):
                there.update(self._keys.there(connection, chunk))
        return [raw[0] for raw, key in zip(block, keys, strict=True) if key not in there]

    def take(self, block: Sequence[RawRow]) -> None:
        """Commit rows that the store lacks, those that are sound."""
        rows = [row for raw in block if (row := self._sound(raw)) is not None]
        if self._forgetting:
            rows = self._forgetting.kept(self._table.name, rows)
        if not rows:
            return
        with writing(self._engine) as connection:
            unhurried(connection)
            if self._forgetting and not self._forgetting.erased.is_all(connection):
                raise _ErasedMeanwhile
            if self._salvage:
                rows = self._with_parents(connection, rows)
            if self._table.name == "fingerprints":
                mark_repeats(connection, rows)
            if rows:
                self.added += self._add(connection, rows)

    def _add(self, connection: Connection, rows: Sequence[Row]) -> int:
        try:
            counting = {"preserve_rowcount": True}
            return connection.execute(self._insert, rows, execution_options=counting).rowcount
        except IntegrityError:
            raise StoreDamagedError(
                f"The snapshot has rows of {self._table.name} whose parents are missing.",
                "Merge the others with --salvage.",
            ) from None

    def _sound(self, raw: RawRow) -> Row | None:
        """The row as values of ours; None, or `StoreDamagedError`, for one that cannot be one of ours."""
        try:
            return self._reader.read(raw)
        except UnsoundError as fault:
            if not self._salvage:
                raise StoreDamagedError(
                    f"The snapshot has a row of {self._table.name} that is not sound: {fault}.",
                    "Merge what is sound with --salvage.",
                ) from None
        self.left_out += 1
        return None

    def _with_parents(self, connection: Connection, rows: list[Row]) -> list[Row]:
        """The rows whose parents the store has. The others come with a better copy, whole."""
        for key in self._parents:
            parent, child = key.column, key.parent.name
            wanted = {row[child] for row in rows if row.get(child) is not None}
            there = set(connection.scalars(select(parent).where(parent.in_(wanted)))) if wanted else set()
            kept = [row for row in rows if row.get(child) is None or row[child] in there]
            self.left_out += len(rows) - len(kept)
            rows = kept
        return rows


def mark_repeats(connection: Connection, rows: Sequence[Row]) -> None:
    """Tell which fingerprints are not the first of their image in this store."""
    before: set[UUID] = fingerprinted(connection, {row["image_id"] for row in rows})
    for row in rows:
        row["repeats"] = row["image_id"] in before
        before.add(row["image_id"])
