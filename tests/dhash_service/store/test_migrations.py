"""The schema's way up and down, on both databases, with rows in place."""

import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from dhash_service.errors import MigrationError, StoreError, StoreLossError, StoreSchemaError
from dhash_service.facts import Sha256, Source
from dhash_service.store import migrate
from dhash_service.store.effects import destructive, widens
from dhash_service.store.engine import connect, reading, writing
from dhash_service.store.migrate import MIGRATIONS, Migrations, downgrade, upgrade
from dhash_service.store.plan import plan
from dhash_service.store.schema import KNOWN, Kind, applied, current, kind_of, require_fit
from dhash_service.store.store import Store
from dhash_service.store.tables import metadata
from tests.dhash_service.store.databases import sqlite_file
from tests.dhash_service.store.facts import FAST, NEW, add, decision, in_search, picture, queued

OpenStore = Callable[..., Store]

BLUEPRINT = '''
"""{message}"""
import sqlalchemy as sa
from alembic import op
revision = "{revision}"
down_revision = "{below}"
kind = "{kind}"

def upgrade():
{up}

def downgrade():
{down}
'''


@pytest.fixture
def store_url(empty_url: str) -> str:
    """Here nothing has been migrated yet."""
    return empty_url


@pytest.fixture
def extended(tmp_path: Path) -> Callable[..., Migrations]:
    """This release's migrations and more after them: what the next release would bring."""
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    number = len(KNOWN)

    def extend(kind: str, up: str, down: str = "pass") -> Migrations:
        nonlocal number
        number += 1
        module = BLUEPRINT.format(
            message=f"revision {number}",
            revision=f"{number:04}",
            below=f"{number - 1:04}",
            kind=kind,
            up=textwrap.indent(textwrap.dedent(up).strip(), "    "),
            down=textwrap.indent(textwrap.dedent(down).strip(), "    "),
        )
        (folder / "versions" / f"{number:04}_more.py").write_text(module)
        return Migrations(folder)

    return extend


ADD_NOTE = 'op.add_column("images", sa.Column("note", sa.Text))'
DROP_NOTE = 'op.drop_column("images", "note")'
DROP_QUALITY = 'op.drop_column("lookups", "quality")'

EACH = [name for name, _ in KNOWN]
HEAD = EACH[-1]
NEXT, NEXT_BUT_ONE = (f"{len(KNOWN) + more:04}" for more in (1, 2))
"""The revisions of `extended`."""


def revisions(url: str) -> list[str]:
    return [revision.id for revision in current(url)]


def test_the_revisions_this_release_says_it_knows_are_those_it_has() -> None:
    assert [(script.id, script.kind) for script in Migrations().scripts] == list(KNOWN)


def test_every_revision_keeps_its_word() -> None:
    assert [planned.findings for planned in plan("sqlite:///none.db", everything=True)] == [[] for _ in EACH]


def test_the_migrations_make_the_tables_that_the_code_uses(store_url: str) -> None:
    upgrade(store_url, release="r1")
    engine = connect(store_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_up_down_and_up_again_with_rows_in_place(store_url: str, open_store: OpenStore) -> None:
    store = open_store()
    first = add(store, "a")
    waiting = queued(store, "b", first, source=Source(Sha256("cd" * 32), 2, (0, 0, 10, 10)))
    store.verdicts.record(decision(waiting)).result(10)
    before = in_search(store)
    store.close()

    assert [gone.id for gone in downgrade(store_url, "0001", accept_loss=True)] == EACH[:0:-1]
    assert revisions(store_url) == ["0001"]
    with pytest.raises(StoreSchemaError, match="needs 0002, 0003"):
        open_store(migrate=False)
    assert [done.id for done in upgrade(store_url, release="r2")] == EACH[1:]

    store = open_store("r2", migrate=False)
    assert in_search(store) == before
    lookup = store.lookup(waiting)
    assert lookup is not None
    assert (lookup.image, lookup.source) == (picture("b").id, None)
    assert len(store.verdicts.about(waiting)) == 1
    store.close()

    assert [gone.id for gone in downgrade(store_url, "base", accept_loss=True)] == EACH[::-1]
    assert revisions(store_url) == []
    engine = connect(store_url)
    assert set(sa.inspect(engine).get_table_names()) <= {"alembic_version"}
    engine.dispose()
    upgrade(store_url, release="r3")
    assert open_store("r3", migrate=False).count() == 0


def test_a_downgrade_that_would_lose_data_changes_nothing_and_names_it(
    store_url: str, open_store: OpenStore
) -> None:
    store = open_store()
    store.add_image(picture("a"), NEW, Source(Sha256("cd" * 32), 2, (0, 0, 10, 10))).result(10)
    store.close()
    with pytest.raises(StoreLossError, match=r"lookups\.document \(1 rows\)"):
        downgrade(store_url, "0001")
    with pytest.raises(StoreLossError, match=r"table images \(1 rows\)"):
        downgrade(store_url, "base")
    assert revisions(store_url) == EACH
    assert open_store(migrate=False).count() == 1


def test_a_downgrade_that_loses_nothing_needs_no_leave(store_url: str, open_store: OpenStore) -> None:
    store = open_store()
    add(store, "a")
    store.close()
    assert [gone.id for gone in downgrade(store_url, "0001")] == EACH[:0:-1]


def test_a_failed_migration_leaves_the_last_good_revision(
    store_url: str, open_store: OpenStore, extended: Callable[..., Migrations]
) -> None:
    store = open_store()
    add(store, "a")
    store.close()
    extended("expand", ADD_NOTE, DROP_NOTE)
    broken = extended(
        "expand",
        """
        op.create_table("halfway", sa.Column("id", sa.Integer, primary_key=True))
        op.execute("INSERT INTO images (id) VALUES (NULL)")
        """,
    )
    with pytest.raises(MigrationError, match=r"(?i)not.null constraint"):
        upgrade(store_url, release="r2", migrations=broken)
    assert revisions(store_url) == [*EACH, NEXT]
    engine = connect(store_url)
    with reading(engine) as connection:
        assert not sa.inspect(connection).has_table("halfway")
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == NEXT
    engine.dispose()
    assert open_store(migrate=False).count() == 1


def test_a_failed_downgrade_leaves_the_last_good_revision(
    store_url: str, open_store: OpenStore, extended: Callable[..., Migrations]
) -> None:
    migrations = extended("expand", ADD_NOTE, DROP_NOTE + '\nop.execute("SELECT 1 FROM nowhere")')
    upgrade(store_url, release="r2", migrations=migrations)
    with pytest.raises((StoreError, sa.exc.DBAPIError)):
        downgrade(store_url, HEAD, migrations=migrations)
    assert revisions(store_url) == [*EACH, NEXT]
    engine = connect(store_url)
    assert "note" in {column["name"] for column in sa.inspect(engine).get_columns("images")}
    engine.dispose()


def test_many_upgrade_at_once_and_each_revision_is_applied_once(store_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: upgrade(store_url, release="r1"), range(4)))
    assert sorted(revision.id for each in done for revision in each) == EACH
    assert revisions(store_url) == EACH


def test_the_old_release_goes_on_after_the_new_one_has_expanded(
    store_url: str, open_store: OpenStore, extended: Callable[..., Migrations]
) -> None:
    old = open_store("old")
    first = add(old, "a")
    upgrade(store_url, release="new", expand_only=True, migrations=extended("expand", ADD_NOTE, DROP_NOTE))
    assert revisions(store_url)[-1] == NEXT
    add(old, "b")
    again = open_store("old", migrate=False)
    assert again.count() == 2
    assert again.image(first.id) == first


def test_a_release_refuses_a_store_from_which_a_newer_one_has_taken_something(
    store_url: str, open_store: OpenStore, extended: Callable[..., Migrations]
) -> None:
    upgrade(store_url, release="new", migrations=extended("contract", DROP_QUALITY))
    with pytest.raises(StoreSchemaError, match=f"{NEXT} of a newer release took away"):
        open_store("old", migrate=False)


def test_a_release_does_not_wait_for_its_own_contracting_revision() -> None:
    class Stands:
        id, kind, message = "0001", Kind.EXPAND, ""

    require_fit([Stands()], known=[("0001", Kind.EXPAND), ("0002", Kind.CONTRACT)])  # type: ignore[list-item]


def test_expanding_only_stops_before_what_contracts(
    store_url: str, extended: Callable[..., Migrations]
) -> None:
    extended("expand", ADD_NOTE, DROP_NOTE)
    migrations = extended("contract", DROP_QUALITY)
    assert [done.id for done in upgrade(store_url, release="r", expand_only=True, migrations=migrations)] == [
        *EACH,
        NEXT,
    ]
    assert [done.id for done in upgrade(store_url, release="r", migrations=migrations)] == [NEXT_BUT_ONE]


def test_an_expanding_revision_behind_a_contracting_one_is_refused_and_planned_as_such(
    store_url: str, extended: Callable[..., Migrations]
) -> None:
    upgrade(store_url, release="r")
    extended("contract", DROP_QUALITY)
    migrations = extended("expand", ADD_NOTE, DROP_NOTE)
    with pytest.raises(StoreSchemaError, match=f"{NEXT_BUT_ONE} stands behind {NEXT}"):
        upgrade(store_url, release="r", expand_only=True, migrations=migrations)
    planned = plan(store_url, migrations=migrations)
    assert [each.id for each in planned] == [NEXT, NEXT_BUT_ONE]
    assert planned[0].findings == []
    assert f"stands behind {NEXT}" in planned[1].findings[0]


def test_a_downgrade_leaves_a_newer_releases_revision_to_that_release(
    store_url: str, extended: Callable[..., Migrations]
) -> None:
    upgrade(store_url, release="new", migrations=extended("expand", ADD_NOTE, DROP_NOTE))
    with pytest.raises(StoreSchemaError, match=f"{NEXT} came with release new"):
        downgrade(store_url, "0001")


def test_an_unknown_revision_is_named(store_url: str) -> None:
    with pytest.raises(StoreSchemaError, match="knows no revision 9999"):
        upgrade(store_url, "9999", release="r1")


REBUILT = """
with op.batch_alter_table("images") as batch:
    batch.alter_column("format", {change})
"""


@pytest.mark.parametrize(
    ("up", "finding"),
    [
        ('op.drop_table("thumbnails")', "drops or renames table thumbnails"),
        ('op.rename_table("thumbnails", "pictures")', "drops or renames table thumbnails"),
        ('op.drop_column("lookups", "quality")', "drops or renames column lookups.quality"),
        ('op.execute("ALTER TABLE lookups RENAME COLUMN known TO seen")', "column lookups.known"),
        (REBUILT.format(change="type_=sa.Integer"), "changes images.format from TEXT to INTEGER"),
        (
            'op.add_column("images", sa.Column("owner", sa.Text, nullable=False))',
            "adds images.owner NOT NULL without a default",
        ),
        (
            'with op.batch_alter_table("lookups") as batch:\n'
            '    batch.alter_column("page", existing_type=sa.Integer, nullable=False)',
            "makes lookups.page NOT NULL",
        ),
        (
            'op.create_index("one", "decisions", ["lookup_id"], unique=True)',
            "adds to decisions the rule UNIQUE ['lookup_id']",
        ),
        ('op.execute("DELETE FROM decisions")', "says DELETE FROM"),
        (
            'if op.get_context().dialect.name == "postgresql":\n'
            '    op.execute("ALTER TABLE images ALTER COLUMN size TYPE smallint")',
            "says ALTER COLUMN SIZE TYPE",
        ),
    ],
)
def test_a_revision_that_says_it_expands_and_does_not_is_refused(
    up: str, finding: str, extended: Callable[..., Migrations], tmp_path: Path
) -> None:
    url = sqlite_file(tmp_path / "dhash.db")
    migrations = extended("expand", up)
    (planned,) = plan(url, migrations=migrations)
    assert any(finding in found for found in planned.findings)
    with pytest.raises(StoreSchemaError, match="says that it expands, but"):
        upgrade(url, release="r", expand_only=True, migrations=migrations)
    assert revisions(url) == EACH


@pytest.mark.parametrize(
    "up",
    [
        ADD_NOTE,
        'op.add_column("images", sa.Column("n", sa.Integer, nullable=False, server_default="0"))',
        'op.create_table("albums", sa.Column("id", sa.Integer, primary_key=True))',
        'op.create_index("ix_images_format", "images", ["format"])',
    ],
)
def test_a_revision_that_only_adds_passes(
    up: str, extended: Callable[..., Migrations], tmp_path: Path
) -> None:
    (planned,) = plan(sqlite_file(tmp_path / "dhash.db"), migrations=extended("expand", up))
    assert planned.findings == []


def test_a_contracting_revision_that_leaves_rows_without_parents_is_taken_back(
    tmp_path: Path, extended: Callable[..., Migrations]
) -> None:
    url = f"sqlite:///{tmp_path / 'dhash.db'}"
    with Store.open(url, release="r", algorithm=FAST, migrate=True) as store:
        add(store, "a")
    migrations = extended("contract", 'op.execute("DELETE FROM images")')
    with pytest.raises(StoreSchemaError, match="without their parents"):
        upgrade(url, release="r", migrations=migrations)
    with Store.open(url, release="r", algorithm=FAST) as store:
        assert store.count() == 1


def test_types_that_hold_more_are_no_change() -> None:
    assert widens("INTEGER", "BIGINT")
    assert widens("VARCHAR(10)", "VARCHAR(20)")
    assert not widens("VARCHAR(20)", "VARCHAR(10)")
    assert not widens("BIGINT", "INTEGER")
    assert destructive("update images set size = 0") == ["says UPDATE IMAGES SET"]


def test_the_plan_shows_the_statements_for_the_store_s_own_database(store_url: str) -> None:
    planned = plan(store_url)
    assert [each.id for each in planned] == EACH
    kind = "UUID" if store_url.startswith("postgresql") else "BLOB"
    assert f"id {kind} NOT NULL" in planned[0].sql
    assert revisions(store_url) == []


def test_the_plan_shows_how_sqlite_rebuilds_a_table(
    tmp_path: Path, extended: Callable[..., Migrations]
) -> None:
    migrations = extended("contract", REBUILT.format(change="type_=sa.Integer"))
    planned = plan(f"sqlite:///{tmp_path / 'dhash.db'}", migrations=migrations)
    assert "DROP TABLE images;" in planned[-1].sql
    assert "ALTER TABLE _alembic_tmp_images RENAME TO images;" in planned[-1].sql
    assert planned[-1].findings == []


def test_a_store_remembers_which_release_brought_each_revision(store_url: str) -> None:
    upgrade(store_url, "0001", release="r1")
    upgrade(store_url, release="r2")
    engine = connect(store_url)
    with writing(engine) as connection:
        assert [(each.id, each.release) for each in applied(connection)] == [
            ("0001", "r1"),
            *((name, "r2") for name in EACH[1:]),
        ]
    engine.dispose()


def test_a_step_waits_for_a_long_reader_without_stopping_the_others(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, extended: Callable[..., Migrations]
) -> None:
    monkeypatch.setattr(migrate, "BRIEFLY", 0.2)
    migrations = extended("expand", 'op.add_column("lookups", sa.Column("remark", sa.Text))')
    with Store.open(postgres_url, release="r1", algorithm=FAST, migrate=True) as store:
        waiting = queued(store, "b", add(store, "a"))
        with psycopg.connect(postgres_url) as copying, ThreadPoolExecutor(1) as threads:
            copying.execute("LOCK TABLE lookups IN ACCESS SHARE MODE")
            upgrading = threads.submit(upgrade, postgres_url, release="r2", migrations=migrations)
            slowest = 0.0
            began = time.monotonic()
            while time.monotonic() - began < 1.5:
                asked = time.monotonic()
                store.queue.status()
                slowest = max(slowest, time.monotonic() - asked)
            assert not upgrading.done()
            assert slowest < 2  # who waited for the step would wait until the reader is done
            copying.rollback()
            assert [done.id for done in upgrading.result(20)] == [NEXT]
        assert store.lookup(waiting) is not None


def test_a_kind_that_this_release_does_not_know_may_take_anything_away() -> None:
    assert (kind_of("expand"), kind_of("contract"), kind_of("rebuild")) == (
        Kind.EXPAND,
        Kind.CONTRACT,
        Kind.CONTRACT,
    )


def test_taking_down_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreSchemaError, match="no store"):
        downgrade(f"sqlite:///{tmp_path / 'dhash.db'}", "base")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_has_every_revision_is_left_alone_without_loading_them(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(store_url, release="r1")
    monkeypatch.setattr(migrate, "this_release", lambda: pytest.fail("the migrations were loaded"))
    assert upgrade(store_url, release="r2", expand_only=True) == []
    assert {revision.release for revision in current(store_url)} == {"r1"}


def test_snapshots_and_merges_start_without_alembic() -> None:
    modules = "dhash_service.store.snapshot, dhash_service.store.merge, dhash_service.store.migrate"
    told = f"import sys, {modules}; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0
