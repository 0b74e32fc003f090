"""The head of a report."""

import subprocess
from pathlib import Path

import numpy as np
import PIL
from bench.machine import commit, head, versions


def git(folder: Path, *words: str) -> str:
    named = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    command = ["git", "-C", str(folder), *named, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_versions_are_those_that_are_imported_and_started() -> None:
    found = versions()
    assert (found["Pillow"], found["NumPy"]) == (PIL.__version__, np.__version__)
    assert {"imagehash", "faiss-cpu", "pikepdf", "SQLite"} <= set(found)
    assert found["Caddy"].split(".")[0] == "2"
    assert all(version[0].isdigit() for version in found.values())
    assert f"Pillow {PIL.__version__}" in head()


def test_the_commit_says_whether_something_differs_from_it(tmp_path: Path) -> None:
    assert commit(tmp_path) == "unknown"
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("a")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    name = git(tmp_path, "rev-parse", "HEAD")
    assert commit(tmp_path) == name[:12]
    (tmp_path / "file").write_text("b")
    assert commit(tmp_path) == f"{name[:12]} with changes"
