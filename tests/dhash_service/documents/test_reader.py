"""Documents are read in other processes: what happens there costs one document and leaves nothing behind."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pikepdf
import psutil
import pytest

from dhash_service.documents import DocumentReader, Extraction, pdf, worker
from dhash_service.documents.extraction import Limits, Reading, Skip
from dhash_service.errors import (
    BusyError,
    DamagedPictureError,
    DecoderFailedError,
    DhashError,
    DocumentMemoryError,
    DocumentTimeoutError,
    DocumentWorkerDiedError,
    EncryptedDocumentError,
    TooManyPagesError,
    TooManyPicturesError,
    UnsupportedFormatError,
)
from dhash_service.facts import Outcome
from dhash_service.pictures.fingerprint import FAST, VISUAL
from dhash_service.settings import Settings
from tests.dhash_service.documents import pdfs
from tests.pictures import encode, jpeg, photo
from tests.waiting import wait_until

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
    found = []
    for process in psutil.Process(parent).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(process.cmdline()):
                found.append(process)
    return found


def at_work(processes: list[psutil.Process]) -> psutil.Process:
    """The one of these processes that spends time, once it has spent some."""
    begun = {process: process.cpu_times().user for process in processes}
    working: list[psutil.Process] = []

    def find() -> bool:
        working[:] = [process for process in processes if process.cpu_times().user > begun[process] + 0.2]
        return bool(working)

    wait_until(find)
    return working[0]


def busy_worker(reader: DocumentReader) -> tuple[psutil.Process, Future[Extraction]]:
    """The process that is at work on a document which takes it long."""
    read_one(reader)
    future = reader.extract(pdfs.slow(), FAST)
    return at_work(workers()), future


def read_one(reader: DocumentReader) -> None:
    assert len(reader.extract(DOCUMENT, FAST).result().pictures) == 1


# ---- the ordinary course


def test_a_process_gives_what_reading_in_this_process_gives(open_reader: Open) -> None:
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


def test_nothing_starts_before_it_is_needed_or_warmed(open_reader: Open) -> None:
    reader = open_reader(document_workers=2)
    assert workers() == []
    reader.warm()
    wait_until(lambda: len(workers()) == 2)
    read_one(reader)
    assert reader.health() == (True, "The processes that read PDFs start.")
    assert len(workers()) == 2


def test_a_process_reads_many_documents_and_then_gives_way_to_a_fresh_one(open_reader: Open) -> None:
    reader = open_reader()
    read_one(reader)
    (first,) = workers()
    for _ in range(worker.DOCUMENTS - 1):
        assert reader.extract(pdfs.of_pages(1), FAST).result().pages == 1
    read_one(reader)
    (second,) = workers()
    assert second != first


@pytest.mark.parametrize(
    ("settings", "document", "error"),
    [
        ({}, pdfs.of_pages(10_000), TooManyPagesError),
        ({"max_pages": 2}, pdfs.of_pages(3), TooManyPagesError),
        ({"max_pictures": 1}, pdfs.showing(PICTURE, PICTURE), TooManyPicturesError),
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
    bomb = reader.extract(pdfs.image_bomb((60_000, 60_000)), FAST).result()
    assert (bomb.pictures, bomb.skipped) == ((), {Skip.TOO_MANY_PIXELS: 1})


def test_the_largest_picture_is_a_setting(open_reader: Open) -> None:
    extraction = open_reader(max_pixels=29_999).extract(DOCUMENT, FAST).result()
    assert not extraction.pictures
    assert extraction.skipped[Skip.TOO_MANY_PIXELS] > 0


@pytest.mark.parametrize("document", [pdfs.slow, pdfs.stuck], ids=["between calls", "inside pdfium"])
def test_a_hang_ends_at_the_time_limit(open_reader: Open, document: Callable[[], bytes]) -> None:
    reader = open_reader(document_seconds=2)
    read_one(reader)
    begun = time.monotonic()
    with pytest.raises(DocumentTimeoutError, match="more than 2 seconds") as caught:
        reader.extract(document(), FAST).result()
    assert 2 <= time.monotonic() - begun < 10
    assert caught.value.status == 422
    assert workers() == []
    read_one(reader)


# ---- killed


def test_a_process_killed_in_the_middle_costs_its_document_alone(open_reader: Open) -> None:
    reader = open_reader(document_workers=2)
    for future in [reader.extract(pdfs.slow(5), FAST) for _ in range(2)]:
        future.result()  # so both processes have started
    process, doomed = busy_worker(reader)
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
    process, doomed = busy_worker(reader)
    os.kill(process.pid, number)
    with pytest.raises(DocumentWorkerDiedError, match=number.name):
        doomed.result()
    read_one(reader)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_process_killed_between_documents_costs_none(open_reader: Open, at_once: bool) -> None:
    reader = open_reader()
    for _ in range(3):
        read_one(reader)
        (process,) = workers()
        process.kill()
        if not at_once:
            wait_until(lambda: not workers())
    read_one(reader)
    assert reader.health()[0]


def test_a_process_killed_while_it_starts_costs_no_document(open_reader: Open) -> None:
    reader = open_reader()
    future = reader.extract(DOCUMENT, FAST)
    wait_until(workers)
    workers()[0].kill()
    assert len(future.result().pictures) == 1


def test_failures_do_not_add_up_to_leaks(open_reader: Open) -> None:
    reader, this = open_reader(), psutil.Process()
    counts = []
    for _ in range(5):
        process, doomed = busy_worker(reader)
        process.kill()
        with pytest.raises(DocumentWorkerDiedError):
            doomed.result()
        read_one(reader)
        gc.collect()
        counts.append(this.num_fds() + this.num_threads())
    assert counts[-1] <= counts[1] + 2  # with one left by each of the last three, it would be three


# ---- the end


def test_closing_gives_up_what_is_being_read_and_leaves_no_process(open_reader: Open) -> None:
    reader = open_reader()
    _, reading = busy_worker(reader)
    waiting = reader.extract(DOCUMENT, FAST)
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
from concurrent.futures import Future
from pathlib import Path
from dhash_service.documents import DocumentReader
from dhash_service.pictures.fingerprint import FAST, VISUAL
from dhash_service.settings import Settings

reader = DocumentReader(Settings.load(document_workers=1, document_seconds=600))
reader.extract(Path(sys.argv[1]).read_bytes(), FAST).result()
print("warm", flush=True)
if len(sys.argv) > 2:
    reader.extract(Path(sys.argv[2]).read_bytes(), FAST)
time.sleep(600)
"""


@pytest.mark.parametrize("doing", [None, pdfs.slow, pdfs.stuck], ids=["idle", "reading", "inside pdfium"])
def test_processes_end_with_a_parent_that_was_killed(
    tmp_path: Path, doing: Callable[[], bytes] | None
) -> None:
    quick = tmp_path / "quick.pdf"
    quick.write_bytes(DOCUMENT)
    arguments = [sys.executable, "-c", PARENT, str(quick)]
    if doing:
        (tmp_path / "long.pdf").write_bytes(doing())
        arguments.append(str(tmp_path / "long.pdf"))
    (tmp_path / "tmp").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "warm\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        if doing:
            at_work(workers(parent.pid))
        parent.kill()
        _, alive = psutil.wait_procs(family, timeout=5)
        for process in alive:
            process.kill()
        assert not alive
        assert list((tmp_path / "tmp").iterdir()) == []


def avif(side: int) -> bytes:
    return encode(photo(side, side), "AVIF", speed=10)


def test_a_further_format_is_decoded_in_the_limited_process(open_reader: Open) -> None:
    reader = open_reader(formats="avif,heic")
    found = reader.picture(avif(96), VISUAL)
    assert (found.format, found.thumbnail is not None) == ("AVIF", True)
    assert reader.fingerprint(avif(96), VISUAL) == found.fingerprint
    assert [each.turn for each in reader.variants(avif(96), VISUAL)][:2] == ["same", "turned_90"]
    with pytest.raises(DamagedPictureError):
        reader.picture(avif(96)[:-300], VISUAL)
    (process,) = workers()
    with pytest.raises(DecoderFailedError, match="Missing or empty image item"):
        reader.picture(avif(96).replace(b"iloc", b"free"), VISUAL)
    with pytest.raises(UnsupportedFormatError, match="JPEG 2000"):
        reader.picture(encode(photo(96, 96), "JPEG2000"), VISUAL)
    assert reader.picture(avif(96), VISUAL) == found
    assert workers() == [process]


def test_an_ordinary_picture_needs_no_process(open_reader: Open) -> None:
    assert open_reader().picture(PICTURE, FAST).format == "JPEG"
    assert workers() == []


def test_one_that_takes_too_much_memory_or_time_fails_alone(open_reader: Open) -> None:
    data = avif(2000)
    # A decoder without memory says so, gives up, or takes its process along: each way the error says memory.
    with pytest.raises((DocumentMemoryError, DocumentWorkerDiedError), match="memory"):
        open_reader(document_memory_bytes=8 * MEBIBYTE).fingerprint(data, VISUAL)
    reader = open_reader(document_seconds=0.001)
    with pytest.raises(DocumentTimeoutError):
        reader.fingerprint(data, VISUAL)
    assert reader.fingerprint(PICTURE, VISUAL)
