"""The head of every report: which machine, which commit, which versions of what is measured beside."""

import importlib.metadata
import platform
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from guarded_rollout.errors import MissingProgramError
from guarded_rollout.host.programs import program

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "Pillow",
    "NumPy",
    "imagehash",
    "pdqhash",
    "opencv-python-headless",
    "faiss-cpu",
    "pikepdf",
    "pypdfium2",
    "uvicorn",
)
PROGRAMS = {"borg": ("--version",), "restic": ("version",), "zip": ("-v",)}


def machine() -> str:
    """The machine in a line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB, "
        f"Python {platform.python_version()}"
    )


def commit(folder: Path = ROOT) -> str:
    """The commit of a checkout, and whether anything in it differs from that; "unknown" outside of git."""
    named = _line(["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"])
    changed = _line(["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"])
    return f"{named} with changes" if named and changed else named or "unknown"


def versions() -> dict[str, str]:
    """What is measured beside, by name; what is not installed is left out."""
    return dict(_versions())


def head() -> str:
    """All of it, as lines."""
    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{machine()}\ncommit {commit()}\n{listed}"


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            yield package, importlib.metadata.version(package)
    yield "SQLite", sqlite3.sqlite_version
    with suppress(MissingProgramError):
        yield "Caddy", _line([program("caddy"), "version"]).split(" ")[0].removeprefix("v")
    for name, words in PROGRAMS.items():
        if (path := shutil.which(name)) and (found := _number(_line([path, *words], lines=2))):
            yield name, found


def _number(text: str) -> str:
    """The first word that looks like a version."""
    return next((word for word in text.split() if word[0].isdigit() and "." in word), "")


def _line(command: Sequence[str], lines: int = 1) -> str:
    """The first lines that a program prints; nothing when it fails or is missing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "\n".join(done.stdout.splitlines()[:lines])
