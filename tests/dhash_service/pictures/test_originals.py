"""Originals: kept whole, verified when read, never half there."""

import hashlib
import os
from pathlib import Path

import pytest

from dhash_service.errors import StoreDamagedError, StoreUnreachableError
from dhash_service.facts import Sha256
from dhash_service.pictures.originals import FolderOriginals
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import FAST, NEW, picture

CONTENT = b"a picture"
DIGEST = Sha256(hashlib.sha256(CONTENT).hexdigest())


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_kept_under_its_digest_and_comes_back(tmp_path: Path) -> None:
    originals = FolderOriginals(tmp_path / "originals")
    path = originals.put(CONTENT, DIGEST)
    assert path == tmp_path / "originals" / DIGEST[:2] / DIGEST[2:4] / DIGEST
    assert originals.get(DIGEST) == CONTENT
    assert originals.get(Sha256("0" * 64)) is None


def test_keeping_a_file_twice_leaves_the_first_as_it_is(tmp_path: Path) -> None:
    originals = FolderOriginals(tmp_path)
    first = originals.put(CONTENT, DIGEST).stat()
    again = originals.put(CONTENT, DIGEST).stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert files_in(tmp_path) == [DIGEST]


def test_a_file_cut_short_is_replaced(tmp_path: Path) -> None:
    originals = FolderOriginals(tmp_path)
    originals.put(CONTENT, DIGEST).write_bytes(CONTENT[:4])
    originals.put(CONTENT, DIGEST)
    assert originals.get(DIGEST) == CONTENT


def test_a_file_that_changed_on_the_disk_is_replaced_when_it_is_sent_again(tmp_path: Path) -> None:
    originals = FolderOriginals(tmp_path)
    originals.put(CONTENT, DIGEST).write_bytes(b"A picture")
    originals.put(CONTENT, DIGEST)
    assert originals.get(DIGEST) == CONTENT


def test_one_that_cannot_be_read_or_removed_is_told_as_an_error_of_the_store(tmp_path: Path) -> None:
    originals = FolderOriginals(tmp_path)
    path = originals.put(CONTENT, DIGEST)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreUnreachableError, match="cannot be read"):
        originals.get(DIGEST)
    with pytest.raises(StoreUnreachableError, match="cannot be removed"):
        originals.remove(DIGEST)


def test_a_file_that_changed_on_the_disk_is_not_handed_out(tmp_path: Path) -> None:
    originals = FolderOriginals(tmp_path)
    originals.put(CONTENT, DIGEST).write_bytes(b"A picture")
    with pytest.raises(StoreDamagedError, match="changed"):
        originals.get(DIGEST)


def test_bytes_of_another_digest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreDamagedError):
        FolderOriginals(tmp_path).put(b"something else", DIGEST)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "AB" * 32, "ab" * 31])
def test_what_is_no_digest_names_no_file(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError):
        FolderOriginals(tmp_path).get(Sha256(digest))


def test_a_folder_that_cannot_be_made_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "originals").write_text("a file is in the way")
    with pytest.raises(StoreUnreachableError, match="DHASH_ORIGINALS"):
        FolderOriginals(tmp_path / "originals").put(CONTENT, DIGEST)
    assert files_in(tmp_path) == ["originals"]


def test_a_failed_rename_leaves_no_part_behind(tmp_path: Path) -> None:
    originals = FolderOriginals(tmp_path)
    os.makedirs(originals.path(DIGEST))  # a folder where the file would be
    with pytest.raises(StoreUnreachableError):
        originals.put(CONTENT, DIGEST)
    assert files_in(tmp_path) == []


def test_the_original_is_on_the_disk_before_the_picture_is_acknowledged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'dhash.db'}"
    folder = tmp_path / "originals"
    with Store.open(url, release="r", algorithm=FAST, migrate=True, originals=folder) as store:
        kept = picture("whole", content=True)
        assert store.add_image(kept, NEW).result(10).created
        assert FolderOriginals(folder).get(kept.sha256) == b"whole"


def test_an_original_that_cannot_be_kept_fails_its_picture_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'dhash.db'}"
    folder = tmp_path / "originals"
    folder.write_text("in the way")
    with Store.open(url, release="r", algorithm=FAST, migrate=True, originals=folder) as store:
        with pytest.raises(StoreUnreachableError):
            store.add_image(picture("a", content=True), NEW).result(10)
        assert store.add_image(picture("b"), NEW).result(10).created
        assert store.count() == 1
