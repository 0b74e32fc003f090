"""Documents are read in other processes: what happens there costs one document and leaves nothing behind."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pikepdf
import psutil
import pytest

from dhash_service.documents import DocumentReader, pdf
from dhash_service.documents.extraction import Limits, Reading
from dhash_service.errors import (
    BusyError,
    DhashError,
    DocumentMemoryError,
    DocumentTimeoutError,
    DocumentWorkerDiedError,
    EncryptedDocumentError,
    TooManyPagesError,
    TooManyPicturesError,
    TooManyPixelsError,
)
from dhash_service.facts import Outcome
from dhash_service.fingerprint import FAST
from dhash_service.settings import Settings
from tests.dhash_service.documents import pdfs
from tests.pictures import jpeg

MEBIBYTE = 2**20
PICTURE = jpeg(200, 150)
DOCUMENT = pdfs.showing(PICTURE)

Open = Callable[..., DocumentReader]


@pytest.fixture
def open_reader() -> Iterator[Open]:
    """Opens readers of one process, unless settings say otherwise; all are closed at the end."""
    readers = []

    def open_one(**settings: object) -> DocumentReader:
        reader = DocumentReader(Settings.load(**({"document_workers": 1} | settings)))
        readers.append(reader)
        return reader

    yield open_one
    for reader in readers:
        reader.close()
    assert workers() == []


def workers(parent: int | None = None) -> list[psutil.Process]:
    """The processes that read documents for `parent`, this process by default."""
    this = psutil.Process(parent)
    found = []  # the children of its fork server
    for process in this.children(recursive=True):
        try:
            if "forkserver" in " ".join(process.cmdline()) and process.ppid() != this.pid:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def busy_worker() -> psutil.Process:
    """The one worker, once it is at work on its document."""
    eventually(lambda: len(workers()) == 1)
    (process,) = workers()
    eventually(lambda: process.cpu_times().user > 0.3)
    return process


def read_one(reader: DocumentReader) -> None:
    assert len(reader.extract(DOCUMENT, FAST).result().pictures) == 1


# ---- the ordinary course


def test_a_worker_gives_what_reading_in_this_process_gives(open_reader: Open) -> None:
    settings = Settings()
    limits = Limits(settings.max_pages, settings.max_pictures, settings.max_pixels)
    expected = pdf.extract(DOCUMENT, Reading(FAST, limits, keep_content=True))
    assert open_reader().extract(DOCUMENT, FAST, keep_content=True).result() == expected
    assert expected.pictures[0].picture.content == PICTURE


def test_many_documents_at_once_each_get_their_own_answer(open_reader: Open) -> None:
    reader = open_reader(document_workers=2)
    documents = [pdfs.showing(*[PICTURE] * pages) for pages in range(1, 25)]
    futures = [reader.extract(document, FAST) for document in documents]
    assert [len(future.result().pictures) for future in futures] == list(range(1, 25))


def test_no_process_is_left_by_the_documents_before(open_reader: Open) -> None:
    reader = open_reader()
    for _ in range(3):
        read_one(reader)
        assert workers() == []


def test_at_most_as_many_processes_run_as_the_setting_says(open_reader: Open) -> None:
    reader = open_reader(document_workers=2)
    futures, most = [reader.extract(pdfs.slow(10), FAST) for _ in range(6)], 0
    while not all(future.done() for future in futures):
        most = max(most, len(workers()))
    assert most == 2


def test_warming_finds_out_whether_processes_start(open_reader: Open) -> None:
    reader = open_reader()
    reader.warm()
    read_one(reader)
    assert reader.health() == (True, "The processes that read PDFs start.")


def test_processes_are_never_forked_from_the_service_itself(open_reader: Open) -> None:
    reader = open_reader()
    future = reader.extract(pdfs.slow(), FAST)
    assert busy_worker().ppid() != os.getpid()
    reader.close()
    with pytest.raises(BusyError):
        future.result()


@pytest.mark.parametrize(
    ("settings", "document", "error"),
    [
        ({}, pdfs.of_pages(10_000), TooManyPagesError),
        ({"max_pages": 2}, pdfs.of_pages(3), TooManyPagesError),
        ({"max_pictures": 1}, pdfs.showing(PICTURE, PICTURE), TooManyPicturesError),
        ({"max_pixels": 29_999}, DOCUMENT, TooManyPixelsError),
        ({"document_memory_bytes": 4096}, DOCUMENT, DocumentMemoryError),
    ],
)
def test_settings_set_the_limits(
    open_reader: Open, settings: dict[str, object], document: bytes, error: type[DhashError]
) -> None:
    with pytest.raises(error):
        open_reader(**settings).extract(document, FAST).result()


def test_a_refused_document_comes_back_as_our_error(open_reader: Open) -> None:
    locked = pdfs.showing(PICTURE, encryption=pikepdf.Encryption(owner="a", user="b"))
    with pytest.raises(EncryptedDocumentError, match="password"):
        open_reader().extract(locked, FAST).result()


# ---- hostile documents


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(lambda: pdfs.content_bomb(), id="page content of 4 GB"),
        pytest.param(lambda: pdfs.doubly_packed_bomb(), id="packed twice"),
        pytest.param(lambda: pdfs.packed_jpeg_bomb(), id="a JPEG of 4 GB"),
        pytest.param(lambda: pdfs.laughing_forms(PICTURE), id="10^8 forms"),
    ],
)
def test_a_memory_bomb_meets_the_limit_and_costs_one_document(
    open_reader: Open, bomb: Callable[[], bytes]
) -> None:
    reader = open_reader(document_memory_bytes=256 * MEBIBYTE)
    document = bomb()
    assert len(document) < 8 * MEBIBYTE
    future, peak = reader.extract(document, FAST), 0
    while not future.done():
        for process in workers():
            with contextlib.suppress(psutil.NoSuchProcess):
                peak = max(peak, process.memory_info().rss)
    with pytest.raises(DocumentMemoryError, match="256 MiB") as caught:
        future.result()
    assert (caught.value.status, caught.value.outcome) == (413, Outcome.REJECTED)
    assert peak < 400 * MEBIBYTE
    read_one(reader)


def test_an_image_bomb_is_harmless(open_reader: Open) -> None:
    reader = open_reader(document_memory_bytes=256 * MEBIBYTE)
    extraction = reader.extract(pdfs.image_bomb((100, 100)), FAST).result()
    assert len(extraction.pictures) == 1
    with pytest.raises(TooManyPixelsError):
        reader.extract(pdfs.image_bomb((60_000, 60_000)), FAST).result()


@pytest.mark.parametrize("document", [pdfs.slow, pdfs.stuck], ids=["between calls", "inside pdfium"])
def test_a_hang_ends_at_the_time_limit(open_reader: Open, document: Callable[[], bytes]) -> None:
    reader = open_reader(document_seconds=2)
    begun = time.monotonic()
    with pytest.raises(DocumentTimeoutError, match="more than 2 seconds") as caught:
        reader.extract(document(), FAST).result()
    assert 2 <= time.monotonic() - begun < 10
    assert caught.value.status == 422
    assert workers() == []
    read_one(reader)


# ---- killed


def test_a_worker_killed_in_the_middle_costs_its_document_alone(open_reader: Open) -> None:
    reader = open_reader(document_workers=2)
    doomed = reader.extract(pdfs.slow(), FAST)
    process = busy_worker()
    other = reader.extract(pdfs.slow(30), FAST)
    waiting = reader.extract(DOCUMENT, FAST)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(DocumentWorkerDiedError, match="SIGKILL") as caught:
        doomed.result()
    assert (caught.value.status, caught.value.outcome) == (422, Outcome.FAILED)
    assert len(other.result().pictures) == 30
    assert len(waiting.result().pictures) == 1
    read_one(reader)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS])
def test_a_crash_is_named(open_reader: Open, number: signal.Signals) -> None:
    reader = open_reader()
    doomed = reader.extract(pdfs.slow(), FAST)
    os.kill(busy_worker().pid, number)
    with pytest.raises(DocumentWorkerDiedError, match=number.name):
        doomed.result()
    read_one(reader)


def test_a_fork_server_that_was_killed_is_started_again(open_reader: Open) -> None:
    reader = open_reader()
    read_one(reader)
    for process in psutil.Process().children():
        if "forkserver" in " ".join(process.cmdline()):
            process.kill()
    read_one(reader)


def test_failures_do_not_add_up_to_leaks(open_reader: Open) -> None:
    reader, this = open_reader(), psutil.Process()
    counts = []
    for _ in range(6):
        doomed = reader.extract(pdfs.slow(), FAST)
        busy_worker().kill()
        with pytest.raises(DocumentWorkerDiedError):
            doomed.result()
        read_one(reader)
        gc.collect()
        counts.append(this.num_fds() + this.num_threads())
    assert counts[-1] <= counts[1] + 2  # with one left by each of the last four, it would be four


# ---- the end


def test_closing_gives_up_what_is_being_read_and_leaves_no_process(open_reader: Open) -> None:
    reader = open_reader()
    reading = reader.extract(pdfs.slow(), FAST)
    waiting = reader.extract(DOCUMENT, FAST)
    busy_worker()
    begun = time.monotonic()
    reader.close()
    assert time.monotonic() - begun < 5
    assert workers() == []
    with pytest.raises(BusyError):
        reading.result()
    assert waiting.cancelled()
    with pytest.raises(BusyError):
        reader.extract(DOCUMENT, FAST)


PARENT = """
import sys, time
from pathlib import Path
from dhash_service.documents import DocumentReader
from dhash_service.fingerprint import FAST
from dhash_service.settings import Settings

reader = DocumentReader(Settings.load(document_workers=1, document_seconds=600))
reader.extract(Path(sys.argv[1]).read_bytes(), FAST).result()
print("warm", flush=True)
if len(sys.argv) > 2:
    reader.extract(Path(sys.argv[2]).read_bytes(), FAST)
time.sleep(600)
"""


@pytest.mark.parametrize("doing", [None, pdfs.slow, pdfs.stuck], ids=["idle", "reading", "inside pdfium"])
def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path, doing: Callable[[], bytes] | None) -> None:
    quick = tmp_path / "quick.pdf"
    quick.write_bytes(DOCUMENT)
    arguments = [sys.executable, "-c", PARENT, str(quick)]
    if doing:
        (tmp_path / "long.pdf").write_bytes(doing())
        arguments.append(str(tmp_path / "long.pdf"))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "warm\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        if doing:
            eventually(lambda: workers(parent.pid))
            (worker,) = workers(parent.pid)
            eventually(lambda: worker.cpu_times().user > 0.3)
            family.append(worker)
        parent.kill()
        _, alive = psutil.wait_procs(family, timeout=5)
        for process in alive:
            process.kill()
        assert not alive
