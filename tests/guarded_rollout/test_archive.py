import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
import zipfile
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pytest

from guarded_rollout.backup.catalog import find
from guarded_rollout.backup.verify import verify
from guarded_rollout.errors import (
    BackupDamagedError,
    DiskFullError,
    NotWritableError,
    ReleaseDamagedError,
    SignatureError,
)
from tests.guarded_rollout.backups import Project, make_store, snapshot_of
from tests.guarded_rollout.manual_clock import ManualClock


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_a_backup_holds_the_release_the_configuration_and_the_data(project):
    backup = project.take(clock=ManualClock(datetime(2026, 6, 1, 12, 0, 5, tzinfo=UTC)))
    assert backup.entry.path == project.backups / "dhash_production_20260601_120005.zip"
    with zipfile.ZipFile(backup.entry.path) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        release = project.subject.release
        assert archive.read("release/" + release.artifact) == (release.folder / release.artifact).read_bytes()
        assert archive.read("configuration/quality-gates-config.json") == b"{}\n"
        assert archive.read("RESTORE.md") == b"# By hand\n"
        names = set(archive.namelist()) - {"manifest.json"}
        assert manifest["files"] == {
            name: {
                "size": len(archive.read(name)),
                "sha256": hashlib.sha256(archive.read(name)).hexdigest(),
            }
            for name in names
        }
    assert (
        manifest["format"],
        manifest["environment"],
        manifest["release"],
        manifest["schema_revision"],
    ) == (
        1,
        "production",
        release.id,
        "0001",
    )
    assert manifest["created_at"] == "2026-06-01T12:00:05Z"


def test_sha256sum_accepts_it_from_the_project_root(project):
    name = project.take().entry.path.relative_to(project.root)
    check = subprocess.run(
        ["sha256sum", "-c", f"{name}.sha256"], cwd=project.root, capture_output=True, text=True, check=True
    )
    assert check.stdout == f"{name}: OK\n"


def test_sha256sum_accepts_one_elsewhere_from_anywhere(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    backup = project.take(project.backup_folder(elsewhere))
    subprocess.run(["sha256sum", "-c", backup.entry.checksum], cwd="/", capture_output=True, check=True)
    verify(backup.entry.path)


@pytest.mark.parametrize("name", ["with\nnewline", "with\\backslash"])
def test_a_folder_that_sha256sum_cannot_name_is_refused(project, name):
    with pytest.raises(NotWritableError, match="sha256sum cannot read"):
        project.take(project.backup_folder(project.root / name))
    assert list((project.root / name).iterdir()) == []


def test_only_this_user_may_read_it(project):
    backup = project.take(project.backup_folder(safety=True))
    for path in (backup.entry.path, backup.entry.checksum):
        assert path.stat().st_mode & 0o777 == 0o600
    assert backup.entry.path.parent.stat().st_mode & 0o777 == 0o700


def test_two_in_one_second_are_two_backups_and_the_later_sorts_last(project):
    clock = ManualClock()
    first, second = project.take(clock=clock), project.take(clock=clock)
    assert first.entry.name < second.entry.name
    assert first.sha256 == verify(first.entry.path).sha256
    assert second.sha256 == verify(second.entry.path).sha256


def test_many_at_once_get_names_of_their_own(project):
    clock = ManualClock()
    backups = []
    threads = [threading.Thread(target=lambda: backups.append(project.take(clock=clock))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({backup.entry.path for backup in backups}) == 6
    assert [verify(entry.path).sha256 for entry in find(project.backups, "production")]
    assert not list(project.backups.glob(".taking-*"))


def test_a_safety_copy_is_never_what_the_guide_finds_as_latest(project):
    project.take()
    safety = project.take(project.backup_folder(safety=True)).entry.path
    found = subprocess.run(
        ["sh", "-c", "ls -1 backups/dhash_*.zip | sort -r | head -n1"],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "dhash_production_" in found.stdout
    everything = subprocess.run(["ls", "-R", project.backups], capture_output=True, text=True, check=True)
    assert safety.name in everything.stdout
    assert not safety.name.startswith("dhash_")
    verify(safety)


def test_a_snapshot_taken_while_writers_go_on_is_whole(project):
    done = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(project.store, isolation_level=None, timeout=10)) as store:
            while not done.is_set():
                store.execute("BEGIN IMMEDIATE")  # two rows that belong together
                for note in ("left", "right"):
                    store.execute(
                        "INSERT INTO image (note, thumbnail) VALUES (?, ?)", (note, os.urandom(900))
                    )
                store.execute("COMMIT")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        backups = [project.take() for _ in range(3)]
    finally:
        done.set()
        writer.join()
    counts = []
    for backup in backups:
        with zipfile.ZipFile(backup.entry.path) as archive:
            copy = Path(archive.extract("data/snapshot", project.root / backup.entry.path.stem))
        with closing(sqlite3.connect(copy)) as store:
            counts.append(
                [
                    store.execute("SELECT count(*) FROM image WHERE note = ?", (note,)).fetchone()
                    for note in ("left", "right")
                ]
            )
    assert all(left == right for left, right in counts)
    assert counts[0] < counts[2]


def test_a_damaged_store_is_not_backed_up_as_if_it_were_well(project):
    def broken(target: Path) -> None:
        content = bytearray(project.store.read_bytes())
        content[4096 * 3 : 4096 * 6] = os.urandom(4096 * 3)
        target.write_bytes(content)

    with pytest.raises(BackupDamagedError, match="the store's snapshot is damaged"):
        project.take(snapshot=broken)
    assert list(project.backups.iterdir()) == []


def test_a_release_whose_wheel_was_changed_is_not_backed_up(project):
    wheel = project.subject.release.folder / project.subject.release.artifact
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(ReleaseDamagedError, match="whl is not the file that was built"):
        project.take()
    assert list(project.backups.iterdir()) == []


def test_what_comes_back_from_the_disk_is_compared_with_what_was_written(project, monkeypatch):
    def flip(descriptor):
        archive = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        content = bytearray(archive.read_bytes())
        content[1000] ^= 1
        archive.write_bytes(content)

    monkeypatch.setattr("guarded_rollout.backup.publish.forget_cache", flip)
    with pytest.raises(BackupDamagedError):
        project.take()
    assert list(project.backups.iterdir()) == []


def test_new_folders_are_on_the_disk_with_the_backup_that_needs_them(project, monkeypatch):
    digest = hashlib.sha256(b"an original").hexdigest()
    original = project.root / "kept" / digest[:2] / digest
    original.parent.mkdir(parents=True)
    original.write_bytes(b"an original")
    flushed, flush = set(), os.fsync

    def noted(descriptor):
        flush(descriptor)
        flushed.add(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", noted)
    project.take(project.backup_folder(safety=True), originals=project.root / "kept")
    kept = project.backups / "originals"
    assert {str(folder) for folder in (project.backups, kept, kept / digest[:2])} <= flushed


def test_each_original_is_stored_once_for_all_backups(project):
    originals = project.root / "originals"
    contents = [os.urandom(3000) for _ in range(5)]
    for content in contents[:3]:
        digest = hashlib.sha256(content).hexdigest()
        (originals / digest[:2]).mkdir(parents=True, exist_ok=True)
        (originals / digest[:2] / f"{digest}.jpg").write_bytes(content)
    first = project.take(originals=originals)
    kept = {path: path.stat().st_ino for path in (project.backups / "originals").rglob("*") if path.is_file()}
    for content in contents[3:]:
        (originals / hashlib.sha256(content).hexdigest()).write_bytes(content)
    (originals / ("0" * 64)).write_bytes(b"not what its name says")
    (originals / "upload.tmp").write_bytes(b"half")
    second = project.take(originals=originals)
    assert (first.manifest.originals.count, second.manifest.originals.count) == (3, 5)
    assert {path: path.stat().st_ino for path in kept} == kept
    assert len([path for path in (project.backups / "originals").rglob("*") if path.is_file()]) == 5
    with zipfile.ZipFile(second.entry.path) as archive:
        archive.extract("originals.sha256", project.root)
    subprocess.run(
        ["sha256sum", "-c", "--quiet", project.root / "originals.sha256"], cwd=project.backups, check=True
    )
    verify(second.entry.path)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_without_room_for_the_snapshot_is_found_before_writing(project, small_disk):
    with pytest.raises(DiskFullError, match=r"\d+ MB free"):
        project.take(
            project.backup_folder(small_disk), snapshot=snapshot_of(make_store(project.root / "big.db", 500))
        )
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_while_writing_leaves_nothing_and_says_so(project, small_disk):
    def snapshot(target: Path) -> None:
        target.write_bytes(os.urandom(300_000))
        room = 320_000  # for the snapshot, but not for the wheel as well
        (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - room))

    with pytest.raises(NotWritableError, match="No space left on device"):
        project.take(project.backup_folder(small_disk), snapshot=snapshot)
    assert [path.name for path in small_disk.iterdir()] == ["other"]


def test_a_folder_that_cannot_be_written_is_named(project, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(NotWritableError, match=r"small is not writable: Read-only file system"):
        project.take(project.backup_folder(small_disk))


def test_a_file_where_the_folder_should_be_is_named(project):
    project.backups.write_text("")
    with pytest.raises(NotWritableError, match="backups is not writable"):
        project.take()


def test_kill_9_at_any_moment_leaves_nothing_that_looks_like_a_backup(project):
    big = snapshot_of(make_store(project.root / "big.db", 3000))

    def start():
        process = get_context("fork").Process(target=project.take, kwargs={"snapshot": big})
        process.start()
        return process

    begin = time.monotonic()
    start().join()
    seconds = time.monotonic() - begin
    killed = tried = 0
    while killed < 4 and tried < 20:
        process = start()
        process.join(seconds * (killed + 0.5) / 4)
        process.kill()
        process.join()
        tried += 1
        if process.exitcode == -signal.SIGKILL:
            killed += 1
        else:
            seconds /= 2  # it was quicker than the first
        for path in project.backups.glob("*.zip"):
            verify(path)
    assert killed == 4
    project.take()
    assert not list(project.backups.glob(".taking-*"))


@pytest.fixture
def key(tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    public = (tmp_path / "key.pub").read_text()
    (tmp_path / "allowed").write_text(f"rollout {public}")
    return tmp_path / "key"


def test_a_signed_backup_is_verified_with_the_public_key(project, key):
    backup = project.take(project.backup_folder(signing_key=key))
    assert (
        "signed by an allowed signer"
        in verify(backup.entry.path, allowed_signers=key.parent / "allowed").checks
    )


def test_whoever_changes_archive_and_checksum_cannot_sign_it(project, key):
    backup = project.take(project.backup_folder(signing_key=key))
    other = project.take(project.backup_folder())
    os.replace(other.entry.path, backup.entry.path)
    backup.entry.checksum.write_text(
        other.entry.checksum.read_text().replace(other.entry.name, backup.entry.name)
    )
    verify(backup.entry.path)  # a checksum detects accidents only
    with pytest.raises(SignatureError, match="Signature verification failed"):
        verify(backup.entry.path, allowed_signers=key.parent / "allowed")
    backup.entry.signature.unlink()
    with pytest.raises(SignatureError, match="is missing"):
        verify(backup.entry.path, allowed_signers=key.parent / "allowed")


def test_a_key_that_cannot_sign_leaves_no_backup(project):
    with pytest.raises(SignatureError, match="signing with"):
        project.take(project.backup_folder(signing_key=project.root / "nothing"))
    assert list(project.backups.iterdir()) == []
