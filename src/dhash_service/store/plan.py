"""The plan of an upgrade: each pending revision with its SQL, and whether it keeps its word."""

from collections.abc import Sequence
from dataclasses import dataclass

from dhash_service.store.engine import parse_url
from dhash_service.store.migrate import Migrations, broken_word, known_part, this_release
from dhash_service.store.schema import Kind, Revision, current


@dataclass(frozen=True, slots=True)
class Planned(Revision):
    """A revision, the statements it is, and what it would break although it says that it expands."""

    sql: str
    findings: Sequence[str]


def plan(url: str, *, everything: bool = False, migrations: Migrations | None = None) -> list[Planned]:
    """The revisions that an upgrade would apply, in order; `everything`: those already applied too."""
    migrations = migrations or this_release()
    had = 0 if everything else len(known_part(current(url), migrations))
    dialect = parse_url(url).get_backend_name()
    contracting = ""
    planned = []
    for script in migrations.scripts[had:]:
        findings = broken_word(migrations, script)
        if script.kind is Kind.CONTRACT:
            contracting = contracting or script.id
        elif contracting and not everything:
            findings.append(f"stands behind {contracting}, which contracts, so it cannot go first")
        planned.append(
            Planned(script.id, script.kind, script.message, migrations.sql(script, dialect), findings)
        )
    return planned
