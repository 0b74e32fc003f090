"""A live store is never replaced on a release's word: its commands may fail, lose or lie."""

import sqlite3
from contextlib import closing
from pathlib import Path

from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.rollout.steps.backup import take_backup
from tests.guarded_rollout.rolloutkit import damage, kept, store_path, submit
from tests.guarded_rollout.sandbox import SERVICE, Sandbox

CHECK = 'case "check" if STORE.exists():'
MERGE = 'case "merge":'


def break_command(sandbox: Sandbox, case: str, what: str) -> None:
    """Let one of the next release's commands do this instead, once there is a file `broken`."""
    bad = f"{case}\n            if Path({str(sandbox.folder / 'broken')!r}).exists():\n                {what}"
    sandbox.edit(SERVICE, lambda text: text.replace(case, bad))


def accept_broken(sandbox: Sandbox) -> None:
    """Roll the next release out and accept it; its commands break then: verification has tried them."""
    sandbox.deploy("2.0.0")
    with sandbox.engine() as engine:
        engine.promote()
    (sandbox.folder / "broken").touch()


def back(sandbox: Sandbox, *words: str) -> tuple[int, str]:
    done = sandbox.rollout("rollback", *words, "--force")
    return done.returncode, done.stderr + done.stdout


def set_aside(sandbox: Sandbox) -> list[Path]:
    return list(store_path(sandbox).parent.glob("*.before-*"))


def test_a_release_whose_check_and_merge_fail_costs_nothing(sandbox: Sandbox) -> None:
    old = sandbox.deploy().release
    before = submit(sandbox)
    break_command(sandbox, CHECK, 'sys.exit("the check is broken")')
    break_command(sandbox, MERGE, 'sys.exit("the merge is broken")')
    accept_broken(sandbox)
    between = submit(sandbox)
    backup = take_backup(sandbox.site).entry.path
    after = submit(sandbox)
    code, said = back(sandbox, "--backup", str(backup))
    assert code == 1
    assert "The live store stays as it was" in said
    assert "the merge is broken" in said
    assert set_aside(sandbox) == []
    assert {before, between, after} <= kept(sandbox)
    assert submit(sandbox) in kept(sandbox), "it serves"
    code, said = back(sandbox, "--to", old.id)
    assert code == 0, said
    assert {before, between, after} <= kept(sandbox)
    assert sandbox.served_by() == old.id


def test_a_release_that_calls_a_sound_store_damaged_is_not_believed(sandbox: Sandbox) -> None:
    sandbox.deploy()
    break_command(sandbox, CHECK, 'sys.exit("damaged, it says")')
    accept_broken(sandbox)
    backup = take_backup(sandbox.site).entry.path
    after = submit(sandbox)
    code, said = back(sandbox, "--backup", str(backup))
    assert code == 0, said
    assert set_aside(sandbox) == []
    assert after in kept(sandbox)


def test_a_merge_that_loses_rows_is_found_out_on_a_copy(sandbox: Sandbox) -> None:
    sandbox.deploy()
    mine = {submit(sandbox) for _ in range(3)}
    break_command(sandbox, MERGE, 'connect().execute("DELETE FROM picture")')
    accept_broken(sandbox)
    backup = take_backup(sandbox.site).entry.path
    mine.add(submit(sandbox))
    code, said = back(sandbox, "--backup", str(backup))
    assert code == 1
    assert "rehearsed on a copy" in said
    assert mine <= kept(sandbox)


def test_a_damaged_store_that_cannot_be_salvaged_comes_back(sandbox: Sandbox) -> None:
    sandbox.deploy()
    break_command(sandbox, MERGE, 'sys.exit("nothing can be read")')
    accept_broken(sandbox)
    before = submit(sandbox)
    backup = take_backup(sandbox.site).entry.path
    after = submit(sandbox)
    damage(store_path(sandbox))
    code, said = back(sandbox, "--backup", str(backup))
    assert code == 1
    assert "cannot be merged into the backup" in said
    assert set_aside(sandbox) == []
    assert {before, after} <= kept(sandbox)


def test_what_a_failed_rollback_set_aside_is_brought_together_again(sandbox: Sandbox) -> None:
    """As the guard once left it: the store moved aside, the backup in its place, the rollback failed."""
    sandbox.deploy()
    sandbox.deploy("2.0.0")
    with sandbox.engine() as engine:
        engine.promote()
        rollout = engine.journal.begin(sandbox.environment.name, "rollback", operator="test")
        lost = submit(sandbox)
        path = store_path(sandbox)
        with closing(sqlite3.connect(path, isolation_level=None)) as store:
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            store.execute("VACUUM INTO ?", (f"{path}.before-{rollout}",))
            store.execute("DELETE FROM picture WHERE sha256 = ?", (lost,))
        engine.journal.end(rollout, RolloutOutcome.FAILED, "it failed")
    assert lost not in kept(sandbox)
    code, said = back(sandbox, "--to", "previous")
    assert code == 0, said
    assert "is merged into the store" in said
    assert lost in kept(sandbox)
