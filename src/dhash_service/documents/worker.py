"""The process that reads documents, and pictures whose decoders are not trusted: its limits, and a loop."""

import multiprocessing
import os
import resource
import signal
import sys
import threading
from multiprocessing.connection import Connection, wait

from PIL import Image

from dhash_service.documents import pdf
from dhash_service.documents.extraction import Extraction, PictureReading, Reading
from dhash_service.errors import DecoderFailedError, DhashError, DocumentMemoryError
from dhash_service.facts import Picture
from dhash_service.pictures.fingerprint import Variant, read_picture, variants

READY, TAKEN = "ready", "taken"
DOCUMENTS = 500  # then this process gives way to a fresh one, against what native libraries leak
MEMORY_POLL = 0.05  # seconds, where the kernel does not enforce a limit


def serve(pipe: Connection, memory_bytes: int) -> None:
    """Say `READY`, take a document, say `TAKEN`, answer; again, until the pipe's other end is closed."""
    Image.init()  # what the first picture would otherwise wait for: 0.1 s of imports
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
        try:
            pipe.send(answer)
        except MemoryError:  # before anything was sent
            pipe.send(answer := _full())
        if isinstance(answer, DocumentMemoryError):
            return


Answer = Extraction | Picture | tuple[Variant, ...]


def _read(data: bytes, reading: Reading | PictureReading) -> Answer | DhashError:
    """What was asked for; every failure is one of our errors, and none is a server error."""
    try:
        if isinstance(reading, Reading):
            return pdf.extract(data, reading)
        if reading.turns:
            return variants(data, reading.algorithm, reading.opening)
        return read_picture(
            data,
            reading.algorithm,
            reading.opening,
            thumbnail=reading.thumbnail,
            keep_content=reading.keep_content,
        )
    except DhashError as error:
        return error
    except MemoryError:
        return _full()
    except Exception as error:
        return DecoderFailedError(f"Reading it failed: {type(error).__name__} {error}.")


def _full() -> DocumentMemoryError:
    return DocumentMemoryError("Its pictures do not fit into the memory that one may take.")


def _enter(memory_bytes: int) -> None:
    """Put this process under its limits. `memory_bytes` may be taken beyond what the start has taken."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are expected here, their cores unwanted
    enforced = _limit_memory(memory_bytes)
    threading.Thread(target=_watch, args=(None if enforced else memory_bytes,), daemon=True).start()


def _limit_memory(memory_bytes: int) -> bool:
    """Let the kernel refuse memory beyond the limit; True where it does. Only Linux counts RLIMIT_AS."""
    if sys.platform != "linux":
        return False
    with open("/proc/self/statm") as statm:
        taken = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory_bytes, taken + memory_bytes))
    return True


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
