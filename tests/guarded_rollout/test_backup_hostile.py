"""Spoiled, forged and old backups: refused with the file named, or restored."""

import hashlib
import io
import json
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fuzz.targets.backups import FILES, MANIFEST, archive, described

from dhash_service.checks.drawing import picture
from guarded_rollout.backup import verify as verifying
from guarded_rollout.backup.manifest import FORMAT, NAME
from guarded_rollout.backup.verify import read_through, unpack, verify
from guarded_rollout.errors import BackupDamagedError, BackupFormatError
from tests.guarded_rollout.backups import Project
from tests.guarded_rollout.sandbox import Sandbox

STEP = 97
FIXTURES = Path(__file__).with_name("fixtures")
OLD = {1: "dhash_production_20261125_014227.zip"}
"""A backup of every format that there was, taken when it was the present one, of the sample service 0.9.0."""
KEPT = {
    1: (
        "48ab72ecfec7585d86cd6ea72e4bb2c5333579aaa690c96d6696d8456a79f33b",
        "08817aafb228a7f9dbcc3826825abf8b2823dd204c515e0a315e9d5853db3321",
    )
}
"""The pictures in each, by their SHA-256."""


# ---- damage


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real backup, of 80 KB."""
    return Project(tmp_path_factory.mktemp("project"), rows=8).take().entry.path


def refused_with(path: Path, content: bytes) -> bool:
    """Whether the file is refused and named, when its content is this."""
    path.write_bytes(content)
    with pytest.raises(BackupDamagedError) as refused:
        verify(path)
    return str(path) in refused.value.sentence


def beside(taken: Path, folder: Path) -> Path:
    """A copy with its checksum."""
    for path in (taken, taken.with_name(taken.name + ".sha256")):
        shutil.copy(path, folder)
    return folder / taken.name


def test_every_97th_byte_flipped_is_refused_with_the_file_named(taken: Path, tmp_path: Path) -> None:
    whole, path = taken.read_bytes(), beside(taken, tmp_path)
    for position in range(0, len(whole), STEP):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        assert refused_with(path, bytes(changed)), position
    path.write_bytes(whole)
    assert verify(path).manifest.environment == "production"


def test_a_cut_at_every_97th_byte_is_refused_with_the_file_named(taken: Path, tmp_path: Path) -> None:
    whole, path = taken.read_bytes(), beside(taken, tmp_path)
    for length in range(0, len(whole), STEP):
        assert refused_with(path, whole[:length]), length


def test_without_its_checksum_damage_is_found_in_the_file_that_has_it(taken: Path, tmp_path: Path) -> None:
    """The archive alone, as if somebody had made the checksum anew: by each file's own hash."""
    whole, path = taken.read_bytes(), tmp_path / "dhash_production_20260601_120000.zip"
    path.write_bytes(whole)
    manifest = read_through(path)
    refused = unnoticed = 0
    for position in range(0, len(whole), STEP):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        try:
            # Times and other marks of the zip format itself say nothing of what is in it.
            assert read_through(path) == manifest
            unnoticed += 1
        except (BackupDamagedError, BackupFormatError) as error:
            refused += str(path) in error.sentence
    assert refused > 100 * unnoticed


# ---- forgeries


def forged(path: Path, contents: dict[str, bytes], **changes: Any) -> Path:
    """An archive in order but for these files or changes of its manifest, with its checksum."""
    manifest = {**MANIFEST, "files": described(contents), **changes}
    return with_checksum(path, archive(contents, manifest))


def with_checksum(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dhash_production_20260601_120000.zip"


def refusal(path: Path) -> str:
    """Why it is refused; nothing may stand anywhere afterwards but what was there, and an empty folder."""
    folder = path.parent
    before = sorted(folder.iterdir())
    with pytest.raises((BackupFormatError, BackupDamagedError)) as refused:
        unpack(path, folder / "into")
    assert str(path) in refused.value.sentence
    assert not [one for one in (folder / "into").rglob("*") if one.is_file()]
    shutil.rmtree(folder / "into", ignore_errors=True)
    assert sorted(folder.iterdir()) == before
    return refused.value.sentence


def test_the_forgeries_begin_with_one_that_is_in_order(path: Path) -> None:
    assert set(unpack(forged(path, FILES), path.parent / "into").manifest.files) == set(FILES)


@pytest.mark.parametrize(
    "name", ["../evil", "data/../../evil", "/tmp/evil", "C:evil", "..\\evil", "data//x", "./x"]
)
def test_paths_that_lead_elsewhere_are_refused(path: Path, name: str) -> None:
    assert "its path leads elsewhere" in refusal(forged(path, FILES | {name: b"x"}))


def test_a_file_that_is_a_folder_as_well_is_refused(path: Path) -> None:
    assert "its folder is a file of the archive" in refusal(forged(path, FILES | {"release": b"x"}))


def zipped(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for info, content in entries:
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, content)
    return file.getvalue()


def entries() -> list[tuple[zipfile.ZipInfo, bytes]]:
    manifest = json.dumps({**MANIFEST, "files": described(FILES)}).encode()
    return [(zipfile.ZipInfo(name), content) for name, content in (FILES | {NAME: manifest}).items()]


def test_a_link_is_refused(path: Path) -> None:
    odd = entries()
    odd[0][0].create_system, odd[0][0].external_attr = 3, 0o120777 << 16
    assert "a link or a special file" in refusal(with_checksum(path, zipped(odd)))


def test_an_entry_that_is_there_twice_is_refused(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        odd = zipped([*entries(), (zipfile.ZipInfo("data/snapshot"), b"other")])
    assert "two entries of one name" in refusal(with_checksum(path, odd))


def test_a_second_manifest_in_other_letters_is_refused(path: Path) -> None:
    assert "two entries of one name" in refusal(forged(path, FILES | {"MANIFEST.JSON": b"{}"}))


def test_a_bomb_is_refused_before_it_is_unpacked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "HARMLESS_BYTES", 2**20)
    bomb = FILES | {"data/snapshot": bytes(8 * 2**20)}
    assert "it would unpack to 8 MiB" in refusal(forged(path, bomb))
    dense = FILES | {"data/snapshot": hashlib.shake_256(b"a").digest(2 * 2**20)}
    assert unpack(forged(path, dense), path.parent / "into").manifest.files["data/snapshot"].size == 2 * 2**20


def test_a_manifest_that_tells_less_than_there_is_is_refused(path: Path) -> None:
    bomb = FILES | {"data/snapshot": bytes(2**20)}
    files = described(bomb)
    files["data/snapshot"]["size"] = 1024
    assert "gives another size" in refusal(forged(path, bomb, files=files))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"release": "../../outside"}, "release"),
        ({"snapshot": "../store"}, "not among its files"),
        ({"configuration": ["/etc/passwd"]}, "not among its files"),
        ({"format": FORMAT + 1}, "format"),
        ({"environment": "staging"}, "its name says production"),
        ({"more": True}, "more"),
    ],
)
def test_a_manifest_of_an_attackers_choice_is_refused(path: Path, changes: dict[str, Any], why: str) -> None:
    assert why in refusal(forged(path, FILES, **changes))


# ---- former formats


def test_there_is_a_backup_of_every_format() -> None:
    assert list(OLD) == list(range(1, FORMAT + 1)), "keep one that the former format wrote in fixtures/"


@pytest.mark.parametrize("format_", OLD)
def test_a_backup_of_a_former_format_restores(sandbox: Sandbox, format_: int) -> None:
    """Its release is built again and serves, and its data is there beside what came since."""
    sandbox.configure(window_seconds=0.1)
    sandbox.deploy()
    assert sandbox.site.public().ask("POST", "/api/dhash", body=picture("since")).ok
    backups = sandbox.environment.backups
    backups.mkdir(exist_ok=True)
    for path in (FIXTURES / OLD[format_], FIXTURES / f"{OLD[format_]}.sha256"):
        shutil.copy(path, backups)
    done = sandbox.rollout("rollback", "--backup", f"backups/{OLD[format_]}", "--force")
    assert done.returncode == 0, done.stderr
    sandbox.configure()  # its rollout.toml came back too, with the port of another machine
    assert sandbox.served_by() == "0.9.0-wheel-1f8edb4d"
    assert sandbox.site.public().ask("POST", "/api/dhash", body=picture("since")).status == 200
    for sha256 in KEPT[format_]:
        found = sandbox.site.public().ask("GET", f"/api/dhash/search?hash={sha256}").json()
        assert found == {"results": [{"id": sha256, "sha256": sha256, "distance": 0}]}
