"""Questions to git about a checkout."""

import subprocess
from pathlib import Path


def revision(source: Path) -> tuple[str, bool]:
    """The commit of a checkout, and whether there is more in it than that; empty outside of git."""
    commit = git(source, "rev-parse", "HEAD")
    return commit, bool(commit and git(source, "status", "--porcelain", "--untracked-files=no"))


def git(source: Path, *words: str) -> str:
    """Return git's answer; empty where it fails, as it does outside of a repository."""
    try:
        done = subprocess.run(["git", "-C", str(source), *words], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
