"""Judges a revision by its effect: it runs on an empty database; the schemas before and after are compared.

So a revision is judged by its effect, however it is written, and a way down tells what it would drop.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from sqlalchemy import Connection, column, create_engine, event, func, inspect, select, table

from dhash_service.store.tables import metadata

BOOKKEEPING = frozenset({"alembic_version", "schema_revisions", "meta"})
"""Tables that hold no facts."""

WIDENINGS = frozenset(
    {("INTEGER", "BIGINT"), ("SMALLINT", "INTEGER"), ("FLOAT", "DOUBLE"), ("VARCHAR", "TEXT")}
)

DESTRUCTIVE = re.compile(
    r"\b(DROP\s+(?:TABLE|COLUMN|VIEW)|RENAME\s+(?:TO|COLUMN)|TRUNCATE|DELETE\s+FROM|SET\s+NOT\s+NULL"
    r"|ALTER\s+COLUMN\s+\S+\s+(?:SET\s+DATA\s+)?TYPE|UPDATE\s+(?!alembic_version)\w+\s+SET)\b",
    re.IGNORECASE,
)


class HasModule(Protocol):
    """A revision's code."""

    @property
    def module(self) -> ModuleType: ...


@dataclass(frozen=True, slots=True)
class ColumnShape:
    """The properties of a column that a program relies on."""

    type: str
    nullable: bool
    default: bool


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table's columns, and each rule that a row must keep to be admitted."""

    columns: Mapping[str, ColumnShape]
    rules: frozenset[str]


Shape = Mapping[str, TableShape]


def shape_after(scripts: Sequence[HasModule]) -> Shape:
    """The schema that these revisions make out of nothing."""
    with scratch(scripts) as connection:
        return shape(connection)


def statements(before: Sequence[HasModule], script: HasModule) -> str:
    """The SQL of a revision on SQLite after those before it, the rebuilding of tables included."""
    said: list[str] = []
    with scratch(before) as connection:

        @event.listens_for(connection, "before_cursor_execute")
        def listen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if not statement.lstrip().upper().startswith(("PRAGMA", "SELECT")):
                said.append(f"{statement.strip()};")

        run(connection, [script])
    return "\n\n".join(said)


@contextmanager
def scratch(scripts: Sequence[HasModule]) -> Iterator[Connection]:
    """An empty database in memory to which these revisions were applied."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            run(connection, scripts)
            yield connection
    finally:
        engine.dispose()


def run(connection: Connection, scripts: Sequence[HasModule]) -> None:
    """Apply revisions without recording them."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
    with Operations.context(context):
        for script in scripts:
            script.module.upgrade()


def shape(connection: Connection) -> Shape:
    """The schema as the database tells it."""
    seen = inspect(connection)
    return {
        name: TableShape(
            {
                found["name"]: ColumnShape(
                    str(found["type"]).upper(), found["nullable"], found["default"] is not None
                )
                for found in seen.get_columns(name)
            },
            frozenset(
                [f"UNIQUE {unique['column_names']}" for unique in seen.get_unique_constraints(name)]
                + [f"UNIQUE {index['column_names']}" for index in seen.get_indexes(name) if index["unique"]]
                + [f"FOREIGN KEY {key['constrained_columns']}" for key in seen.get_foreign_keys(name)]
                + [f"CHECK {check['sqltext']}" for check in seen.get_check_constraints(name)]
            ),
        )
        for name in seen.get_table_names()
    }


def breaks(before: Shape, after: Shape) -> list[str]:
    """List what a release written for `before` would miss or trip over in `after`."""
    found = [f"drops or renames table {name}" for name in before if name not in after]
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        found += [
            f"drops or renames column {name}.{gone}" for gone in old.columns.keys() - new.columns.keys()
        ]
        for field, became in new.columns.items():
            was = old.columns.get(field)
            if was is None:
                if not became.nullable and not became.default:
                    found.append(f"adds {name}.{field} NOT NULL without a default")
            elif was.nullable and not became.nullable:
                found.append(f"makes {name}.{field} NOT NULL")
            elif was.type != became.type and not widens(was.type, became.type):
                found.append(f"changes {name}.{field} from {was.type} to {became.type}")
        found += [f"adds to {name} the rule {rule}" for rule in sorted(new.rules - old.rules)]
    return sorted(found)


def widens(was: str, became: str) -> bool:
    """True if every value of one type fits into the other."""
    if (was.partition("(")[0], became.partition("(")[0]) in WIDENINGS:
        return True
    sizes = [re.fullmatch(r"(VARCHAR|CHAR)\((\d+)\)", text) for text in (was, became)]
    return all(sizes) and int(sizes[0][2]) <= int(sizes[1][2])  # type: ignore[index]


def destructive(sql: str) -> list[str]:
    """Statements in a revision's SQL that take away or change what is there, whatever the database."""
    return sorted({f"says {' '.join(found[0].upper().split())}" for found in DESTRUCTIVE.finditer(sql)})


def lost(connection: Connection, before: Shape, after: Shape) -> dict[str, int]:
    """Count what would be lost from one shape to the other: tables with rows, columns with values."""
    goes: dict[str, int] = {}
    for name, was in before.items():
        if name in BOOKKEEPING:
            continue
        here = table(name)
        if name not in after:
            goes[f"table {name}"] = connection.scalar(select(func.count()).select_from(here)) or 0
            continue
        for gone in was.columns.keys() - after[name].columns.keys():
            values = select(func.count(column(gone))).select_from(here)
            goes[f"column {name}.{gone}"] = connection.scalar(values) or 0
    return {what: count for what, count in sorted(goes.items()) if count}
