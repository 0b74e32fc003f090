"""The whole way with the project's own service: what it acknowledged, found again after everything."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dhash_service.checks.drawing import picture as draw
from dhash_service.store.store import Store
from guarded_rollout.checks.schema import revision_of
from guarded_rollout.rollout.engine import Request
from guarded_rollout.rollout.steps.backup import take_backup
from guarded_rollout.rollout.steps.base import Data
from tests.dhash_service.ways import open_ways
from tests.dhash_service.web.conftest import new_token
from tests.guarded_rollout.rolloutkit import last
from tests.guarded_rollout.servicekit import found, migration, promote, roll_back, submit

pytestmark = pytest.mark.timeout(400)  # each rolls the real service out and back several times


def set_variable(file: Path, line: str) -> None:
    """Write one more variable of the service into a rollout.toml."""
    text, table = file.read_text(), "\n[service.variables]\n"
    assert table in text
    file.write_text(text.replace(table, f"{table}{line}\n", 1))


def test_data_is_merged_after_a_bad_release_lost_some_and_exact_takes_it_back_to_the_backup(dhash):
    old = dhash.site.serving()
    before = submit(dhash, "before the backup")
    backup = take_backup(dhash.site).entry.path
    dhash.deploy("1.7.0")
    after = submit(dhash, "after the deployment")
    roll_back(dhash, old, backup=str(backup), data=Data.MERGE)
    assert dhash.served_by() == old.id
    assert found(dhash, before)
    assert found(dhash, after)
    roll_back(dhash, old, backup=str(backup), data=Data.EXACT)
    assert found(dhash, before)
    assert not found(dhash, after)


def test_an_erased_picture_comes_back_by_no_rollback(dhash):
    """Not by a merge and not by the backup's exact data; and the answer says how long backups hold it."""
    file = dhash.folder / "rollout.toml"
    set_variable(file, 'DHASH_KEEP_ORIGINALS = "true"')
    release = dhash.deploy("1.6.9").release
    promote(dhash)
    sha256, fingerprint = submit(dhash, "to be erased")
    public = dhash.site.public()

    def ask(method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"} if body else {}
        answer = public.ask(method, path, body=body, headers=headers)
        return answer.status, answer.body

    [id] = [
        one["id"]
        for one in public.ask("GET", f"/api/dhash/search?hash={fingerprint}&radius=0").json()["results"]
        if one["sha256"] == sha256
    ]
    known = (id, fingerprint, "no file's name")
    assert {"by id", "thumbnail", "search", "page's original"} <= open_ways(ask, *known)
    backup = take_backup(dhash.site).entry.path
    with Store.open(dhash.site.store_url, release="test", algorithm=None) as store:
        secret = new_token(store, "eve", "admin")
    headers = {"Authorization": f"Bearer {secret}"}
    told = public.ask("DELETE", f"/api/dhash/{id}?erase=true", headers=headers).json()
    day = datetime.now(UTC) + timedelta(days=1)
    assert f"until {day:%Y-%m-%d} and until 10 newer ones are there" in told["backups"]
    after = submit(dhash, "after the erasure")
    assert open_ways(ask, *known) == set()
    for data in (Data.MERGE, Data.EXACT):
        roll_back(dhash, release, backup=str(backup), data=data)
        assert open_ways(ask, *known) == set(), data
        assert not any(path.name == sha256 for path in dhash.environment.originals.rglob("*"))
        assert found(dhash, after) is (data is Data.MERGE)
    again = public.ask("POST", "/api/dhash", body=draw("to be erased"), headers={"Content-Type": "image/png"})
    assert again.status == 451, again.summary()


@pytest.mark.parametrize("originals", [True, False])
def test_what_a_bad_release_wrote_leaves_search_and_comes_back_by_its_original(dhash, originals):
    if originals:
        file = dhash.folder / "rollout.toml"
        set_variable(file, 'DHASH_KEEP_ORIGINALS = "true"')
    old = dhash.site.serving()
    earlier = submit(dhash, f"written before, {originals}")
    bad = dhash.deploy(f"1.8.{int(originals)}").release
    sent = submit(dhash, f"written by the bad release, {originals}")
    assert found(dhash, sent)
    roll_back(dhash, old, quarantine=True)
    told = last(dhash).last("quarantine").evidence
    assert told["quarantined"] == bad.id
    assert found(dhash, earlier)
    assert found(dhash, sent) is originals
    if not originals:
        listed = Path(told["list"]).read_text().splitlines()
        assert sent[0] in listed
        assert submit(dhash, "written by the bad release, False") == sent
    assert found(dhash, sent)


def test_a_restart_goes_through_the_other_slot(dhash):
    release, slot = dhash.site.serving(), dhash.site.traffic.serving()
    with dhash.engine() as engine:
        engine.deploy(release, Request(command="deploy", operator="test", restart=True))
        engine.promote()
    assert dhash.site.traffic.serving() != slot
    assert dhash.served_by() == release.id


def test_the_schema_expands_now_contracts_when_accepted_and_goes_back_with_the_release(dhash):
    old = dhash.site.serving()
    before = revision_of(dhash.site, old)
    table = '"more", sa.Column("id", sa.Text, primary_key=True)'
    migration("expand", f"    op.create_table({table})", down='    op.drop_table("more")')(dhash)
    index = '"ix_lookups_document_id"'
    create = f"    op.create_index({index}, 'lookups', ['document', 'id'])"
    migration("contract", f"    op.drop_index({index}, 'lookups')", down=create)(dhash)
    dhash.deploy("1.6.0", migrate=True)
    assert dhash.site.answers(dhash.slot_of(old.id)), "the old release lives with the expanded schema"
    with dhash.engine() as engine:
        engine.promote()
    assert len(last(dhash).last("finish").evidence["contracted"]) == 1
    sent = submit(dhash, "after the contraction")
    roll_back(dhash, old)
    assert len(last(dhash).last("schema").evidence["taken_back"]) == 2
    assert revision_of(dhash.site, old) == before
    assert dhash.served_by() == old.id
    assert found(dhash, sent)


def test_changed_settings_wait_for_the_next_start(dhash):
    pids = dhash.pids()
    file = dhash.folder / "rollout.toml"
    set_variable(file, 'DHASH_LOG_LEVEL = "error"')
    dhash.site.ensure()
    assert dhash.pids() == pids
