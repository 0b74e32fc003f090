"""Where archives stand, and how a new one gets there: written in a scratch folder, then given a free name."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from guarded_rollout.backup import checksum
from guarded_rollout.backup.catalog import Entry, name_for
from guarded_rollout.files import sync_folder

SCRATCH = ".taking-"


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of backups. `root` is where `sha256sum -c` is run; a safety copy stands where nobody looks
    for the latest backup; with a signing key (OpenSSH), checksums are signed."""

    folder: Path
    root: Path
    safety: bool = False
    signing_key: Path | None = None

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A private folder on the same file system; what killed backups left is removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder):  # nobody may take a folder for abandoned before its owner has locked it
            for left in self.folder.glob(SCRATCH + "*"):
                _remove_abandoned(left)
            scratch = Path(tempfile.mkdtemp(dir=self.folder, prefix=SCRATCH))
            held = _lock(scratch, fcntl.LOCK_EX)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            os.close(held)

    def publish(self, archive: Path, digest: str, environment: str, now: datetime) -> Entry:
        """Move a finished archive to a name that nobody has."""
        entry = self._claim(digest, environment, now)
        try:
            if self.signing_key is not None:
                checksum.sign(entry.path, self.signing_key)
            archive.chmod(0o600)
            os.rename(archive, entry.path)
        except BaseException:
            for path in entry.files[1:]:
                path.unlink(missing_ok=True)
            raise
        sync_folder(entry.path.parent)
        return entry

    def _claim(self, digest: str, environment: str, now: datetime) -> Entry:
        """The checksum file comes first: it claims the name, and alone it is no backup."""
        while True:
            entry = name_for(self.folder, environment, now, safety=self.safety)
            entry.path.parent.mkdir(exist_ok=True, mode=0o700)
            try:
                checksum.write(entry.path, digest, self.root)
            except FileExistsError:
                continue
            return entry


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    held = _lock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(held)


def _lock(folder: Path, how: int) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove_abandoned(scratch: Path) -> None:
    """Remove a scratch folder unless a living process holds it."""
    try:
        held = _lock(scratch, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    shutil.rmtree(scratch, ignore_errors=True)
    os.close(held)
