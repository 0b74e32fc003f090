import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_rollout.backup import originals, signing
from guarded_rollout.backup.catalog import checksum_of
from guarded_rollout.backup.manifest import Manifest
from guarded_rollout.backup.verify import read_through, unpack, verify
from guarded_rollout.errors import BackupDamagedError, BackupFormatError, BackupMissingError, RolloutError
from guarded_rollout.files import sha256
from tests.guarded_rollout.backups import Project

REFUSED = (BackupDamagedError, BackupFormatError)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"), rows=20)


@pytest.fixture(scope="module")
def taken(project):
    return project.take().entry


@pytest.fixture
def archive(taken, tmp_path):
    """A copy to spoil, with its checksum."""
    for path in (taken.path, taken.checksum):
        shutil.copy(path, tmp_path)
    return tmp_path / taken.name


def rewrite(archive, change):
    """Let `change` edit the files of an archive, and make the checksum fit again, as an attacker would."""
    with zipfile.ZipFile(archive) as old:
        files = {name: old.read(name) for name in old.namelist()}
    manifest = json.loads(files["manifest.json"])
    change(files, manifest)
    files["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in files.items():
            new.writestr(name, content)
    checksum_of(archive).unlink()
    signing.write(archive, sha256(archive), archive.parent)


def test_a_whole_backup_is_verified_without_a_trace(archive, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    verified = verify(archive)
    assert verified.manifest.environment == "production"
    assert len(verified.checks) == 3
    assert list(scratch.iterdir()) == []


def test_what_is_unpacked_is_what_was_packed(project, archive, tmp_path):
    unpack(archive, tmp_path / "out")
    subprocess.run(["unzip", "-q", archive, "-d", tmp_path / "by-hand"], check=True)
    (tmp_path / "by-hand" / "manifest.json").unlink()
    subprocess.run(["diff", "-r", tmp_path / "out", tmp_path / "by-hand"], check=True)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*") if path.is_file()} == {
        0o600
    }


def test_every_flipped_bit_is_refused_naming_the_file(archive):
    """Every 499th byte here, a bit of each; `test_zip` flips every byte of a small archive."""
    whole = archive.read_bytes()
    for position in range(0, len(whole), 499):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        archive.write_bytes(changed)
        with pytest.raises(BackupDamagedError, match=archive.name):
            verify(archive)


def test_every_flipped_bit_is_refused_or_changes_nothing_even_where_the_checksum_was_made_to_fit(archive):
    whole = archive.read_bytes()
    expected = read_through(archive)
    for position in range(0, len(whole), 1009):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        archive.write_bytes(changed)
        with suppress(*REFUSED):
            assert read_through(archive) == expected


def test_every_truncation_is_refused(archive):
    whole = archive.read_bytes()
    for length in range(0, len(whole), 997):
        archive.write_bytes(whole[:length])
        with pytest.raises(BackupDamagedError, match=archive.name):
            verify(archive)
        with pytest.raises(BackupDamagedError, match=archive.name):
            read_through(archive)


def test_added_bytes_are_refused(archive):
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(BackupDamagedError, match="not the one recorded"):
        verify(archive)


@pytest.mark.parametrize(
    "content", [b"", b"0" * 64, b"xyz  name.zip\n", b"0" * 64 + b"  other.zip\n", b"\xff\xfe", b"0" * 10**6]
)
def test_a_checksum_file_that_says_nothing_about_the_archive_is_refused(archive, content):
    checksum_of(archive).write_bytes(content)
    with pytest.raises(BackupDamagedError, match="sha256"):
        verify(archive)


def test_a_missing_archive_and_a_missing_checksum_are_told_apart(archive):
    checksum_of(archive).unlink()
    with pytest.raises(BackupDamagedError, match=r"sha256 is missing"):
        verify(archive)
    archive.unlink()
    with pytest.raises(BackupMissingError):
        verify(archive)
    with pytest.raises(BackupMissingError):
        verify(archive.parent)


def test_a_file_that_the_manifest_does_not_name_is_refused(archive):
    rewrite(archive, lambda files, manifest: files.update({"extra.sh": b"#!/bin/sh"}))
    with pytest.raises(BackupFormatError, match=r"'extra\.sh' is in the archive alone"):
        verify(archive)


def test_a_file_that_is_missing_is_refused(archive):
    rewrite(archive, lambda files, manifest: files.pop("RESTORE.md"))
    with pytest.raises(BackupFormatError, match=r"'RESTORE\.md' is in the manifest alone"):
        verify(archive)


def test_a_file_with_other_content_is_refused(archive):
    def same_size(files, manifest):
        files["data/snapshot"] = os.urandom(len(files["data/snapshot"]))

    rewrite(archive, same_size)
    with pytest.raises(BackupDamagedError, match="data/snapshot: its SHA-256 is not the one in the manifest"):
        verify(archive)


def test_a_snapshot_that_is_no_whole_database_is_refused_even_if_all_hashes_fit(archive, tmp_path):
    def half(files, manifest):
        files["data/snapshot"] = files["data/snapshot"][: 4096 * 4]
        (tmp_path / "half").write_bytes(files["data/snapshot"])
        manifest["files"]["data/snapshot"] = {"size": 4096 * 4, "sha256": sha256(tmp_path / "half")}

    rewrite(archive, half)
    with pytest.raises(BackupDamagedError, match="data/snapshot: "):
        verify(archive)


def test_a_bomb_is_refused_before_it_is_unpacked(archive, tmp_path):
    def bomb(files, manifest):
        files["data/snapshot"] = bytes(50_000_000)

    rewrite(archive, bomb)
    with pytest.raises(BackupFormatError, match="data/snapshot: the manifest gives another size"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_than_the_disk_holds_is_refused_before_it_is_unpacked(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(RolloutError, match="0 MB free"):
        unpack(archive, tmp_path)
    assert not (tmp_path / "data").exists()


def test_a_backup_that_was_renamed_to_another_environment_is_refused(archive):
    staging = archive.with_name(archive.name.replace("production", "staging"))
    archive.rename(staging)
    signing.write(staging, sha256(staging), staging.parent)
    with pytest.raises(BackupFormatError, match="its name says staging, its manifest production"):
        verify(staging)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": 2}, "format"),
        ({"environment": ""}, "environment"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"files": {}}, "is not among its files"),
        ({"snapshot": "../../etc/passwd"}, "is not among its files"),
        ({"unknown": 1}, "unknown"),
        ({"release": 5}, "release"),
        ({"release": "../../elsewhere"}, "release"),
        ({"release": "another-release"}, "RELEASE.json is not of another-release"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_with_its_place(archive, change, problem):
    rewrite(archive, lambda files, manifest: manifest.update(change))
    with pytest.raises(BackupFormatError, match=problem):
        verify(archive)


def test_a_zip_without_manifest_is_no_backup(archive):
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as other:
        other.writestr("holiday.jpg", b"x")
    checksum_of(archive).unlink()
    signing.write(archive, sha256(archive), archive.parent)
    with pytest.raises(BackupFormatError, match=r"it has no manifest\.json"):
        verify(archive)


@pytest.fixture
def with_original(project, tmp_path):
    """A backup with one kept original; the archive, and where the original stands."""
    digest = hashlib.sha256(b"picture").hexdigest()
    path = f"{digest[:2]}/{digest[2:4]}/{digest}"
    kept = tmp_path / "kept" / path
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"picture")
    entry = project.take(project.backup_folder(tmp_path / "backups"), originals=tmp_path / "kept").entry
    return entry.path, tmp_path / "backups" / "originals" / path


def test_an_original_that_is_missing_is_named(with_original):
    archive, original = with_original
    assert "1 originals present beside it" in verify(archive).checks
    original.unlink()
    with pytest.raises(BackupDamagedError, match=f"the original {original} is missing"):
        verify(archive)


def test_an_original_that_was_changed_is_named_when_they_are_read_too(with_original):
    archive, original = with_original
    assert "1 originals whole beside it" in verify(archive, originals_too=True).checks
    original.write_bytes(b"another")
    with pytest.raises(BackupDamagedError, match=f"the original {original} was changed"):
        verify(archive, originals_too=True)


def test_originals_come_back_to_where_they_stood(with_original, tmp_path):
    archive, original = with_original
    unpack(archive, tmp_path / "out")
    lacking = tmp_path / "lacking"
    assert originals.restore(archive, tmp_path / "out" / "originals.sha256", lacking) == 1
    assert originals.restore(archive, tmp_path / "out" / "originals.sha256", lacking) == 0
    [back] = [path for path in lacking.rglob("*") if path.is_file()]
    assert back.relative_to(lacking) == original.relative_to(tmp_path / "backups" / "originals")
    assert back.read_bytes() == b"picture"
    back.unlink()
    original.write_bytes(b"another")
    with pytest.raises(BackupDamagedError, match="is missing or was changed"):
        originals.restore(archive, tmp_path / "out" / "originals.sha256", lacking)
    assert not back.exists()


@pytest.mark.parametrize(
    "line",
    [
        "0" * 64 + "  originals/../../../etc/" + "0" * 64,
        "0" * 64 + "  /etc/passwd",
        "0" * 64 + "  originals/ab/" + "1" * 64,
        "0" * 64 + "  elsewhere/" + "0" * 64,
        "short  originals/short",
        "",
    ],
)
def test_a_list_of_originals_that_leads_elsewhere_is_refused(archive, line):
    with pytest.raises(BackupFormatError, match="no line of a list of originals"):
        originals.listed(archive, line.encode() + b"\n")


names = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=30)


@settings(max_examples=50)
@given(
    st.dictionaries(names, st.tuples(st.integers(0, 2**50), st.from_regex(r"[0-9a-f]{64}", fullmatch=True)))
)
def test_a_manifest_survives_its_file(tmp_path_factory, files):
    named = dict.fromkeys(["w", "r", "j", "s"], (1, "0" * 64)) | files
    manifest = Manifest(
        format=1,
        environment="production",
        created_at="2026-06-01T12:00:00Z",
        release="1.0.0",
        schema_revision=None,
        wheel="w",
        requirements="r",
        release_json="j",
        snapshot="s",
        configuration=(),
        files={name: {"size": size, "sha256": digest} for name, (size, digest) in named.items()},
    )
    assert Manifest.from_json(manifest.to_json(), "some.zip") == manifest


@settings(max_examples=50)
@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)
)
def test_whatever_a_manifest_file_holds_it_is_a_manifest_or_a_clear_error(content):
    with pytest.raises(BackupFormatError):
        Manifest.from_json(content, "some.zip")
