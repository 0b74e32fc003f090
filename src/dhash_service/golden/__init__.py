"""Golden fingerprints: files drawn by the project, and the values they must keep.

record   the folder, what was recorded of it, and recording anew
check    recorded values beside found ones
readers  who finds them: this code, or a running service
draw     how the files were made
"""

from dhash_service.golden.check import Checked, Moved, check
from dhash_service.golden.record import FOLDER, Golden, record

__all__ = ["FOLDER", "Checked", "Golden", "Moved", "check", "record"]
