"""Whole folders: what is taken, what is left out, and that no file takes its neighbours along."""

import os
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dhash_service import bulk
from dhash_service.bulk import LeftOut, Progress, find
from dhash_service.cli import hash as hash_command
from dhash_service.errors import DhashError, as_error
from dhash_service.facts import UNLABELLED, Label
from dhash_service.settings import Settings
from tests.dhash_service.exceptions import KINDS, made
from tests.pictures import jpeg


def test_there_are_many_kinds_of_exceptions() -> None:
    assert len(KINDS) > 100


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__qualname__)
def test_whatever_is_raised_becomes_a_clear_error_of_one_item(kind: type[Exception]) -> None:
    error = as_error(made(kind))
    assert isinstance(error, DhashError)
    assert str(error)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raised=st.lists(st.sampled_from([None, *KINDS]), min_size=1, max_size=8), seam=st.sampled_from("rkw"))
def test_no_file_takes_its_neighbours_along(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, raised: list[type[Exception] | None], seam: str
) -> None:
    """Looking at it, reading it and keeping it raise what they like: every file is told of, once."""
    kinds = {str(number): kind for number, kind in enumerate(raised)}

    def fail(path: Path, here: str) -> None:
        if (kind := kinds[path.name]) and seam == here:
            raise made(kind)

    class ReaderThatRaises:
        processes = 2

        def __init__(self, *_: object) -> None: ...

        def read(self, paths: list[Path], known: object) -> Future[list[object]]:
            future: Future[list[object]] = Future()
            try:
                for path in paths:
                    fail(path, "r")
                future.set_result([uuid4() for _ in paths])
            except Exception as error:
                future.set_exception(error)
            return future

        def close(self) -> None: ...

    class KeeperThatRaises(bulk.Keeper):
        def __init__(self, *_: object) -> None: ...

        def _keep(self, files: Sequence[bulk.File]) -> list[bulk.Kept | DhashError]:
            for file in files:
                fail(file.path, "k")
            return [file.answer if isinstance(file.answer, DhashError) else bulk.Kept(1) for file in files]

    class StoreOfNone:
        class algorithm:
            name = "dhash-64"

        class files:
            @staticmethod
            def images(files: object) -> dict[UUID, UUID]:
                return {}

        by_digests = None

    def label(path: Path, root: object) -> Label:
        fail(path, "w")
        return UNLABELLED

    monkeypatch.setattr(bulk, "FileReader", ReaderThatRaises)
    monkeypatch.setattr(bulk, "Keeper", KeeperThatRaises)
    monkeypatch.setattr(bulk, "path_label", label)
    monkeypatch.setattr(bulk, "UNIT", 1 if seam == "r" else 4)
    files = [tmp_path / str(number) for number in range(len(raised))]
    for file in files:
        file.touch()
    steps = list(bulk.index_files(files, Settings(), StoreOfNone(), None))  # type: ignore[arg-type]
    assert [step.path for step in steps] == files
    assert [step.error is not None for step in steps] == [kind is not None for kind in raised]
    assert steps[-1].progress == Progress(
        len(files), len(files), raised.count(None), 0, len(raised) - raised.count(None)
    )


@pytest.mark.parametrize("kind", [OverflowError, MemoryError, RecursionError, KeyError, RuntimeError])
def test_hash_goes_on_whatever_a_decoder_raises(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[Exception]
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    (tmp_path / "good.jpg").write_bytes(jpeg(64, 48))
    from dhash_service.pictures import fingerprint as room

    whole = room.fingerprint

    def raising(data: bytes, *rest: object, **named: object) -> object:
        if data == b"bad":
            raise kind
        return whole(data, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "fingerprint", raising)
    names = [str(tmp_path / name) for name in ("bad.jpg", "good.jpg")]
    bad, good = (found for _, found in hash_command._fingerprints(names, Settings()))
    assert isinstance(bad, DhashError)
    assert not isinstance(good, DhashError)


def test_a_folder_is_told_of_without_a_gap(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "sub.jpg").mkdir(parents=True)
    data = jpeg(64, 48)
    for name in ("a.jpg", "b.JFIF", "c.heic", "d.avif", "plain", "sub.jpg/e.mpo", "f.png "):
        (top / name).write_bytes(data)
    for name in ("note.txt", "README", "table.csv"):
        (top / name).write_text("words")
    os.mkfifo(top / "pipe.jpg")
    (top / "zero.jpg").symlink_to("/dev/zero")
    (top / "gone.jpg").symlink_to("nowhere.jpg")
    (top / "loop.jpg").symlink_to("loop.jpg")
    (top / "up").symlink_to("..")
    (top / "same.jpg").symlink_to("a.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "s.jpg"))
        found = find([top])
    names = [str(path.relative_to(top)) for path in found.files]
    assert sorted(names) == sorted(
        ["a.jpg", "b.JFIF", "c.heic", "d.avif", "f.png ", "plain", "same.jpg", "sub.jpg/e.mpo"]
    )
    assert found.left_out == {LeftOut.SUFFIX: 3, LeftOut.LINK: 3, LeftOut.SPECIAL: 3}
    assert found.suffixes == {".txt": 1, "": 1, ".csv": 1}


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    listed = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = find([tmp_path])
    assert found.left_out == {LeftOut.UNREADABLE: 1}
    assert found.unreadable == [(tmp_path / "locked", "Permission denied.")]
