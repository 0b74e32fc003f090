"""Values read from files: read again only when the file changes, and kept while it cannot be read."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from guarded_rollout.errors import RolloutError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that cannot be read, why, and since when (unix time)."""

    what: str
    reason: str
    since: float


def stamp(path: Path) -> int:
    """Return a value that changes when a file or a folder's entries do; 0 if it does not exist."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return hash((found.st_ino, found.st_mtime_ns, found.st_size))


class Cached(Generic[T]):
    """A value that is read again when its mark changes; the last one stays while reading fails."""

    def __init__(self, what: str, empty: T) -> None:
        self._what = what
        self.value = empty
        self._mark: object = None
        self.unreadable: Unreadable | None = None

    def get(self, mark: Callable[[], object], read: Callable[[], T], now: float) -> T:
        try:
            found = mark()
            if found != self._mark or self.unreadable:
                self.value = read()
                self._mark = found
            self.unreadable = None
        except (OSError, ValueError, KeyError, sqlite3.Error, RolloutError) as error:
            self.unreadable = Unreadable(
                self._what, _reason(error), self.unreadable.since if self.unreadable else now
            )
        return self.value


def _reason(error: Exception) -> str:
    if isinstance(error, RolloutError):
        return str(error.data.get("reason") or error.sentence)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class KeptOpen(Generic[T]):
    """A database that stays open while its file is the same."""

    def __init__(self, path: Path, connect: Callable[[Path], T]) -> None:
        self.path = path
        self._connect = connect
        self._inode = 0
        self._open: Any = None

    def mark(self) -> object:
        """Return a value that changes when another process has written or the file was replaced."""
        inode = self.path.stat().st_ino if self.path.exists() else 0
        if inode != self._inode:
            self.close()
            self._inode = inode
        if not inode:
            return None, 0
        try:
            return inode, self.open().version()  # type: ignore[attr-defined]
        except RolloutError:
            self.close()  # opened again next time: it may have been repaired in place
            raise

    def open(self) -> T:
        if self._open is None:
            self._open = self._connect(self.path)
        found: T = self._open
        return found

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
