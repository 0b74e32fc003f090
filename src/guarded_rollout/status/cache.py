"""Readings that are repeated only when what they read has changed, and that stand while it cannot be read."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from guarded_rollout.errors import RolloutError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Blind:
    """Something that cannot be read, why, and since when (unix time)."""

    what: str
    reason: str
    since: float


def stamp(path: Path) -> int:
    """Changes when a file, or what a folder names, does; 0 if it is not there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return hash((found.st_ino, found.st_mtime_ns, found.st_size))


class Kept(Generic[T]):
    """A reading that is repeated when its mark changes, and that stands while it cannot be."""

    def __init__(self, what: str, empty: T) -> None:
        self._what = what
        self.value = empty
        self._mark: object = None
        self.blind: Blind | None = None

    def get(self, mark: Callable[[], object], look: Callable[[], T], now: float) -> T:
        try:
            found = mark()
            if found != self._mark or self.blind:
                self.value = look()
                self._mark = found
            self.blind = None
        except (OSError, ValueError, KeyError, sqlite3.Error, RolloutError) as error:
            self.blind = Blind(self._what, _reason(error), self.blind.since if self.blind else now)
        return self.value


def _reason(error: Exception) -> str:
    if isinstance(error, RolloutError):
        return str(error.data.get("reason") or error.sentence)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class Database(Generic[T]):
    """A database that is kept open for as long as its file is the same one."""

    def __init__(self, path: Path, look: Callable[[Path], T]) -> None:
        self.path = path
        self._look = look
        self._inode = 0
        self._open: Any = None

    def mark(self) -> object:
        """Changes when another process has written, or the file is another one."""
        inode = self.path.stat().st_ino if self.path.exists() else 0
        if inode != self._inode:
            self.close()
            self._inode = inode
        if not inode:
            return None, 0
        try:
            return inode, self.open().version()  # type: ignore[attr-defined]
        except RolloutError:
            self.close()  # opened anew next time: it may have been mended in place
            raise

    def open(self) -> T:
        if self._open is None:
            self._open = self._look(self.path)
        found: T = self._open
        return found

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
