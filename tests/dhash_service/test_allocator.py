import subprocess
import sys
from pathlib import Path

import pytest

ARENAS = """
import ctypes, sys, threading
from dhash_service.allocator import share_one_arena

if sys.argv[2] == "shared":
    share_one_arena()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
together = threading.Barrier(4)


def take():
    library.malloc(ctypes.c_size_t(1000))
    together.wait(10)


threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
library.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(library.fopen(sys.argv[1].encode(), b"w"))
library.malloc_info(0, file)
library.fclose(file)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
@pytest.mark.parametrize(("how", "one"), [("shared", True), ("each its own", False)])
def test_threads_share_one_arena_once_they_are_told_to(tmp_path: Path, how: str, one: bool) -> None:
    told = tmp_path / "arenas.xml"
    subprocess.run([sys.executable, "-c", ARENAS, str(told), how], check=True, timeout=60)
    assert (told.read_text().count("<heap nr=") == 1) is one
