"""Questions to git about a checkout."""

import os
import subprocess
from pathlib import Path


def revision(source: Path) -> tuple[str, bool]:
    """The commit of a checkout, and whether there is more in it than that; empty outside of git."""
    commit = git(source, "rev-parse", "HEAD")
    return commit, bool(commit and git(source, "status", "--porcelain", "--untracked-files=no"))


def git(source: Path, *words: str) -> str:
    """Return git's answer; empty where it fails, as it does outside of a repository."""
    try:
        done = _ask(source, *words)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def refusal(source: Path) -> str:
    """Say why git does not answer about a checkout, such as one of another user's; empty if it does, or for a
    folder outside of any."""
    if not any((folder / ".git").exists() for folder in (source, *source.parents)):
        return ""
    try:
        done = _ask(source, "rev-parse", "--git-dir")
    except OSError as error:
        return str(error.strerror)
    if done.returncode == 0 or "not a git repository" in done.stderr:
        return ""
    return " ".join(done.stderr.split())


def _ask(source: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Ask git, in English; names of files need not be UTF-8."""
    return subprocess.run(
        ["git", "-C", str(source), *words],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env=os.environ | {"LC_ALL": "C"},
    )
