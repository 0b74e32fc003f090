"""Which migrations may run while two releases share a store: a lint over the SQL itself.

The SQL is what will really run; what a revision says of itself is only a claim. Pure.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
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
ADDS_COLUMN = re.compile(r"^alter table .* add (column )?(?!constraint\b)(?P<column>.*)$")
CREATES_TABLE = re.compile(r"^create (?:temporary |temp )?table (?:if not exists )?(?P<name>[\w.\"]+)")
NAMES_TABLE = re.compile(
    r"^(?:alter table|drop table|create unique index .*? on|delete from)"
    r" (?:if exists |only )*(?P<name>[\w.\"]+)",
)


@dataclass(frozen=True, slots=True)
class Revision:
    """One migration: its id, whether it says `expand` or `contract`, and the statements it runs."""

    id: str
    kind: str
    summary: str
    sql: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """From the store's revision (None: no store yet) to the release's newest."""

    current: str | None
    head: str | None
    revisions: tuple[Revision, ...]

    @property
    def creates(self) -> bool:
        """Whether there is no store yet: then nothing can break."""
        return self.current is None

    def expanding(self) -> tuple[Revision, ...]:
        """What may run while the old release still does: everything before the first contraction."""
        if self.creates:
            return self.revisions
        kinds = [revision.kind for revision in self.revisions]
        return self.revisions[: kinds.index(CONTRACT)] if CONTRACT in kinds else self.revisions


def read_plan(answer: Mapping[str, object]) -> Plan:
    """The plan as the service's own command printed it."""
    listed = answer.get("revisions")
    revisions = listed if isinstance(listed, list) else []
    return Plan(
        current=_text(answer.get("current")),
        head=_text(answer.get("head")),
        revisions=tuple(
            Revision(
                id=str(entry["revision"]),
                kind=str(entry.get("kind", "")),
                summary=str(entry.get("summary", "")),
                sql=_statements(entry.get("sql", ())),
            )
            for entry in revisions
        ),
    )


def problems(revision: Revision) -> list[str]:
    """Why this revision would break the release before it; empty if it only expands."""
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
        if (problem := _breaks(statement.lower(), own))
    ]


def lint(revisions: Iterable[Revision]) -> list[str]:
    """All problems of these revisions."""
    return [problem for revision in revisions for problem in problems(revision)]


def _breaks(statement: str, own: set[str]) -> str:
    """How a lower-case statement breaks an older release; empty if it does not. `own` tables are new."""
    if BOOKKEEPING.search(statement):
        return ""
    table = NAMES_TABLE.match(statement)
    if table and table["name"].strip('"') in own:
        return ""
    for pattern, sentence in BREAKING:
        if found := pattern.match(statement):
            return sentence.format(*found.groups())
    added = ADDS_COLUMN.match(statement)
    if (
        added
        and re.search(r"\bnot null\b", added["column"])
        and not re.search(r"\bdefault\b", added["column"])
    ):
        return "adds a NOT NULL column without a default"
    return ""


def _statements(given: object) -> tuple[str, ...]:
    """Single statements on one line each, without comments."""
    texts: Sequence[object] = given if isinstance(given, list | tuple) else [given]
    plain = (re.sub(r"--[^\n]*|/\*.*?\*/", " ", str(text), flags=re.DOTALL) for text in texts)
    parts = (" ".join(part.split()) for text in plain for part in text.split(";"))
    return tuple(part for part in parts if part)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
