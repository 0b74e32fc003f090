"""Judges whether a row is one of ours: SQLite lets any value into any column, and bits flip."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, Double, Integer, LargeBinary, Table, Text, select
from sqlalchemy.dialects import sqlite

from dhash_service.facts import (
    Algorithm,
    BankAction,
    Role,
    Sha256,
    Status,
    Subject,
    Verdict,
    image_id,
    sighting_id,
)

Row = dict[str, Any]

SQLITE = sqlite.dialect()

PYTHON_TYPES: Mapping[type, type | tuple[type, ...]] = {
    Text: str,
    Integer: int,
    BigInteger: int,
    Double: (float, int),
    Boolean: bool,
    LargeBinary: bytes,
}

ALLOWED: Mapping[tuple[str, str], frozenset[str]] = {
    ("lookups", "status"): frozenset(Status),
    ("decisions", "verdict"): frozenset(Verdict),
    ("banks", "action"): frozenset(BankAction),
    ("group_decisions", "verdict"): frozenset(Verdict),
    ("tombstones", "subject"): frozenset(Subject),
    ("tokens", "role"): frozenset(Role),
}


class UnsoundError(ValueError):
    """A row that cannot be one of ours, and why."""


class RowReader:
    """Makes the rows of one table, as SQLite has them, into values of ours."""

    def __init__(self, table: Table, columns: Sequence[str], algorithm: Algorithm) -> None:
        self._columns = [ColumnReader(table, name) for name in columns]
        whole = {"images": follows_from_digest, "sightings": follows_from_words}
        self._whole = (whole | {"fingerprints": of_algorithm(algorithm)}).get(table.name)

    def read(self, raw: Sequence[Any]) -> Row:
        """The row by column. Raises `UnsoundError`."""
        row = {column.name: column.read(value) for column, value in zip(self._columns, raw, strict=True)}
        if self._whole and (fault := self._whole(row)):
            raise UnsoundError(fault)
        return row


class KeyReader:
    """The keys of a table's rows; `raw` between two SQLite files, where equal keys are stored alike."""

    def __init__(self, table: Table, key: Sequence[str], *, raw: bool) -> None:
        self._raw = raw
        self._columns = [ColumnReader(table, name) for name in key]
        self._select = select(*(table.c[name] for name in key))
        self._first = table.c[key[0]]
        self._sql = f'SELECT {", ".join(key)} FROM "{table.name}" WHERE {key[0]} IN '

    def read(self, raw: Sequence[Any]) -> tuple[Any, ...] | None:
        """A row's key; None where it cannot be read."""
        if self._raw:
            return tuple(raw)
        try:
            return tuple([column.read(value) for column, value in zip(self._columns, raw, strict=True)])
        except UnsoundError:
            return None

    def there(self, connection: Connection, keys: Sequence[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
        """Select those of these keys that a store has, and perhaps some others."""
        first = [key[0] for key in keys]
        if self._raw:
            found = connection.exec_driver_sql(f"{self._sql}({', '.join('?' * len(first))})", tuple(first))
        else:
            found = connection.execute(self._select.where(self._first.in_(first)))
        return (tuple(row) for row in found)


class ColumnReader:
    """Makes one column's values into ours."""

    def __init__(self, table: Table, name: str) -> None:
        column = table.c[name]
        kind = type(column.type)
        self.name = name
        self._nullable = column.nullable
        self._convert = column.type.dialect_impl(SQLITE).result_processor(SQLITE, None)
        self._type: Any = PYTHON_TYPES.get(kind, object)
        self._text = kind is Text
        self._small = kind is Integer
        self._allowed = ALLOWED.get((table.name, name))

    def read(self, raw: Any) -> Any:
        """The value. Raises `UnsoundError`."""
        if raw is None:
            if not self._nullable:
                raise UnsoundError(f"{self.name} is missing")
            return None
        try:
            value: Any = self._convert(raw) if self._convert else raw
        except (ValueError, TypeError, OverflowError):
            raise UnsoundError(f"{self.name} is {raw!r:.40}") from None
        if not isinstance(value, self._type) or (self._small and abs(value) >= 1 << 31):
            raise UnsoundError(f"{self.name} is {value!r:.40}")
        if self._text and "\0" in value:
            raise UnsoundError(f"{self.name} holds a NUL")
        if self._allowed and value not in self._allowed:
            raise UnsoundError(f"{self.name} is {value!r:.40}")
        return value


def follows_from_digest(row: Row) -> str | None:
    """Name the fault of a row of images; None if it is sound."""
    return None if row["id"] == image_id(Sha256(row["sha256"])) else "its id does not follow from its digest"


def follows_from_words(row: Row) -> str | None:
    """Name the fault of a row of sightings; None if it is sound."""
    words = (row["image_id"], row["name"], row["source"], row["document"], row["page"])
    return None if row["id"] == sighting_id(*words) else "its id does not follow from its words"


def of_algorithm(algorithm: Algorithm) -> Callable[[Row], str | None]:
    """A judge of fingerprints: a store holds those of one algorithm."""

    def fault(row: Row) -> str | None:
        held = Algorithm(row["algorithm"], row["algorithm_version"])
        return None if held == algorithm else f"it is of {held.name} version {held.version}"

    return fault
