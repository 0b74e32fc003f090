"""The process that reads documents, and pictures whose decoders are not trusted: its limits, and a loop."""

import hashlib
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path

from PIL import Image

from dhash_service.documents.extraction import Extraction, FileRules, LargeReading, PictureReading, Reading
from dhash_service.errors import DecoderFailedError, DhashError, DocumentMemoryError, as_error
from dhash_service.facts import Picture, Sha256
from dhash_service.files import read_file
from dhash_service.pictures.decoding import open_picture
from dhash_service.pictures.fingerprint import Variant, read_picture, variants
from dhash_service.pictures.large import large

READY, TAKEN = "ready", "taken"
PDF = "dhash_service.documents.pdf"
DOCUMENTS = 500  # then this process gives way to a fresh one, against what native libraries leak
HELD_BYTES = 64 * 1024**2  # of files whose digests are known, and that may be wanted whole
BYTES_PER_PIXEL = 16  # that decoding may take (see `pictures.bombs`)
KERNEL_LIMITS = sys.platform == "linux"  # it alone counts RLIMIT_AS
MEMORY_POLL = 0.05  # seconds, where the kernel does not enforce a limit
TOGETHER = 0.05  # seconds for which answers gather before they are sent: what a process that ends has lost


Answer = Extraction | Picture | tuple[Variant, ...] | tuple[bytes, str]


def serve(pipe: Connection, memory_bytes: int) -> None:
    """Say `READY`, take a document, say `TAKEN`, answer; again, until the pipe's other end is closed."""
    Image.init()  # what the first picture, and the first document, would otherwise wait for: 0.1 s of imports
    importlib.import_module(PDF)
    _enter(memory_bytes)
    for _ in range(DOCUMENTS):
        try:
            pipe.send(READY)
            data, reading = pipe.recv()
            pipe.send(TAKEN)
        except (EOFError, OSError):
            return
        answer = _read(data, reading)
        del data
        if isinstance(_sent(pipe, answer), DocumentMemoryError):
            return


def serve_files(pipe: Connection, memory_bytes: int, rules: FileRules) -> None:
    """As `serve`, for many files at a time: take their paths, answer with their digests, and then with the
    files that are wanted, by their places, several in a message. The limit on memory holds while a document,
    or a picture in a further format, is read.
    """
    _enter(None)
    read = 0
    while read < DOCUMENTS:
        try:
            pipe.send(READY)
            paths: Sequence[Path] = pipe.recv()
            pipe.send(TAKEN)
            files = _Files(paths, rules)
            pipe.send(files.digests())
            answers = _Answers(pipe)
            for place in pipe.recv():
                data = files.take(place)
                if isinstance(data, DhashError):
                    answers.add(data)
                elif reading := rules.apart(data):
                    read += 1
                    answers.send()  # what ends this process now is this file
                    importlib.import_module(PDF)  # the first time, before memory is limited
                    with _limited(memory_bytes):
                        answer = _read(data, reading)
                    answers.add(answer)
                    answers.send()
                else:
                    answers.add(_read(data, rules.picture))
                del data
            answers.send()
        except (EOFError, OSError):
            return


class _Files:
    """The bytes of several files: the first of them held, as far as a limit goes, the others read again."""

    def __init__(self, paths: Sequence[Path], rules: FileRules) -> None:
        self._paths = paths
        self._rules = rules
        self._held: dict[int, bytes | DhashError] = {}

    def digests(self) -> list[Sha256 | None]:
        """The SHA-256 of each file; None for one that cannot be read."""
        room, found = HELD_BYTES, list[Sha256 | None]()
        for place in range(len(self._paths)):
            data = self._read(place)
            if isinstance(data, DhashError) or len(data) <= room:
                self._held[place] = data
            room -= 0 if isinstance(data, DhashError) else len(data)
            found.append(None if isinstance(data, DhashError) else Sha256(hashlib.sha256(data).hexdigest()))
        return found

    def take(self, place: int) -> bytes | DhashError:
        """The bytes of a file, or the error in place of them; they are held no longer."""
        return self._held.pop(place, None) or self._read(place)

    def _read(self, place: int) -> bytes | DhashError:
        try:
            return read_file(self._paths[place], self._rules.largest)
        except Exception as error:  # whatever a file system raises, it is this file's
            return as_error(error)


class _Answers:
    """Sends the answers for files, several in a message: one each would cost a twentieth of the reading."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._ready: list[Answer | DhashError] = []
        self._sent_at = time.monotonic()

    def add(self, answer: Answer | DhashError) -> None:
        """Have an answer sent, within a moment if others follow."""
        self._ready.append(answer)
        if time.monotonic() - self._sent_at > TOGETHER:
            self.send()

    def send(self) -> None:
        """Send what is ready; in place of what does not fit into memory, that it does not."""
        if self._ready:
            try:
                self._pipe.send(self._ready)
            except MemoryError:  # before anything was sent
                self._pipe.send([each if isinstance(each, DhashError) else _full() for each in self._ready])
            self._ready = []
        self._sent_at = time.monotonic()


def _sent(pipe: Connection, answer: Answer | DhashError) -> Answer | DhashError:
    """Send the answer, or that it does not fit into memory; what was sent."""
    try:
        pipe.send(answer)
    except MemoryError:  # before anything was sent
        pipe.send(answer := _full())
    return answer


def _read(data: bytes, reading: Reading | PictureReading | LargeReading) -> Answer | DhashError:
    """What was asked for; every failure is one of our errors, and none is a server error."""
    try:
        if isinstance(reading, Reading):
            from dhash_service.documents import pdf  # many a process that reads files never sees one

            return pdf.extract(data, reading)
        if isinstance(reading, LargeReading):
            return large(data, reading.opening, reading.side)
        if reading.turns:
            return variants(data, reading.algorithm, reading.opening)
        return read_picture(
            data,
            reading.algorithm,
            reading.opening,
            thumbnail=reading.thumbnail,
            keep_content=reading.keep_content,
        )
    except DecoderFailedError as error:
        return _full() if _starved(error, data, reading) else error
    except DhashError as error:
        return error
    except MemoryError:
        return _full()
    except Exception as error:
        return DecoderFailedError(f"Reading it failed: {type(error).__name__} {error}.")


def _starved(
    error: DecoderFailedError, data: bytes, reading: Reading | PictureReading | LargeReading
) -> bool:
    """True where a decoder failed for want of memory, or may have: some, as AVIF's, do not say so."""
    if isinstance(error.__cause__, MemoryError) or "out of memory" in str(error).lower():
        return True
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if isinstance(reading, Reading) or limit == resource.RLIM_INFINITY:
        return False
    try:
        with open_picture(data, reading.opening) as picture:
            return picture.width * picture.height * BYTES_PER_PIXEL > limit - _taken()
    except DhashError:  # its head is what could not be read, which takes next to nothing
        return False


def _full() -> DocumentMemoryError:
    return DocumentMemoryError("Its pictures do not fit into the memory that one may take.")


def _enter(memory_bytes: int | None) -> None:
    """Put this process under its limits. `memory_bytes` may be taken beyond what the start has taken."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are expected here, their cores unwanted
    watched = None if KERNEL_LIMITS else memory_bytes
    # Before the limit, which may leave no room for the thread's stack.
    threading.Thread(target=_watch, args=(watched,), daemon=True).start()
    if memory_bytes is not None:
        _limit_memory(memory_bytes)


def _limit_memory(memory_bytes: int) -> None:
    """Let the kernel refuse memory beyond the limit, where it does."""
    if not KERNEL_LIMITS:
        return
    taken = _taken()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory_bytes, most))


def _taken() -> int:
    """Bytes of address space."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


@contextmanager
def _limited(memory_bytes: int) -> Iterator[None]:
    """Let the kernel refuse memory beyond the limit for a while."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    _limit_memory(memory_bytes)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _watch(memory_bytes: int | None) -> None:
    """End this process when its parent is gone, and when it outgrows `memory_bytes`, if given.

    The pipe's end alone would not do: it is noticed between documents, and a hang never gets there.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    at_start = _peak_memory()
    while not wait([parent.sentinel], None if memory_bytes is None else MEMORY_POLL):
        if memory_bytes is not None and _peak_memory() - at_start > memory_bytes:
            os.abort()  # as pdfium itself does when it gets no memory
    os._exit(0)


def _peak_memory() -> int:
    """Bytes; the kernel reports KiB on Linux, bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * 1024 if sys.platform == "linux" else peak
