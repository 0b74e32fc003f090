"""What runs in a process that reads a document: its limits, and one function."""

import multiprocessing
import os
import resource
import signal
import sys
import threading
from multiprocessing.connection import wait

from PIL import Image

from dhash_service.documents import pdf
from dhash_service.documents.extraction import Extraction, Reading
from dhash_service.errors import DecoderFailedError, DhashError, DocumentMemoryError

MEMORY_POLL = 0.05  # seconds, where the kernel does not enforce a limit

Image.init()  # once, in the process that every worker is forked from: 0.1 s of imports otherwise left to each


def ready() -> bool:
    """Whether a process that can read documents starts: it imports all that `read` needs."""
    return True


def read(data: bytes, reading: Reading, memory_bytes: int) -> Extraction:
    """`pdf.extract` under limits, where every failure is one of our errors and none is a server error."""
    _enter(memory_bytes)
    try:
        return pdf.extract(data, reading)
    except DhashError:
        raise
    except MemoryError:
        raise DocumentMemoryError("Its pictures do not fit into the memory that one may take.") from None
    except Exception as error:
        raise DecoderFailedError(f"Reading the PDF failed: {type(error).__name__} {error}.") from error


def _enter(memory_bytes: int) -> None:
    """Put this process under its limits. `memory_bytes` may be taken beyond what the start has taken."""
    # A hang is in native code, where a Python handler for SIGTERM would never run.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are expected here, their cores unwanted
    enforced = _limit_memory(memory_bytes)
    threading.Thread(target=_watch, args=(None if enforced else memory_bytes,), daemon=True).start()


def _limit_memory(memory_bytes: int) -> bool:
    """Let the kernel refuse memory beyond the limit; whether it does. Only Linux counts RLIMIT_AS."""
    if sys.platform != "linux":
        return False
    with open("/proc/self/statm") as statm:
        taken = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory_bytes, taken + memory_bytes))
    return True


def _watch(memory_bytes: int | None) -> None:
    """End this process when its parent is gone, and when it outgrows `memory_bytes`, if given."""
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
