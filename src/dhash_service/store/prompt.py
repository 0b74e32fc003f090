"""Statements that every request waits for: compiled by SQLAlchemy once, then run on the driver itself.

The tables, types and conditions are SQLAlchemy's, for both databases. Left out is what it does anew for each
execution: it takes longer than SQLite takes to answer.
"""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, starmap
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Engine, Insert, Select, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import Executable
from sqlalchemy.types import TypeEngine

from dhash_service.store.engine import translated

Convert = Callable[[Any], Any] | None
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Driver:
    """A connection of the driver's, in a transaction, and the dialect that statements are compiled for."""

    connection: Any
    dialect: Dialect


def driver_of(connection: Connection) -> Driver:
    """The driver's side of a connection; the transaction of the one is that of the other."""
    if not connection.in_transaction():
        connection.begin()
    return Driver(connection.connection.driver_connection, connection.dialect)


def opened_apart(engine: Engine) -> Any:
    """A PostgreSQL connection of the driver's that is no pool's: each statement is a transaction."""
    borrowed = engine.raw_connection()
    connection: Any = borrowed.driver_connection
    borrowed.detach()
    connection.autocommit = True
    return connection


class Line:
    """A PostgreSQL connection kept for short questions, asked by one thread at a time.

    One trip to the server each, where a transaction on a borrowed connection takes four.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None

    def ask(self, question: Callable[[Driver], T]) -> T:
        """The answer; each statement sees what is committed when it begins. Raises `StoreError`."""
        with translated():
            if self._connection is not None:
                try:
                    return question(Driver(self._connection, self._engine.dialect))
                except Exception:  # the server may have closed it long ago: once more on a new one
                    self.close()
            self._connection = opened_apart(self._engine)
            try:
                return question(Driver(self._connection, self._engine.dialect))
            except Exception:
                self.close()
                raise

    def close(self) -> None:
        """Hang up; the next question opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@contextmanager
def glancing(engine: Engine, *, once: bool = False) -> Iterator[Driver]:
    """A transaction for few and short reads. Raises `StoreError`.

    SQLite shows one moment; PostgreSQL shows each statement what is committed when it begins. One that reads
    `once` sees one moment in any case.
    """
    with translated():
        borrowed = engine.raw_connection()
        try:
            if engine.dialect.name == "sqlite" and not once:
                borrowed.driver_connection.execute("BEGIN")  # type: ignore[union-attr]
            yield Driver(borrowed.driver_connection, engine.dialect)
        except Exception as error:
            borrowed.invalidate(error)  # the server may have gone, of which SQLAlchemy is not told
            raise
        finally:
            borrowed.close()  # which rolls back


class Prompt:
    """A SELECT whose values are given by name; a list stands for an expanding parameter."""

    def __init__(self, statement: Select[Any] | Select[*tuple[Any, ...]]) -> None:
        self._statement = statement
        self._forms: dict[tuple[str, ...], _Form] = {}
        self._readers: dict[str, _Reader] = {}

    def rows(self, driver: Driver, **values: Any) -> list[Any]:
        """Run it: named tuples, converted as SQLAlchemy would."""
        values = {name: padded(each) if isinstance(each, list) else each for name, each in values.items()}
        name = driver.dialect.name
        shape = (name, *(str(len(each)) for each in values.values() if isinstance(each, list)))
        form = self._forms.get(shape)
        if form is None:
            form = self._forms[shape] = _Form.of(self._statement, driver.dialect, values)
        cursor = driver.connection.execute(form.text, form.bound(values))
        reader = self._readers.get(name)
        if reader is None:
            reader = self._readers[name] = _Reader.of(self._statement, driver.dialect, cursor.description)
        return reader.read(cursor.fetchall())


def padded(values: list[Any]) -> list[Any]:
    """The values, the last repeated up to a power of two, so that few forms serve lists of any length."""
    return values + values[-1:] * ((1 << (len(values) - 1).bit_length()) - len(values)) if values else values


class Adding:
    """The insertion of rows into one table, passing over those whose key is there."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._forms: dict[tuple[str, ...], _Form] = {}

    def add(self, driver: Driver, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows, one or more, that all name the same columns."""
        name = driver.dialect.name
        shape = (name, *rows[0])
        form = self._forms.get(shape)
        if form is None:
            form = self._forms[shape] = _Form.of(insertion(self._table, name), driver.dialect, rows[0])
        bound = form.bound_all(rows)
        if name != "sqlite":
            driver.connection.cursor().executemany(form.text, bound)
            return
        # Each step of SQLite's lets another thread have the interpreter: many rows to a step.
        place = "(" + ", ".join("?" * len(bound[0])) + ")"
        for some in blocks(bound):
            text = form.text.replace(f"VALUES {place}", "VALUES " + ", ".join([place] * len(some)))
            driver.connection.execute(text, list(chain.from_iterable(some)))


def blocks(rows: Sequence[T], largest: int = 16) -> Iterator[Sequence[T]]:
    """The rows in parts of a power of two, so that few statements serve any number of rows."""
    start = 0
    while left := len(rows) - start:
        size = min(largest, 1 << (left.bit_length() - 1))
        yield rows[start : start + size]
        start += size


def insertion(table: Table, dialect: str) -> Insert:
    """The statement that adds rows to a table and passes over those that are there."""
    kind = postgresql if dialect == "postgresql" else sqlite
    statement: Insert = kind.insert(table).on_conflict_do_nothing().inline()
    return statement


@dataclass(frozen=True, slots=True)
class _Slot:
    """A parameter of the driver's: the value of that name, or the one at a place in a list; or a constant."""

    name: str | None
    place: int | None
    convert: Convert
    constant: Any = None

    def of(self, values: Mapping[str, Any]) -> Any:
        if self.name is None:
            return self.constant
        value = values[self.name] if self.place is None else values[self.name][self.place]
        return value if self.convert is None else self.convert(value)

    def of_all(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        """The parameter of each row."""
        if self.name is None:
            return [self.constant] * len(rows)
        values = [row[self.name] for row in rows]
        if self.convert is None:
            return values
        if values.count(values[0]) == len(values):  # a release, a time
            return [self.convert(values[0])] * len(values)
        return list(map(self.convert, values))


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement in the driver's words, and how its parameters are made of values."""

    text: str
    slots: Mapping[str, _Slot]
    order: Sequence[_Slot] | None  # None where the driver takes parameters by name

    @classmethod
    def of(cls, statement: Executable, dialect: Dialect, values: Mapping[str, Any]) -> "_Form":
        """The form for values of this shape."""
        keys = {"column_keys": list(values)} if isinstance(statement, Insert) else {}
        compiled: Any = statement.compile(dialect=dialect, **keys)  # type: ignore[attr-defined]
        state = compiled.construct_expanded_state(dict(values))
        origins = {
            expanded: (name, place)
            for name, many in state.parameter_expansion.items()
            for place, expanded in enumerate(many)
        }
        slots = {}
        for key, value in state.parameters.items():
            convert = state.processors.get(key)
            if key in compiled.binds:  # not one of a list: those have theirs from SQLAlchemy
                convert = compiled.binds[key].type.dialect_impl(dialect).bind_processor(dialect)
            name, place = origins.get(key, (key, None))
            given = name in values
            constant = None if given else (convert(value) if convert else value)
            slots[key] = _Slot(name if given else None, place, convert, constant)
        order = [slots[key] for key in state.positiontup] if state.positiontup is not None else None
        return cls(state.statement, slots, order)

    def bound(self, values: Mapping[str, Any]) -> Sequence[Any] | Mapping[str, Any]:
        """The parameters for these values."""
        if self.order is not None:
            return [slot.of(values) for slot in self.order]
        return {key: slot.of(values) for key, slot in self.slots.items()}

    def bound_all(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The parameters for each of many rows: a column at a time, which takes a third of the time."""
        if self.order is not None:
            return list(zip(*(slot.of_all(rows) for slot in self.order), strict=True))
        columns = zip(*(slot.of_all(rows) for slot in self.slots.values()), strict=True)
        return [dict(zip(self.slots, each, strict=True)) for each in columns]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Makes rows of what the driver gives."""

    row: Callable[..., Any]
    converts: Sequence[tuple[int, Callable[[Any], Any]]]

    @classmethod
    def of(
        cls, statement: Select[Any] | Select[*tuple[Any, ...]], dialect: Dialect, description: Sequence[Any]
    ) -> "_Reader":
        columns = list(statement.selected_columns)
        found = []
        for at, (column, described) in enumerate(zip(columns, description, strict=True)):
            kind: TypeEngine[Any] = column.type.dialect_impl(dialect)
            if convert := kind.result_processor(dialect, described[1]):
                found.append((at, convert))
        names = [str(getattr(column, "key", "")) for column in columns]
        return cls(namedtuple("Row", names, rename=True), found)

    def read(self, rows: Sequence[Sequence[Any]]) -> list[Any]:
        made = []
        for row in rows:
            cells = list(row)
            for at, convert in self.converts:
                cells[at] = convert(cells[at])
            made.append(cells)
        return list(starmap(self.row, made))
