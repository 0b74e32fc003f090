"""Banks: named collections of known hashes, each with what happens to a picture that matches.

A bank's newest settings hold, and so does the newest row of each hash in it; taking a hash out is a row too.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, Select, func, select

from dhash_service.facts import BankAction, BankEntry, PictureBank, new_id
from dhash_service.store.engine import reading
from dhash_service.store.recorder import add, after, storable
from dhash_service.store.repository import chunks
from dhash_service.store.tables import bank_entries, banks
from dhash_service.store.writer import Writer

Mark = tuple[int, int]
"""The newest settings and the newest entry seen, by `seq`: rows are numbered as they are committed."""


@dataclass(frozen=True, slots=True)
class EntryChange:
    """An entry as it was written, or taken out, with the order in which the newest is found."""

    entry: BankEntry
    removed: bool
    order: tuple[datetime, UUID]


class Banks:
    """The banks of one store."""

    def __init__(self, engine: Engine, writer: Writer, release: str) -> None:
        self._engine = engine
        self._writer = writer
        self._release = release

    def mark(self) -> Mark:
        """The newest rows at this moment."""
        with reading(self._engine) as connection:
            return _mark(connection)

    def since(self, after: Mark) -> tuple[Mark, list[PictureBank], Iterator[EntryChange]]:
        """The rows after a mark: settings, the newest of a bank last, and entries in the order written."""
        with reading(self._engine) as connection:
            now = _mark(connection)
            set_ = select(banks).where(banks.c.seq > after[0]).order_by(banks.c.created_at, banks.c.id)
            settings = [as_bank(row) for row in connection.execute(set_)]
            wanted = select(bank_entries).where(bank_entries.c.seq > after[1]).order_by(bank_entries.c.seq)
            changes = [as_change(row) for row in connection.execute(wanted)]
        return now, settings, iter(changes)

    def set(self, bank: PictureBank, now: datetime) -> Future[PictureBank]:
        """Make a bank, or change its settings."""
        return self._writer.submit(self._set, (bank, now))

    def put(self, entries: Sequence[BankEntry], now: datetime, *, removed: bool = False) -> Future[int]:
        """Put hashes into their banks, or take them out; returns the number of those that changed."""
        return self._writer.submit(self._put, (entries, now, removed))

    def _set(self, connection: Connection, new: Sequence[tuple[PictureBank, datetime]]) -> list[PictureBank]:
        for bank, now in new:
            storable(bank.name, bank.note)
            newest = select(func.max(banks.c.created_at)).where(banks.c.name == bank.name)
            row = {
                "id": new_id(),
                "name": bank.name,
                "action": bank.action,
                "radius": bank.radius,
                "note": bank.note,
                "release": self._release,
                "created_at": after(connection.scalar(newest), now),
            }
            add(connection, banks, [row])
        return [bank for bank, _ in new]

    def _put(
        self, connection: Connection, asked: Sequence[tuple[Sequence[BankEntry], datetime, bool]]
    ) -> list[int]:
        counts = []
        for entries, now, removed in asked:
            distinct = {(entry.bank, entry.kind, entry.value): entry for entry in entries}
            held = _held(connection, list(distinct.values()))
            rows = []
            for key, entry in distinct.items():
                storable(entry.label, entry.note)
                before = held.get(key)
                if (before is None and removed) or (
                    before and before.removed == removed and (removed or before.entry == entry)
                ):
                    continue
                moment = after(before.order[0] if before else None, now)
                rows.append(entry_row(entry) | self._stamp(removed, moment))
            for chunk in chunks(rows):
                add(connection, bank_entries, chunk)
            counts.append(len(rows))
        return counts

    def _stamp(self, removed: bool, now: datetime) -> dict[str, Any]:
        return {"id": new_id(), "removed": removed, "release": self._release, "created_at": now}


def _held(connection: Connection, entries: Sequence[BankEntry]) -> dict[tuple[str, str, str], EntryChange]:
    """The newest rows of these hashes in these banks."""
    found: dict[tuple[str, str, str], EntryChange] = {}
    wanted: Select[Any] = select(bank_entries)
    for bank in {entry.bank for entry in entries}:
        for chunk in chunks([entry.value for entry in entries if entry.bank == bank]):
            rows = wanted.where(bank_entries.c.bank == bank, bank_entries.c.value.in_(chunk))
            for row in connection.execute(rows.order_by(bank_entries.c.created_at, bank_entries.c.id)):
                found[row.bank, row.kind, row.value] = as_change(row)
    return found


def _mark(connection: Connection) -> Mark:
    settings, entry = connection.execute(
        select(
            select(func.coalesce(func.max(banks.c.seq), 0)).scalar_subquery(),
            select(func.coalesce(func.max(bank_entries.c.seq), 0)).scalar_subquery(),
        )
    ).one()
    return settings, entry


def entry_row(entry: BankEntry) -> dict[str, Any]:
    """The columns of an entry's own words."""
    return {
        "bank": entry.bank,
        "kind": entry.kind,
        "value": entry.value,
        "label": entry.label,
        "severity": entry.severity,
        "note": entry.note,
        "expires_at": entry.expires_at,
    }


def as_bank(row: Row[*tuple[Any, ...]]) -> PictureBank:
    """A bank from its row."""
    return PictureBank(row.name, BankAction(row.action), row.radius, row.note)


def as_change(row: Row[*tuple[Any, ...]]) -> EntryChange:
    """An entry from its row."""
    entry = BankEntry(row.bank, row.kind, row.value, row.label, row.severity, row.note, row.expires_at)
    return EntryChange(entry, row.removed, (row.created_at, row.id))
