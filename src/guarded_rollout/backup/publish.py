"""Where archives stand, and how a new one gets there: written in a scratch folder, then given a free name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from guarded_rollout.backup import signing
from guarded_rollout.backup.catalog import Entry, name_for
from guarded_rollout.files import scratch_folder, sync_folder

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
        with scratch_folder(SCRATCH, self.folder) as scratch:
            yield scratch

    def publish(self, archive: Path, digest: str, environment: str, now: datetime) -> Entry:
        """Move a finished archive to a name that nobody has."""
        entry = self._claim(digest, environment, now)
        try:
            if self.signing_key is not None:
                signing.sign(entry.path, self.signing_key)
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
                signing.write(entry.path, digest, self.root)
            except FileExistsError:
                continue
            return entry
