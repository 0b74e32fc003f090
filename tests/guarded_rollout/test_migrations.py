import pytest

from guarded_rollout.checks.migrations import MigrationPlan, Revision, lint, read_plan
from guarded_rollout.checks.schema import plan_for
from guarded_rollout.errors import CommandError
from guarded_rollout.host.site import Site
from guarded_rollout.rollout.steps.restore_schema import contracted
from tests.guarded_rollout.advicekit import production
from tests.guarded_rollout.backups import make_release


def expand(*sql: str) -> Revision:
    return Revision("0007", "expand", "", sql)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE image",
        "drop table if exists image",
        "DROP VIEW latest",
        "ALTER TABLE image DROP COLUMN note",
        "ALTER TABLE image DROP note",
        "ALTER TABLE image RENAME COLUMN note TO remark",
        "ALTER TABLE image RENAME TO picture",
        "ALTER TABLE image ALTER COLUMN value TYPE INTEGER",
        "ALTER TABLE image ALTER COLUMN value SET DATA TYPE SMALLINT",
        "ALTER TABLE image ALTER COLUMN note SET NOT NULL",
        "ALTER TABLE image ADD COLUMN note TEXT NOT NULL",
        "ALTER TABLE image ADD CONSTRAINT one UNIQUE (value)",
        "CREATE UNIQUE INDEX one ON image (value)",
        "DELETE FROM image",
        "TRUNCATE image",
    ],
)
def test_an_expand_revision_may_not_break_the_release_before(statement):
    (problem,) = lint([expand("CREATE TABLE other (id INTEGER)", statement)])
    assert problem.startswith("revision 0007 says expand but")
    assert statement.lower() in problem.lower()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER refuse BEFORE INSERT ON image BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE OR REPLACE VIEW latest AS SELECT 1",
        "ALTER TABLE image ADD COLUMN note TEXT DEFAULT '' UNIQUE",
        "ALTER TABLE image ADD COLUMN note INT DEFAULT 1 CHECK (note > value)",
        "ALTER TABLE image ENABLE ROW LEVEL SECURITY",
        "REINDEX image",
    ],
)
def test_what_nobody_knows_to_be_safe_is_asked_for(statement):
    problems = lint([expand(statement)])
    assert "is not known to leave the release before alone; --allow-unknown" in problems[0]
    assert lint([expand(statement)], allow_unknown=True) == []
    breaking = expand(statement, "DROP TABLE image")
    assert len(lint([breaking], allow_unknown=True)) == 1, "what is known to break is refused all the same"


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE lookup (id TEXT NOT NULL PRIMARY KEY)",
        "CREATE INDEX value_band ON image (value)",
        "DROP INDEX value_band",
        "ALTER TABLE image ADD COLUMN note TEXT",
        "ALTER TABLE image ADD COLUMN note TEXT NOT NULL DEFAULT ''",
        "UPDATE image SET note = 'not null' WHERE note IS NULL",
        "INSERT INTO meta VALUES ('drop table image', 1)",
        "UPDATE alembic_version SET version_num='0007' WHERE alembic_version.version_num = '0006'",
        "DELETE FROM alembic_version WHERE version_num = '0006'",
        "ALTER TABLE image ALTER COLUMN note DROP NOT NULL",
    ],
)
def test_what_only_adds_is_let_through(statement):
    assert lint([expand(statement)]) == []


def test_a_table_made_in_the_same_revision_may_be_shaped_freely():
    assert (
        lint([expand("CREATE TABLE fresh (a INT)", "CREATE UNIQUE INDEX u ON fresh (a)", "DROP TABLE fresh")])
        == []
    )


def test_a_comment_hides_nothing_and_several_statements_in_one_text_are_all_read():
    sql = "-- harmless\nCREATE TABLE a (b INT);\nDROP /* x */ TABLE image;"
    pending = [{"revision": "0007", "kind": "expand", "message": "", "sql": sql}]
    plan = read_plan({"head": "0007", "applied": [{"revision": "0006", "kind": "expand"}]}, pending)
    assert (plan.current, plan.head) == ("0006", "0007")
    (problem,) = lint(plan.revisions)
    assert "drops table" in problem


def test_a_revision_that_says_neither_is_refused_and_one_that_contracts_waits():
    assert lint([Revision("0008", "", "", ())]) == ["revision 0008 says neither expand nor contract"]
    contract = Revision("0008", "contract", "", ("DROP TABLE image",))
    assert lint([contract]) == []
    plan = MigrationPlan((expand(),), "0009", (expand(), contract, Revision("0009", "expand", "", ())))
    assert [revision.id for revision in plan.expanding()] == ["0007"]


def test_an_empty_store_takes_the_whole_way():
    contract = Revision("0008", "contract", "", ("DROP TABLE image",))
    assert MigrationPlan((), "0008", (expand(), contract)).expanding() == (expand(), contract)


def test_what_a_store_has_beyond_a_revision_is_told_newest_first():
    first, second, third = (Revision(name, "expand", "", ()) for name in ("0001", "0002", "0003"))
    plan = MigrationPlan((first, second, third), "0003", ())
    assert plan.above("0001") == (third, second)
    assert plan.above("0003") == ()
    assert plan.above(None) == (third, second, first)
    assert MigrationPlan((), "0003", ()).above("0001") == ()


def test_contracted_revisions_are_taken_back_for_a_release_that_needs_what_they_took():
    first, expanded = Revision("0001", "expand", "", ()), Revision("0002", "expand", "", ())
    taken = Revision("0003", "contract", "", ())
    assert contracted(MigrationPlan((first, expanded, taken), "0003", ()), "0001") == (taken, expanded)
    assert contracted(MigrationPlan((first, expanded), "0002", ()), "0001") == ()
    assert contracted(MigrationPlan((first, expanded, taken), "0003", ()), "0003") == ()


@pytest.mark.parametrize("hangs", ["schema_current", "schema_plan"])
def test_a_release_that_hangs_when_it_is_asked_for_its_schema_is_not_waited_for(hangs: str, tmp_path) -> None:
    says = {"schema_current": "print('{}')", "schema_plan": "pass"} | {hangs: "import time; time.sleep(600)"}
    commands = "".join(f'{name} = ["{{python}}", "-c", "{code}"]\n' for name, code in says.items())
    more = f"[environments.production.checks]\nstart_seconds = 0.5\n[service.commands]\n{commands}"
    site = Site(production(tmp_path, more))
    with pytest.raises(CommandError, match=f"{hangs}.* failed: it did not end within 0.5 s"):
        plan_for(site, make_release(tmp_path / "releases"))
