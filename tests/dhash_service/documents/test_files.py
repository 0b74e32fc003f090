"""Files read by path in other processes: one that ends or stalls its process costs itself alone."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from dhash_service.documents import Extraction, files, worker
from dhash_service.documents.extraction import FileRules
from dhash_service.documents.files import FileReader
from dhash_service.errors import (
    BodyTooLargeError,
    BusyError,
    DocumentMemoryError,
    DocumentTimeoutError,
    DocumentWorkerDiedError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from dhash_service.facts import Picture, Sha256
from dhash_service.pictures.fingerprint import VISUAL_FAST, read_picture
from dhash_service.settings import Settings
from tests.dhash_service.documents import pdfs
from tests.pictures import jpeg

PICTURES = [jpeg(80, 60, seed) for seed in range(4)]
Open = Callable[..., FileReader]


def serve_badly(pipe: Connection, memory_bytes: int, rules: FileRules) -> None:
    """As a worker does whose decoder ends it, stalls it or eats its memory, at what some files hold."""
    whole = worker._read

    def read(data: bytes, reading: object) -> object:
        if data == b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if data == b"abort":
            os.abort()
        if data == b"hang":
            signal.pause()
        return whole(data, reading)  # type: ignore[arg-type]

    worker._read = read  # type: ignore[assignment]
    worker.serve_files(pipe, memory_bytes, rules)


@pytest.fixture
def open_reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens a reader of one process, which is closed at the end."""
    readers = []

    def open_one(*, badly: bool = False, **given: object) -> FileReader:
        if badly:
            monkeypatch.setattr(files, "partial", lambda _, rules: partial(serve_badly, rules=rules))
        readers.append(FileReader(Settings.load(**({"threads": 1} | given)), VISUAL_FAST))
        return readers[-1]

    yield open_one
    for reader in readers:
        reader.close()


def nothing(digests: Sequence[Sha256]) -> Mapping[Sha256, UUID]:
    return {}


def written(folder: Path, *contents: bytes) -> list[Path]:
    paths = [folder / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def test_every_file_has_its_answer_and_what_is_known_is_not_decoded(
    tmp_path: Path, open_reader: Open
) -> None:
    known = {read_picture(PICTURES[1], VISUAL_FAST).sha256: uuid4()}
    asked: list[Sequence[Sha256]] = []

    def images(digests: Sequence[Sha256]) -> Mapping[Sha256, UUID]:
        asked.append(digests)
        return known

    paths = written(tmp_path, PICTURES[0], PICTURES[1], pdfs.showing(PICTURES[2]), b"words")
    answers = open_reader().read([*paths, tmp_path / "none", tmp_path], images).result()
    assert answers[0] == read_picture(PICTURES[0], VISUAL_FAST)
    assert answers[1] in known.values()
    assert isinstance(answers[2], Extraction)
    assert [type(each) for each in answers[3:]] == [UnsupportedFormatError, *[UnreadableFileError] * 2]
    assert [len(each) for each in asked] == [4]  # once for all


@pytest.mark.parametrize(
    ("bad", "kind"),
    [(b"crash", DocumentWorkerDiedError), (b"abort", DocumentMemoryError), (b"hang", DocumentTimeoutError)],
)
def test_what_ends_or_stalls_a_process_costs_that_file_alone(
    tmp_path: Path, open_reader: Open, bad: bytes, kind: type[Exception]
) -> None:
    paths = written(tmp_path, PICTURES[0], bad, PICTURES[1], PICTURES[2])
    reader = open_reader(badly=True, document_seconds=1.0 if bad == b"hang" else 30)
    answers = reader.read(paths, nothing).result()
    assert [type(each) for each in answers] == [Picture, kind, Picture, Picture]


def test_more_than_is_held_is_read_again(
    tmp_path: Path, open_reader: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = open_reader()._rules
    monkeypatch.setattr(worker, "HELD_BYTES", len(PICTURES[0]) + 10)
    held = worker._Files(written(tmp_path, *PICTURES), rules)
    assert len(held.digests()) == 4
    assert len(held._held) == 1
    assert [held.take(place) for place in range(4)] == PICTURES


def test_a_file_that_is_too_large_says_so(tmp_path: Path, open_reader: Open) -> None:
    (answer,) = open_reader(max_body_bytes=100).read(written(tmp_path, PICTURES[0]), nothing).result()
    assert isinstance(answer, BodyTooLargeError)


def test_a_store_that_fails_is_each_files_error(tmp_path: Path, open_reader: Open) -> None:
    def broken(digests: Sequence[Sha256]) -> Mapping[Sha256, UUID]:
        raise KeyError("away")

    reader = open_reader()
    answers = reader.read(written(tmp_path, *PICTURES[:2]), broken).result()
    assert ["away" in str(each) for each in answers] == [True, True]
    (answer,) = reader.read(written(tmp_path, PICTURES[0]), nothing).result()
    assert isinstance(answer, Picture)


def test_closing_gives_up_what_is_being_read(tmp_path: Path, open_reader: Open) -> None:
    reader = open_reader(badly=True)
    future = reader.read(written(tmp_path, b"hang"), nothing)
    while reader._lanes[0]._process is None:
        time.sleep(0.01)
    threading.Timer(0.3, reader.close).start()
    with pytest.raises(BusyError):
        future.result(20)
