"""Copies on real servers, by SFTP and S3; and a rollback to one, as an operator does it."""

import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from guarded_rollout.backup import copies
from guarded_rollout.backup.restic import repositories
from guarded_rollout.backup.verify import verify
from guarded_rollout.clock import SystemClock
from guarded_rollout.config.environments import load
from tests.guarded_rollout.backups import Project
from tests.guarded_rollout.rolloutkit import kept, submit
from tests.guarded_rollout.sandbox import Sandbox, wait_until
from tests.guarded_rollout.storage import SECRET, SSHD, Place, s3_server, ssh_server

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("restic") is None or SSHD is None, reason="restic or sshd is missing"),
]


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPIES_PASSWORD", "correct horse battery")
    monkeypatch.setenv("COPIES_SECRET", SECRET)


def table(place: Place, name: str = "far") -> str:
    variables = "\n".join(f"{key} = {json.dumps(value)}" for key, value in place.variables)
    return (
        f"\n[backup.copies.{name}]\nrepository = {json.dumps(place.repository)}\n"
        f'password = "$COPIES_PASSWORD"\noptions = {json.dumps([*place.options, ""])}\n'
        f"[backup.copies.{name}.variables]\n{variables}\n"
    )


def server(kind: str, folder: Path) -> AbstractContextManager[Place]:
    return s3_server(folder) if kind == "s3" else ssh_server(folder)


@pytest.mark.parametrize("kind", ["s3", "sftp"])
def test_a_copy_on_another_machine_is_checked_and_comes_back(kind: str, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    with server(kind, tmp_path / kind) as place:
        (project.root / "rollout.toml").write_text(table(place))
        environment = load(project.root / "rollout.toml").environment("production")
        taken = project.take()
        [record] = copies.send(environment, taken.entry.path, SystemClock())
        assert not record.problem, record
        [repository] = repositories(environment)
        repository.check()
        folder = copies.fetch(environment, Path(f"restic:{record.snapshot}"), tmp_path / "back")
        assert verify(folder).manifest == taken.manifest
        assert repository.forget() == 0
    seen = [path for path in project.root.rglob("*") if path.is_file() and path.stat().st_size < 10**6]
    assert not any(SECRET.encode() in path.read_bytes() for path in seen)


@pytest.fixture
def copying(sandbox: Sandbox) -> Sandbox:
    settings = sandbox.folder / "rollout.toml"
    settings.write_text(settings.read_text() + table(Place("elsewhere"), "disk"))
    return sandbox


def test_a_rollback_to_a_copy_brings_back_what_the_store_has_lost(copying: Sandbox) -> None:
    old = copying.deploy().release
    before = submit(copying)
    done = copying.rollout("backup", "--engine", "restic", "--json")
    assert done.returncode == 0, done.stderr
    reference = json.loads(done.stdout)["backup"]
    assert reference.startswith("restic:")
    assert not list(copying.environment.backups.glob("*.zip"))
    copying.deploy("2.0.0")
    with copying.engine() as engine:
        engine.promote()
    after = submit(copying)
    checked = copying.rollout("verify", reference, "--deep", "--verbose")
    assert checked.returncode == 0, checked.stderr + checked.stdout
    assert "all data of disk is as it was written" in checked.stdout
    assert "the checks that it declares pass" in checked.stdout
    rehearsed = copying.rollout("rollback", "--backup", reference, "--dry-run")
    assert rehearsed.returncode == 0, rehearsed.stderr
    done = copying.rollout("rollback", "--backup", reference, "--force")
    assert done.returncode == 0, done.stderr + done.stdout
    assert copying.served_by() == old.id
    assert {before, after} <= kept(copying)
    assert not (copying.environment.root / "brought-back").exists()


def test_a_deployment_does_not_wait_for_the_copy_of_its_backup(copying: Sandbox) -> None:
    copying.deploy()
    copying.deploy("2.0.0", backup=True)
    wait_until(lambda: copies.records(copying.environment), 60, "the copy is sent")
    [record] = copies.records(copying.environment)
    assert not record.problem
    assert record.source.endswith(".zip")
    cleared = copying.environment.backups / "copying-production"
    wait_until(lambda: not cleared.exists(), 10, "its files are removed")
