import os
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from guarded_rollout.backup.catalog import find
from guarded_rollout.errors import NoPreviousError, RollbackFailedError
from guarded_rollout.host.release import short
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.engine import Request
from guarded_rollout.rollout.rollback import previous, rollback_steps
from guarded_rollout.rollout.steps.backup import take_backup
from guarded_rollout.rollout.steps.base import Data, Options
from tests.guarded_rollout.rolloutkit import damage, files, kept, last, store_path, submit
from tests.guarded_rollout.sandbox import Sandbox, wait_until


def roll_back(sandbox: Sandbox, release, **options: object) -> None:
    request = Request(command="rollback", operator="test", options=Options(**options))  # type: ignore[arg-type]
    with sandbox.engine() as engine:
        engine.roll_back(release, request)


def replaced(sandbox: Sandbox):
    """A release, and the one that was accepted in its place."""
    old, new = sandbox.deploy().release, sandbox.deploy("2.0.0").release
    with sandbox.engine() as engine:
        engine.promote()
    return old, new


def rollback_in(sandbox: Sandbox, step: str) -> subprocess.Popen[bytes]:
    """A command that goes back to the release before, and has begun this step."""
    words = sandbox.command("rollback", "--to", "previous", "--force")
    command = subprocess.Popen(words, cwd=sandbox.folder)
    wait_until(lambda: last(sandbox).command == "rollback" and last(sandbox).last(step), seconds=60)
    return command


def kill_a_rollback_in(sandbox: Sandbox, step: str) -> None:
    command = rollback_in(sandbox, step)
    command.kill()
    command.wait()


# ---- which way


def way(**asked: bool) -> tuple[str, ...]:
    usual = {"warm": True, "exchanged": False, "outgoing": True, "validated": True, "backup": True}
    return rollback_steps(**(usual | asked))


def test_with_the_release_warm_traffic_comes_first_of_all():
    assert way()[0] == "shift"
    assert way(backup=False) == ("shift", "safety", "retire", "quarantine", "validate")


def test_a_cold_release_gets_no_traffic_before_it_is_verified():
    steps = way(warm=False)
    assert steps.index("safety") < steps.index("stage") < steps.index("verify") < steps.index("shift")


def test_only_a_backup_is_waited_for_with_a_safety_copy_before_traffic_moves():
    steps = way(warm=False, backup=False)
    assert steps.index("stage") < steps.index("verify") < steps.index("shift") < steps.index("safety")


def test_a_cold_release_waits_for_no_migrations_if_both_need_the_same_schema():
    steps = way(warm=False, backup=False, same_schema=True)
    assert steps == ("stage", "verify", "shift", "safety", "schema", "retire", "quarantine", "validate")
    assert way(warm=False, backup=False)[:2] == ("schema", "stage")
    for exchanged in (True, False):  # a backup's schema may be another
        steps = way(warm=False, exchanged=exchanged, same_schema=True)
        assert steps.index("schema") < steps.index("stage")


def test_where_the_store_is_exchanged_nobody_has_it_open():
    for warm in (True, False):
        steps = way(warm=warm, exchanged=True)
        assert steps.index("safety") < steps.index("halt") < steps.index("data") < steps.index("stage")


def test_an_emergency_leaves_out_the_checks_and_nothing_else():
    assert set(way(warm=False)) - set(way(warm=False, validated=False)) == {"verify", "validate"}


# ---- to a release


def test_rolling_back_an_open_rollout_closes_it_and_returns_to_the_warm_release(sandbox):
    old = sandbox.deploy().release
    with sandbox.engine() as engine, pytest.raises(NoPreviousError):
        previous(engine.site, engine.journal)
    pid = sandbox.pids()["blue"]
    sandbox.deploy("2.0.0")
    roll_back(sandbox, old)
    assert sandbox.served_by() == old.id
    assert sandbox.pids().get("blue") == pid, "it was warm: not started again"
    assert set(sandbox.pids()) == {"proxy", "blue"}
    with Journal.open(sandbox.environment.journal) as journal:
        back, closed, _ = journal.history()
    assert closed.outcome is RolloutOutcome.ROLLED_BACK
    assert back.outcome is RolloutOutcome.COMPLETED
    assert back.last("validate").evidence["checks"] == {"passed": ["submit", "find"]}


def test_a_release_that_is_not_warm_is_started_and_verified_first(sandbox):
    old, new = replaced(sandbox)
    with sandbox.engine() as engine:
        assert previous(engine.site, engine.journal) == old
    roll_back(sandbox, old)
    assert sandbox.served_by() == old.id
    assert sandbox.slot_of(new.id) is None


def test_a_third_release_can_be_returned_to_while_two_stand_in_the_slots(sandbox):
    first = sandbox.deploy().release
    sandbox.deploy("2.0.0")
    with sandbox.engine() as engine:
        engine.promote()
    sandbox.deploy("3.0.0")
    roll_back(sandbox, first)
    assert sandbox.served_by() == first.id
    assert len([name for name in sandbox.pids() if name in ("blue", "green")]) == 1


def test_a_rollback_that_fails_says_so_with_the_command_to_run_again(sandbox):
    old, new = replaced(sandbox)
    (old.programs.parent / "bin").chmod(0o755)
    (old.programs / "sample").chmod(0o755)
    (old.programs / "sample").write_text("#!/bin/sh\necho broken by hand >&2; exit 3\n")
    with pytest.raises(RollbackFailedError) as error:
        roll_back(sandbox, old)
    assert "FAILED" in str(error.value)
    assert f"rollout rollback --env production --to {old.id} --force" in str(error.value)
    assert last(sandbox).outcome is RolloutOutcome.FAILED
    assert "broken by hand" in str(error.value)
    assert sandbox.served_by() == new.id, "what serves goes on serving"
    assert set(sandbox.pids()) == {"proxy", str(sandbox.slot_of(new.id))}, "and nothing runs beside it"
    assert sandbox.slot_of(old.id) is None


def test_a_release_that_dies_while_it_is_returned_to_is_waited_for(sandbox):
    old, _ = replaced(sandbox)
    engine = rollback_in(sandbox, "verify")
    slot = str(sandbox.slot_of(old.id))
    wait_until(lambda: slot in sandbox.pids())
    os.kill(sandbox.pids()[slot], signal.SIGKILL)
    assert engine.wait(60) == 0
    assert last(sandbox).outcome is RolloutOutcome.COMPLETED
    assert sandbox.served_by() == old.id


# ---- to a backup


def test_data_is_merged_so_nothing_acknowledged_is_lost(sandbox):
    old = sandbox.deploy().release
    before = submit(sandbox)
    backup = take_backup(sandbox.site).entry.path
    between = submit(sandbox)
    sandbox.deploy("2.0.0")
    after = submit(sandbox)
    with sqlite3.connect(store_path(sandbox)) as store:  # as a bug in the new release might
        store.execute("DELETE FROM picture WHERE sha256 = ?", (before,))
    roll_back(sandbox, old, backup=str(backup), data=Data.MERGE)
    assert {before, between, after} <= kept(sandbox)


def test_exact_restores_the_data_as_it_was_and_keeps_a_copy_of_what_it_replaced(sandbox):
    old = sandbox.deploy().release
    before = submit(sandbox)
    backup = take_backup(sandbox.site).entry.path
    after = submit(sandbox)
    sandbox.deploy("2.0.0")
    roll_back(sandbox, old, backup=str(backup), data=Data.EXACT)
    assert before in kept(sandbox)
    assert after not in kept(sandbox)
    aside = last(sandbox).last("data").evidence["kept_aside"]
    with sqlite3.connect(aside) as store:
        assert (after,) in store.execute("SELECT sha256 FROM picture").fetchall()
    (safety,) = find(sandbox.environment.backups / "safety", "production")
    assert safety.path.exists()
    assert sandbox.served_by() == old.id


def test_a_damaged_store_is_kept_aside_and_what_can_be_read_of_it_is_merged(sandbox):
    old = sandbox.deploy().release
    before = submit(sandbox)
    backup = take_backup(sandbox.site).entry.path
    after = submit(sandbox)
    sandbox.site.processes.stop("blue")
    damage(store_path(sandbox))
    assert not sandbox.site.command(old, "store_check").ok
    roll_back(sandbox, old, backup=str(backup), data=Data.MERGE)
    assert {before, after} <= kept(sandbox)
    assert sandbox.site.command(old, "store_check").ok
    assert os.path.exists(last(sandbox).last("data").evidence["kept_aside"])


def test_a_damaged_store_does_not_keep_traffic_from_the_warm_release(sandbox):
    old = sandbox.deploy().release
    before = submit(sandbox)
    backup = take_backup(sandbox.site).entry.path
    sandbox.deploy("2.0.0")
    damage(store_path(sandbox))
    assert not sandbox.site.command(old, "store_check").ok
    roll_back(sandbox, old, backup=str(backup), data=Data.MERGE)
    ended = last(sandbox)
    assert ended.steps[0].name == "shift"
    assert sandbox.site.command(old, "store_check").ok
    assert before in kept(sandbox)
    assert sandbox.served_by() == old.id
    assert os.path.exists(ended.last("data").evidence["kept_aside"])


def test_what_is_gone_comes_back_from_a_backup_alone(sandbox):
    """The folder of what serves, then that of the release before it, then the whole machine."""
    old = sandbox.deploy().release
    before = submit(sandbox)
    backup = take_backup(sandbox.site).entry.path
    remove(old.folder)
    assert sandbox.rollout("status").returncode == 0
    roll_back_to(sandbox, backup)
    assert sandbox.served_by() == old.id
    assert before in kept(sandbox)

    sandbox.deploy("2.0.0")
    with sandbox.engine() as engine:
        engine.promote()
    remove(old.folder)
    roll_back_to(sandbox, backup)
    assert sandbox.served_by() == old.id

    sandbox.site.processes.shut_down()
    remove(sandbox.environment.root)
    remove(sandbox.environment.releases)
    roll_back_to(sandbox, backup)
    assert sandbox.served_by() == old.id
    assert before in kept(sandbox)


def remove(tree: Path) -> None:
    for folder, _, _ in os.walk(tree):
        os.chmod(folder, 0o755)  # releases are read-only
    shutil.rmtree(tree)


def roll_back_to(sandbox: Sandbox, backup: Path) -> None:
    done = sandbox.rollout("rollback", "--backup", str(backup), "--force")
    assert done.returncode == 0, done.stderr
    assert f"Using backup file: {backup}" in done.stdout


# ---- as an operator


def test_production_asks_twice_and_no_is_not_success(sandbox):
    old = sandbox.deploy().release
    sandbox.configure(confirm=True)
    new = sandbox.deploy("2.0.0").release
    for given in ("", "no\n", "yes\n", "yes\nno\n", "yes\nrollback\n"):
        done = sandbox.rollout("rollback", "--to", "previous", given=given)
        assert done.returncode == 1, given
        assert "Cancelled" in done.stderr
        assert sandbox.served_by() == new.id
    done = sandbox.rollout("rollback", "--to", "previous", given="yes\nROLLBACK\n")
    assert done.returncode == 0, done.stderr
    assert sandbox.served_by() == old.id


def test_a_dry_run_touches_nothing_and_a_changed_backup_is_refused_before_anything_is_done(sandbox):
    sandbox.deploy()
    backup = take_backup(sandbox.site).entry.path
    new = sandbox.deploy("2.0.0").release
    before = files(sandbox)
    done = sandbox.rollout("rollback", "--backup", str(backup), "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("Using backup file: ")]
    assert lines
    assert all(line.startswith("DRY-RUN: ") for line in lines)
    assert files(sandbox) == before
    assert sandbox.served_by() == new.id

    backup.chmod(0o600)
    with backup.open("r+b") as file:
        file.seek(2000)
        file.write(b"\0\1\2\3")
    done = sandbox.rollout("rollback", "--backup", str(backup), "--force")
    assert done.returncode == 1
    assert "SHA-256" in done.stderr
    assert sandbox.served_by() == new.id
    assert last(sandbox).command == "deploy"


def test_a_rollback_killed_half_way_is_gone_on_with_also_by_whoever_would_take_it_back(sandbox):
    old = sandbox.deploy().release
    sandbox.deploy("2.0.0")
    kill_a_rollback_in(sandbox, "safety")
    assert sandbox.served_by() == old.id, "traffic came first"
    done = sandbox.rollout("resume")
    assert done.returncode == 0, done.stderr
    assert last(sandbox).outcome is RolloutOutcome.COMPLETED
    assert set(sandbox.pids()) == {"proxy", "blue"}

    sandbox.deploy()
    kill_a_rollback_in(sandbox, "retire")
    done = sandbox.rollout("abort")
    assert done.returncode == 0, done.stderr
    assert f"{short(old.id)} serves" in done.stdout
    assert last(sandbox).outcome is RolloutOutcome.COMPLETED
    assert sandbox.served_by() == old.id
    assert set(sandbox.pids()) == {"proxy", str(sandbox.slot_of(old.id))}
