"""The whole way with a store on PostgreSQL: deploy, migrate, verify, roll back, merge, quarantine."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from guarded_rollout.checks.restore_rehearsal import rehearse_restore
from guarded_rollout.checks.schema import revision_of
from guarded_rollout.errors import ExactUnsupportedError, RolledBackError
from guarded_rollout.rollout.steps.backup import take_backup
from guarded_rollout.rollout.steps.base import Data
from tests.dhash_service.store.databases import fresh_database, postgres_server
from tests.guarded_rollout.rolloutkit import last
from tests.guarded_rollout.sandbox import Sandbox
from tests.guarded_rollout.servicekit import found, migration, promote, roll_back, submit


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres_server(durable=False) as server, fresh_database(server) as database:
        yield database


@pytest.fixture(scope="module")
def _on_postgres(url: str) -> Iterator[Sandbox]:
    made = Sandbox(None)
    try:
        configure(made, url)
        made.deploy()
        yield made
    finally:
        made.close()


@pytest.fixture
def dhash(_on_postgres: Sandbox, url: str) -> Iterator[Sandbox]:
    configure(_on_postgres, url)
    yield _on_postgres
    _on_postgres.restore_source()


def configure(sandbox: Sandbox, url: str) -> None:
    sandbox.configure()
    file = sandbox.folder / "rollout.toml"
    table = "[environments.production]\n"
    file.write_text(file.read_text().replace(table, f"{table}store = {json.dumps(url)}\n"))


def lose(url: str, sent: tuple[str, str]) -> None:
    """What a bad release could do to an image, past every rule of the service."""
    with psycopg.connect(url) as connection:
        digest = bytes.fromhex(sent[0])
        row = connection.execute("SELECT id FROM images WHERE sha256 = %s", [digest]).fetchone()
        assert row
        connection.execute("SET session_replication_role = replica")  # foreign keys would hinder us
        for table, column in (("fingerprints", "image_id"), ("thumbnails", "image_id"), ("images", "id")):
            assert connection.execute(
                f"DELETE FROM {table} WHERE {column} = %s",  # type: ignore[arg-type]
                row,
            ).rowcount


def test_what_a_bad_release_lost_comes_back_and_what_was_written_since_stays(
    dhash: Sandbox, url: str
) -> None:
    old = dhash.site.serving()
    before = submit(dhash, "before the backup")
    backup = take_backup(dhash.site).entry.path
    dhash.deploy("2.1.0")
    after = submit(dhash, "after the deployment")
    lose(url, before)
    assert not found(dhash, before)
    roll_back(dhash, old, backup=str(backup), data=Data.MERGE)
    assert dhash.served_by() == old.id
    assert found(dhash, before)
    assert found(dhash, after)


def test_a_backup_is_rehearsed_in_a_scratch_folder_and_exact_is_refused_before_anything_changes(
    dhash: Sandbox,
) -> None:
    old = dhash.site.serving()
    submit(dhash, "in the backup")
    backup = take_backup(dhash.site).entry.path
    rehearse_restore(backup, dhash.site)
    after = submit(dhash, "since then")
    with pytest.raises(ExactUnsupportedError, match="database server"):
        roll_back(dhash, old, backup=str(backup), data=Data.EXACT)
    assert dhash.served_by() == old.id
    assert found(dhash, after)


def test_the_schema_expands_contracts_when_accepted_and_goes_back_with_the_release(dhash: Sandbox) -> None:
    old = dhash.site.serving()
    before = revision_of(dhash.site, old)
    table = '"more", sa.Column("id", sa.Text, primary_key=True)'
    migration("expand", f"    op.create_table({table})", down='    op.drop_table("more")')(dhash)
    index = '"ix_lookups_document_id"'
    create = f"    op.create_index({index}, 'lookups', ['document', 'id'])"
    migration("contract", f"    op.drop_index({index}, 'lookups')", down=create)(dhash)
    dhash.deploy("2.2.0", migrate=True)
    promote(dhash)
    assert len(last(dhash).last("finish").evidence["contracted"]) == 1
    sent = submit(dhash, "with the other schema")
    roll_back(dhash, old)
    assert len(last(dhash).last("schema").evidence["taken_back"]) == 2
    assert revision_of(dhash.site, old) == before
    assert found(dhash, sent)


def test_a_migration_that_fails_half_way_leaves_the_schema_where_it_was(dhash: Sandbox) -> None:
    old = dhash.site.serving()
    before = revision_of(dhash.site, old)
    sent = submit(dhash, "a row that is there")
    migration(
        "expand",
        '    op.create_table("more", sa.Column("id", sa.Integer, sa.CheckConstraint("id < 0")))\n'
        '    op.execute("INSERT INTO more SELECT 1 FROM images")',
    )(dhash)
    with pytest.raises(RolledBackError, match="check constraint"):
        dhash.deploy("2.3.0", migrate=True)
    assert revision_of(dhash.site, old) == before
    assert dhash.served_by() == old.id
    assert found(dhash, sent)


def test_what_a_bad_release_wrote_leaves_search_and_is_listed(dhash: Sandbox) -> None:
    old = dhash.site.serving()
    earlier = submit(dhash, "written by the good release")
    dhash.deploy("2.4.0")
    sent = submit(dhash, "written by the bad release")
    roll_back(dhash, old, quarantine=True)
    told = last(dhash).last("quarantine").evidence
    assert sent[0] in Path(told["list"]).read_text().splitlines()
    assert found(dhash, earlier)
    assert not found(dhash, sent)
