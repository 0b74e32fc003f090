"""Libraries of our own that are preloaded into every process of a run that is Python."""

import os
import shutil
import subprocess
from pathlib import Path


def can_be_compiled() -> bool:
    return os.uname().sysname == "Linux" and shutil.which("gcc") is not None


def compiled(source: Path, folder: Path) -> Path:
    """The library of this C file, in this folder. Raises `CalledProcessError`."""
    library = folder / f"{source.stem}.so"
    words = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(words, check=True)
    return library
