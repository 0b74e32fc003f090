"""Lints the SQL of migrations: which may run while two releases share a store.

The SQL is what will really run; what a revision says of itself is only a claim. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

EXPAND, CONTRACT = "expand", "contract"
BOOKKEEPING = re.compile(r"\balembic_version\b")

BREAKING = (
    (re.compile(r"^drop (table|view|materialized view|schema)\b"), "drops {0}"),
    (
        re.compile(r"^alter table .* drop (column )?(?!constraint\b|default\b|not null\b)"),
        "drops a column",
    ),
    (re.compile(r"^alter table .* rename\b"), "renames"),
    (re.compile(r"^alter table .* alter (column )?\S+ (set data )?type\b"), "changes a column's type"),
    (re.compile(r"^alter table .* alter (column )?\S+ set not null\b"), "makes a column NOT NULL"),
    (re.compile(r"^alter table .* alter (column )?\S+ drop default\b"), "drops a default"),
    (re.compile(r"^alter table .* add constraint\b"), "adds a constraint to a table in use"),
    (re.compile(r"^create unique index\b"), "adds a uniqueness that the old release does not keep"),
    (re.compile(r"^(delete from|truncate)\b"), "deletes rows"),
)
KNOWN_SAFE = (
    (re.compile(r"^create (temporary |temp |unlogged )?table\b"), "the old release does not know the table"),
    (re.compile(r"^create index\b"), "an index changes no answer and refuses no row"),
    (re.compile(r"^drop index\b"), "what is found is the same without it"),
    (re.compile(r"^create (view|materialized view)\b"), "the old release does not know the view"),
    (re.compile(r"^create (sequence|type|extension)\b"), "nothing that is there uses it"),
    (re.compile(r"^alter table .* alter (column )?\S+ drop not null\b"), "it allows more rows"),
    (re.compile(r"^alter table .* alter (column )?\S+ set default\b"), "given values stay as they are"),
    (re.compile(r"^(insert into|update)\b"), "it changes rows, not which rows are allowed"),
    (re.compile(r"^(comment on|analyze|vacuum)\b"), "it changes no answer"),
    (re.compile(r"^(begin|commit|savepoint|release|set local|set lock_timeout)\b"), "it brackets others"),
)
"""Statements that no release before them can notice, with the reasons."""

CONDITIONS = re.compile(r"\b(unique|check|generated|primary key|exclude)\b")
UNKNOWN = "is not known to leave the release before alone; --allow-unknown runs it all the same"
ADDS_COLUMN = re.compile(r"^alter table .* add (column )?(?!constraint\b)(?P<column>.*)$")
CREATES_TABLE = re.compile(r"^create (?:temporary |temp )?table (?:if not exists )?(?P<name>[\w.\"]+)")
NAMES_TABLE = re.compile(
    r"^(?:alter table|drop table|create unique index .*? on|delete from)"
    r" (?:if exists |only )*(?P<name>[\w.\"]+)",
)


@dataclass(frozen=True, slots=True)
class Revision:
    """A migration: its id, its kind (`expand` or `contract`), and the statements it runs."""

    id: str
    kind: str
    summary: str
    sql: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """The revisions that a store has (`applied`, oldest first), and those a release would still run."""

    applied: tuple[Revision, ...]
    head: str | None
    revisions: tuple[Revision, ...]

    @property
    def current(self) -> str | None:
        """The store's revision; None if there is no store yet."""
        return self.applied[-1].id if self.applied else None

    def expanding(self) -> tuple[Revision, ...]:
        """The revisions that may run while the old release serves: those before the first contraction.

        On an empty machine that is the whole way: there is nothing yet that could break.
        """
        kinds = [revision.kind for revision in self.revisions]
        if self.current is not None and CONTRACT in kinds:
            return self.revisions[: kinds.index(CONTRACT)]
        return self.revisions

    def above(self, revision: str | None) -> tuple[Revision, ...]:
        """The applied revisions after this one, newest first; all of them if it was never applied."""
        ids = [applied.id for applied in self.applied]
        kept = ids.index(revision) + 1 if revision in ids else 0
        return self.applied[kept:][::-1]


def read_plan(standing: Mapping[str, object], pending: Iterable[Mapping[str, object]]) -> MigrationPlan:
    """The plan as the service's own commands print it: one object, and one object for each revision."""
    applied = standing.get("applied")
    return MigrationPlan(
        applied=tuple(map(_revision, applied)) if isinstance(applied, list) else (),
        head=None if standing.get("head") is None else str(standing["head"]),
        revisions=tuple(map(_revision, pending)),
    )


def _revision(row: Mapping[str, object]) -> Revision:
    return Revision(
        id=str(row["revision"]),
        kind=str(row.get("kind", "")),
        summary=str(row.get("message", "")),
        sql=_statements(str(row.get("sql", ""))),
    )


def problems(revision: Revision, *, allow_unknown: bool = False) -> list[str]:
    """List the statements that would break the release before this revision; empty if it only expands.

    So does a statement of which nobody knows, unless `allow_unknown`.
    """
    if revision.kind not in (EXPAND, CONTRACT):
        return [f"revision {revision.id} says neither expand nor contract"]
    if revision.kind == CONTRACT:
        return []
    own = {
        found["name"].strip('"')
        for statement in revision.sql
        if (found := CREATES_TABLE.match(statement.lower()))
    }
    return [
        f"revision {revision.id} says expand but {problem}: {statement[:120]}"
        for statement in revision.sql
        if (problem := _breaks(statement.lower(), own)) and not (allow_unknown and problem == UNKNOWN)
    ]


def lint(revisions: Iterable[Revision], *, allow_unknown: bool = False) -> list[str]:
    """List the problems of these revisions."""
    return [problem for revision in revisions for problem in problems(revision, allow_unknown=allow_unknown)]


def _breaks(statement: str, own: set[str]) -> str:
    """Say how a lower-case statement breaks an older release; empty if it does not. `own` tables are new."""
    if BOOKKEEPING.search(statement):
        return ""
    table = NAMES_TABLE.match(statement)
    if table and table["name"].strip('"') in own:
        return ""
    for pattern, sentence in BREAKING:
        if found := pattern.match(statement):
            return sentence.format(*found.groups())
    if added := ADDS_COLUMN.match(statement):
        column = added["column"]
        if re.search(r"\bnot null\b", column) and not re.search(r"\bdefault\b", column):
            return "adds a NOT NULL column without a default"
        return UNKNOWN if CONDITIONS.search(column) else ""
    return "" if any(pattern.match(statement) for pattern, _ in KNOWN_SAFE) else UNKNOWN


def _statements(text: str) -> tuple[str, ...]:
    """Single statements on one line each, without comments."""
    plain = re.sub(r"--[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    parts = (" ".join(part.split()) for part in plain.split(";"))
    return tuple(part for part in parts if part)
