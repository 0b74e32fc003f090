"""The wheels of a release's locked requirements: what an archive carries to come back without an index."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from guarded_rollout.config.recipe import BuildKind
from guarded_rollout.errors import WheelsError
from guarded_rollout.host.release import REQUIREMENTS, Release

FOLDER = "wheels"
KEPT = ".wheels"
SECONDS = 300


def wheels_of(release: Release, limit_bytes: int) -> Path | None:
    """The folder of a release's wheels and of pip's own, downloaded once for each list of requirements.

    None for a release that is no wheel. Raises `WheelsError`, also for more than so many bytes.
    """
    if release.build is not BuildKind.WHEEL:
        return None
    kept = release.folder.parent / KEPT / release.lock_sha256[:16]
    if not kept.is_dir():
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".downloading-") as name:
            folder = Path(name) / FOLDER
            lock = release.folder / REQUIREMENTS
            _download(release, folder, "--require-hashes", "--no-deps", "-r", str(lock))
            _download(release, folder, "--no-deps", "pip")
            try:
                os.rename(folder, kept)
            except OSError:  # another process was faster
                if not kept.is_dir():
                    raise
    size = sum(path.stat().st_size for path in kept.iterdir())
    if size > limit_bytes:
        problem = f"they have {size / 1e6:.0f} MB, and the limit is {limit_bytes / 1e6:.0f} MB"
        raise WheelsError(release=release.id, problem=problem)
    return kept


def _download(release: Release, into: Path, *what: str) -> None:
    """Have pip download wheels, as the release's own interpreter would install them."""
    interpreter = str(release.programs / "python")
    pip = [sys.executable, "-m", "pip", "--python", interpreter, "--disable-pip-version-check"]
    options = ["--quiet", "--only-binary=:all:", "--timeout=10", "--retries=1", "--dest", str(into)]
    try:
        done = subprocess.run(
            [*pip, "download", *options, *what],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise WheelsError(release=release.id, problem=f"pip did not end within {SECONDS} s") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.strip().splitlines()[-2:])
        raise WheelsError(release=release.id, problem=f"pip could not download them: {said}")
