"""What comes back from a backup: release, configuration and data, on the sample service."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from dhash_service.checks.drawing import picture
from guarded_rollout.backup.catalog import SAFETY, BackupEntry, find, latest
from guarded_rollout.backup.verify import snapshot_problem, verify
from guarded_rollout.host.release import remove
from guarded_rollout.rollout.rollback import rollback_steps
from guarded_rollout.rollout.steps.backup import take_backup
from tests.guarded_rollout.sandbox import Sandbox


@pytest.fixture(scope="module")
def serving() -> Iterator[Sandbox]:
    """A project that serves a release."""
    sandbox = Sandbox()
    try:
        sandbox.configure(window_seconds=0.1)
        sandbox.deploy()
        yield sandbox
    finally:
        sandbox.close()


@pytest.fixture
def served(serving: Sandbox) -> Sandbox:
    """With a backup of its own for each test, a picture submitted before it and one after."""
    serving.seeds = [uuid4().hex, uuid4().hex]
    submit(serving, serving.seeds[0])
    serving.backup = take_backup(serving.site).entry.path
    submit(serving, serving.seeds[1])
    return serving


def submit(sandbox: Sandbox, seed: str) -> None:
    assert sandbox.site.public().ask("POST", "/api/dhash", body=picture(seed)).ok


def roll_back(sandbox: Sandbox, *more: str):
    done = sandbox.rollout("rollback", "--backup", str(sandbox.backup), "--force", *more)
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def known(sandbox: Sandbox) -> list[bool]:
    """Whether the picture from before the backup and the one from after it are known: submit them again."""
    return [
        sandbox.site.public().ask("POST", "/api/dhash", body=picture(seed)).status == 200
        for seed in sandbox.seeds
    ]


def safety_copies(sandbox: Sandbox) -> list[BackupEntry]:
    return find(sandbox.environment.backups / SAFETY, "production")


def stop_and_close(sandbox: Sandbox) -> Path:
    """Stop the service and let the store's file hold all of it."""
    store = sandbox.environment.data / "dhash.db"
    sandbox.site.stop(sandbox.site.traffic.serving())
    with closing(sqlite3.connect(store)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return store


def test_data_is_merged_and_what_came_after_the_backup_stays(served):
    before = safety_copies(served)
    done = roll_back(served)
    assert f"Using backup file: {served.backup}" in done.stdout
    assert known(served) == [True, True]
    assert len(safety_copies(served)) == len(before) + 1


def test_exact_data_is_the_backups_and_a_safety_copy_has_the_rest(served):
    roll_back(served, "--data", "exact")
    assert known(served) == [True, False]
    safety = safety_copies(served)[0]
    verify(safety.path)
    assert latest(served.environment.backups, "production").path == served.backup
    served.backup = safety.path
    served.rollout("rollback", "--backup", str(safety.path), "--force")
    assert known(served) == [True, True]


def test_a_damaged_store_is_replaced_and_what_can_be_read_of_it_is_merged(served):
    store = stop_and_close(served)
    content = bytearray(store.read_bytes())
    content[36:40] = (5).to_bytes(4, "big")  # five free pages that are nowhere
    store.write_bytes(content)
    done = roll_back(served)
    kept = max(store.parent.glob("dhash.db.before-*"))  # the newest: a rollout's id sorts by time
    assert kept.read_bytes() == content
    assert f"the damaged store is kept as {kept}" in done.stdout
    assert snapshot_problem(store) is None
    assert known(served) == [True, True]


def test_a_missing_store_is_the_backups(served):
    store = stop_and_close(served)
    for suffix in ("", "-wal", "-shm"):
        store.with_name(store.name + suffix).unlink(missing_ok=True)
    assert "there was no store" in roll_back(served).stdout
    assert known(served) == [True, False]


def test_a_release_whose_folder_is_gone_is_rebuilt_under_its_own_name(served):
    old = served.site.serving()
    served.deploy("2.0.0")
    served.rollout("promote")
    remove(old)
    roll_back(served)
    assert served.served_by() == old.id
    assert served.site.serving().artifact_sha256 == old.artifact_sha256
    assert known(served) == [True, True]


def test_configuration_comes_back_and_the_present_one_is_kept_beside(served):
    gates = served.environment.gates
    before = gates.read_text()
    changed = json.loads(before)
    changed["environments"]["production"]["monitoring"]["window_minutes"] = 7
    gates.write_text(json.dumps(changed))
    roll_back(served, "--data", "none")
    assert json.loads(gates.read_text()) == changed, "not without being asked"
    done = roll_back(served, "--data", "none", "--configuration")
    assert "quality-gates-config.json is the backup's" in done.stdout
    assert '-{"environments"' in done.stdout.partition("Rollback completed")[0], "the diff comes first"
    assert gates.read_text() == before
    [aside] = gates.parent.glob("quality-gates-config.json.before-*")
    assert json.loads(aside.read_text()) == changed


def test_a_file_that_another_environment_shares_is_not_brought_back(served):
    settings = served.folder / "rollout.toml"
    mine = settings.read_text()
    shared = mine + "[review]\napprovals = 3\n"
    settings.write_text(shared)
    other = served.folder / "environments" / "staging"
    other.mkdir()
    try:
        done = roll_back(served, "--data", "none", "--configuration")
        assert "rollout.toml stays as it is: staging would change too" in done.stdout
        assert settings.read_text() == shared
        own = mine.replace("drain_seconds = 3", "drain_seconds = 4")
        settings.write_text(own)
        roll_back(served, "--data", "none", "--configuration")
        assert settings.read_text() == mine, "what concerns this environment alone comes back"
    finally:
        other.rmdir()
        settings.write_text(mine)


def test_a_rehearsed_rollback_changes_nothing(served):
    gates = served.environment.gates
    before = gates.read_text()
    gates.write_text(before + "\n")
    files = {path: path.stat().st_mtime_ns for path in served.folder.rglob("*") if path.is_file()}
    done = roll_back(served, "--dry-run", "--configuration")
    assert "DRY-RUN: bring quality-gates-config.json back" in done.stdout
    changed = {path.name for path in files if not path.exists() or path.stat().st_mtime_ns != files[path]}
    assert not {name for name in changed if not name.startswith(("dhash.db-", "journal.db-"))}
    gates.write_text(before)


def test_a_spoiled_backup_changes_nothing(served):
    before = safety_copies(served)
    content = bytearray(served.backup.read_bytes())
    content[len(content) // 3] ^= 1
    served.backup.write_bytes(content)
    done = served.rollout("rollback", "--backup", str(served.backup), "--force")
    assert done.returncode == 1
    assert f"{served.backup} is damaged" in done.stderr
    assert safety_copies(served) == before
    served.backup.unlink()


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("exchanged", [True, False])
def test_the_order_keeps_what_must_come_first(warm, exchanged):
    steps = rollback_steps(
        warm=warm, exchanged=exchanged, outgoing=True, validated=True, backup=True, configuration=True
    )
    at = {step: place for place, step in enumerate(steps)}
    assert at["safety"] < at["configuration"] < at["data"]
    assert at["shift"] < at["quarantine"] < at["validate"]
    if exchanged:
        assert at["halt"] < at["data"] < at["stage"]
    elif warm:
        assert at["shift"] == 0
    else:
        assert at["configuration"] < at["stage"] < at["verify"] < at["shift"] < at["data"]
