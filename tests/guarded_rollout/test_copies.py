"""Copies in a restic repository: sent, found, brought back, verified, and refused when a byte changed."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from guarded_rollout.backup import copies
from guarded_rollout.backup.manifest import NAME
from guarded_rollout.backup.restic import ResticRepository, repositories
from guarded_rollout.backup.verify import unpack, verify
from guarded_rollout.checks import safeguards
from guarded_rollout.checks.findings import Severity
from guarded_rollout.clock import SystemClock
from guarded_rollout.config.environments import Environment, load, parse
from guarded_rollout.errors import (
    BackupDamagedError,
    BackupFormatError,
    ConfigurationError,
    CopyError,
    NoCopyTargetError,
    UnknownCopyError,
)
from guarded_rollout.host.site import Site
from guarded_rollout.operations import maintenance
from tests.forked import run
from tests.guarded_rollout.backups import Project

pytestmark = pytest.mark.skipif(shutil.which("restic") is None, reason="restic is not installed")
PASSWORD = "correct horse battery"
TARGET = """
[backup.copies.disk]
repository = "elsewhere"
password = "$COPIES_PASSWORD"
keep = ["--keep-last=1"]
"""


def configured(root: Path, text: str = TARGET) -> Environment:
    (root / "rollout.toml").write_text(text)
    environment = load(root / "rollout.toml").environment("production")
    environment.root.mkdir(parents=True, exist_ok=True)
    return environment


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An environment with a backup, its originals, and a copy of both at a target."""
    root = tmp_path_factory.mktemp("copies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPIES_PASSWORD", PASSWORD)
        project = Project(root)
        digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        original = root / "environments/production/data/originals/9f" / digest
        original.parent.mkdir(parents=True)
        original.write_bytes(b"test")
        archive = project.take(originals=original.parent.parent).entry.path
        environment = configured(root)
        [record] = copies.send(environment, archive, SystemClock())
        assert not record.problem, record
        assert copies.records(environment) == [record]
        yield environment


def reference(environment: Environment) -> Path:
    [repository] = repositories(environment)
    return Path(repository.snapshots()[0].reference)


def test_a_copy_comes_back_as_the_backup_that_it_is_of(copied: Environment, tmp_path: Path) -> None:
    folder = copies.fetch(copied, reference(copied), tmp_path)
    found = verify(folder, originals_too=True)
    assert found.manifest.environment == "production"
    assert "1 originals whole beside it" in found.checks
    into = tmp_path / "into"
    unpack(folder, into)
    assert (into / "data" / "snapshot").read_bytes() == (folder / "data" / "snapshot").read_bytes()


def test_the_newest_copy_has_a_name_and_an_unknown_one_has_not(copied: Environment, tmp_path: Path) -> None:
    _, newest = copies.locate(copied, Path("restic:latest"))
    assert newest.reference == str(reference(copied))
    with pytest.raises(UnknownCopyError, match="No copy target has a snapshot 0badc0de"):
        copies.locate(copied, Path("restic:0badc0de"))


def test_the_newest_copy_is_the_newest_where_an_hour_comes_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPIES_PASSWORD", PASSWORD)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        [repository] = repositories(configured(tmp_path))
        (tmp_path / "folder").mkdir()
        hours = [datetime(2026, 10, 25, 0, 40, tzinfo=UTC), datetime(2026, 10, 25, 1, 10, tzinfo=UTC)]
        sent = [repository.send(tmp_path, ["folder"], hour).id for hour in hours]
        assert [found.id for found in repository.snapshots()] == sent[::-1]
        assert [found.taken_at for found in repository.snapshots()] == hours[::-1]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_another_machine_finds_the_copies(
    copied: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "another")
    assert copies.locate(copied, Path("restic:latest"))


def test_nothing_shows_the_password(copied: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPIES_PASSWORD", "a wrong one")
    [repository] = repositories(copied)
    with pytest.raises(CopyError, match="wrong password") as raised:
        repository.snapshots()
    assert "a wrong one" not in str(raised.value)
    files = [path for path in copied.project.rglob("*") if path.is_file() and path.stat().st_size < 10**6]
    assert not any(PASSWORD.encode() in path.read_bytes() for path in files)


def test_a_secret_in_the_repositorys_address_is_taken_out_of_errors(
    copied: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", "/proc/nowhere-secret")
    target = replace(copied.copies[0], repository="$WHERE")
    with pytest.raises(CopyError) as raised:
        ResticRepository(target, copied).check()
    assert "nowhere-secret" not in str(raised.value)


def test_one_changed_byte_in_the_repository_is_refused(copied: Environment, tmp_path: Path) -> None:
    """In the largest pack, which holds the store: reading all of it finds out, and so does a restore."""
    spoiled = tmp_path / "spoiled"
    shutil.copytree(copied.project / "elsewhere", spoiled)
    pack = max((spoiled / "data").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    target = replace(copied.copies[0], repository=str(spoiled))
    environment = replace(copied, copies=(target,))
    with pytest.raises(CopyError, match="disk"):
        ResticRepository(target, environment).check()
    with pytest.raises((CopyError, BackupDamagedError, BackupFormatError)):
        verify(copies.fetch(environment, Path("restic:latest"), tmp_path / "back"))


def test_a_file_that_was_changed_after_it_came_back_is_refused(copied: Environment, tmp_path: Path) -> None:
    folder = copies.fetch(copied, reference(copied), tmp_path)
    snapshot = folder / "data" / "snapshot"
    content = bytearray(snapshot.read_bytes())
    content[-1] ^= 1
    snapshot.write_bytes(content)
    with pytest.raises(BackupDamagedError, match="data/snapshot"):
        verify(folder)
    (folder / "more").symlink_to("/etc/passwd")
    with pytest.raises(BackupFormatError, match="a link"):
        verify(folder)


@pytest.mark.system
def test_taking_a_backup_straight_into_the_repository_sends_only_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPIES_PASSWORD", PASSWORD)
    project = Project(tmp_path, rows=4000)
    environment = configured(tmp_path)
    _, [first] = copies.send_directly(environment, project.subject, SystemClock())
    manifest, [second] = copies.send_directly(environment, project.subject, SystemClock())
    assert first.added > 8 * 10**6
    assert second.added < first.added / 20
    assert not list(environment.backups.glob("copying-*"))
    folder = copies.fetch(environment, Path(f"restic:{second.snapshot}"), tmp_path / "back")
    assert verify(folder).manifest == manifest
    notes = list(maintenance.run({"copies": maintenance.copies}, _round(environment)))
    assert [note.detail for note in notes] == [
        "disk: 5% of its data is as it was written",
        "disk: 1 copies were removed",
    ]


def _round(environment: Environment) -> maintenance.Round:
    return maintenance.Round(environment, SystemClock(), "test", dry_run=False)


def test_one_target_that_fails_keeps_no_other_from_its_copy(copied: Environment) -> None:
    archive = next(copied.backups.glob("*.zip"))
    broken = replace(copied.copies[0], name="broken", repository="/proc/nowhere")
    both = replace(copied, copies=(broken, *copied.copies))
    failed, sent = copies.send(both, archive, SystemClock())
    assert failed.problem
    assert not sent.problem
    findings = {one.detail: one.level for one in safeguards.sent_copies(Site(both))}
    assert Severity.WARNING in findings.values()
    assert any("elsewhere" not in detail and "broken" in detail for detail in findings)


def test_preflight_says_when_nothing_leaves_the_machine(copied: Environment) -> None:
    [*_, last] = safeguards.sent_copies(Site(copied))
    assert (last.level, last.detail) == (Severity.WARNING, "every copy stays on this machine")
    [only] = safeguards.sent_copies(Site(replace(copied, copies=())))
    assert (only.level, only.detail) == (Severity.WARNING, "nothing leaves this machine")
    [only] = safeguards.sent_copies(Site(replace(copied, copies=(), confirm=False)))
    assert only.level is Severity.OK
    away = replace(copied.copies[0], repository="sftp:user@host:/copies")
    [only] = safeguards.sent_copies(Site(replace(copied, copies=(away,))))
    assert only.level is Severity.OK


def test_without_a_target_there_is_nothing_to_send_to(copied: Environment) -> None:
    with pytest.raises(NoCopyTargetError, match="No copies of production"):
        copies.locate(replace(copied, copies=()), Path("restic:latest"))


def test_the_background_process_sends_a_backup_by_itself(copied: Environment) -> None:
    """As `start_sending` starts it, but waited for."""
    archive = next(copied.backups.glob("*.zip"))
    done = run("rollout", "copies", "send", archive, "--json", folder=copied.project)
    assert done.returncode == 0, done.stderr
    [sent] = json.loads(done.stdout)["copies"]
    assert sent["reference"].startswith("restic:")
    assert sent["bytes_added"] < 10**5, "all of it was there"
    [log] = copied.logs.glob("copies_*")
    assert "restic:" in log.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('repository = "x"', "backup.copies.a.password: restic encrypts every repository"),
        ('repository = "x"\npassword = "plain"', "backup.copies.a.password: name it as \\$NAME"),
        ('repository = "x"\npassword = "$P"\nkeep = []', "backup.copies.a.keep: no rule would keep nothing"),
        ("repository = 3", "backup.copies.a.repository: 3 is not"),
        ('repositori = "x"', "backup.copies.a.repositori"),
        ("[backup.copies.a.variables]\nA = 3", "backup.copies.a.variables.A: 3 is not"),
    ],
)
def test_a_wrong_target_is_named(text: str, said: str) -> None:
    import tomllib

    body = text if text.startswith("[") else f"[backup.copies.a]\n{text}"
    with pytest.raises(ConfigurationError, match=said):
        parse(tomllib.loads(body), Path("rollout.toml"))


def test_a_target_may_stand_beside_another_and_serve_some_environments(tmp_path: Path) -> None:
    more = TARGET + '[backup.copies.far]\nrepository = "s3:x"\npassword = "$P"\nenvironments = ["staging"]\n'
    (tmp_path / "rollout.toml").write_text(more)
    project = load(tmp_path / "rollout.toml")
    assert [target.name for target in project.environment("production").copies] == ["disk"]
    [far] = project.environment("staging").copies
    assert (far.name, far.leaves_the_machine, far.check) == ("far", True, "5%")


def test_a_staged_backup_has_the_same_layout_as_an_archive(tmp_path: Path) -> None:
    from guarded_rollout.backup.archive import stage

    project = Project(tmp_path)
    taken = project.take()
    folder = tmp_path / "staged"
    folder.mkdir()
    manifest = stage(project.subject, folder, tmp_path / "backups", SystemClock().now())
    assert manifest.files.keys() == taken.manifest.files.keys()
    assert (folder / NAME).stat().st_mode & 0o777 == 0o600


def test_a_copy_that_fails_is_told_to_the_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPIES_PASSWORD", PASSWORD)
    Project(tmp_path, rows=10).take()
    environment = configured(tmp_path, TARGET.replace('"elsewhere"', '"/proc/nowhere"'))
    done = run("rollout", "copies", "send", folder=tmp_path)
    assert done.returncode == 1
    assert "disk: failed" in done.stdout
    kept = b"".join(path.read_bytes() for path in environment.root.glob("notifications.db*"))
    assert b"A backup was not copied: disk: failed" in kept
