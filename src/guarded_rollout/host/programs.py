"""The paths of the programs that a rollout needs: beside its own interpreter first, then on the PATH."""

import shutil
import sys
from pathlib import Path

from guarded_rollout.errors import MissingProgramError


def program(name: str) -> str:
    """The full path of a program. Raises `MissingProgramError`."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise MissingProgramError(name=name)
    return found
