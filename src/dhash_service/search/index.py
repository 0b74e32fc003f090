"""The index: exact search among millions of fingerprints while they change.

Searches, from any number of threads, see a `Bank`, which never changes. A write makes the next bank and swaps
it in, so a search never waits and never misses what was written before it began. When much has changed,
a thread builds a new segment beside the current one; what is written meanwhile is applied before the swap.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from dhash_service.search.bank import CROWD, Bank, Found, Hit
from dhash_service.search.segment import BITS, Keys, Values

__all__ = ["CROWD", "Found", "HammingIndex", "Hit", "Index"]

LARGEST = (1 << BITS) - 1
_GROWING = (3, 7, 11, 15, 18, 21, 24, 28, BITS)
"""Up to 15 the largest radii that each next probe width covers. Beyond, every value is compared, which costs
little beside sorting all that is found: in a million random fingerprints the tenth is often 16 bits away, and
everything within 64 bits is the million (`make bench ARGS=growth`)."""


class Index(Protocol):
    """What a follower keeps in step with a store, and searches ask; see `HammingIndex`.

    Where it does not follow, a search asks the store itself, and knows all that is committed.
    """

    @property
    def follows(self) -> bool: ...

    def __len__(self) -> int: ...

    def append(self, keys: ArrayLike, values: ArrayLike) -> None: ...

    def remove(self, keys: ArrayLike) -> None: ...

    def replace(self, keys: ArrayLike, values: ArrayLike) -> None: ...

    def contents(self) -> tuple[Keys, Values]: ...

    def search(self, value: int, radius: int, limit: int) -> Found: ...

    def search_many(self, values: Sequence[int], radius: int, limit: int) -> list[Found]: ...

    def settle(self, timeout: float | None = None) -> bool: ...


class HammingIndex:
    """Fingerprints (uint64) by key (int64), searched exactly.

    A key keeps its value for life. A segment is rebuilt once `log_rows` or the share `log_share` of it,
    whichever is more, has changed: at 10M rows, searches then pay at most 0.1 ms for the log. While a rebuild
    runs, it takes twice the memory.
    """

    follows = True

    def __init__(self, *, log_rows: int = 32_768, log_share: float = 0.02) -> None:
        self._log_rows, self._log_share = log_rows, log_share
        self._bank = Bank.empty()
        self._writing = threading.Lock()
        self._builder: threading.Thread | None = None
        self._meanwhile: list[Callable[[Bank], Bank]] = []
        self._failures = 0
        self.rebuilds = 0

    def __len__(self) -> int:
        return len(self._bank)

    @property
    def nbytes(self) -> int:
        """Bytes held, outside of a rebuild."""
        return self._bank.nbytes

    def append(self, keys: ArrayLike, values: ArrayLike) -> None:
        """Add fingerprints, in one step for searches. Known keys change nothing, removed ones return."""
        keys, values = np.array(keys, np.int64), np.array(values, np.uint64)  # ours: callers may reuse theirs
        if keys.ndim != 1 or keys.shape != values.shape:
            raise ValueError(
                f"{keys.shape} keys for {values.shape} values: one value for each key is needed."
            )
        if len(keys):
            self._write(partial(Bank.with_added, keys=keys, values=values))

    def remove(self, keys: ArrayLike) -> None:
        """Take these keys out. Unknown ones change nothing."""
        keys = np.array(keys, np.int64)
        if len(keys):
            self._write(partial(Bank.with_removed, keys=keys))

    def replace(self, keys: ArrayLike, values: ArrayLike) -> None:
        """Hold these and nothing else, in one step for searches. Keys may stand for other values now."""
        keys, values = np.array(keys, np.int64), np.array(values, np.uint64)
        self._write(lambda _: Bank.of(keys, values))

    def contents(self) -> tuple[Keys, Values]:
        """Every key (int64[N]) and its value (uint64[N]), in no order."""
        return self._bank.contents()

    def search(self, value: int, radius: int, limit: int) -> Found:
        """The `limit` nearest pictures within `radius` bits (0 to 64): nearest first, ties by key."""
        _check(value, limit, radius)
        return self._bank.search(value, radius, limit)

    def search_many(self, values: Sequence[int], radius: int, limit: int) -> list[Found]:
        """The same for each of many values, at one moment and in less time than one by one."""
        for value in values:
            _check(value, limit, radius)
        return self._bank.search_many(values, radius, limit)

    def nearest(self, value: int, k: int) -> Found:
        """The `k` nearest pictures, however far: nearest first, ties by key."""
        _check(value, k)
        bank = self._bank
        for radius in _GROWING:
            found = bank.search(value, radius, k)
            if found.total >= k:
                break
        return found

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until no rebuild is under way; whether that is so (seconds; None: however long)."""
        builder = self._builder
        if builder is not None:
            builder.join(timeout)
        return builder is None or not builder.is_alive()

    def _write(self, change: Callable[[Bank], Bank]) -> None:
        with self._writing:
            self._bank = change(self._bank)
            if self._builder is not None:
                self._meanwhile.append(change)
            elif self._due():
                self._builder = threading.Thread(target=self._rebuild, name="index-rebuild", daemon=True)
                self._builder.start()

    def _due(self) -> bool:
        patience = max(self._log_rows, self._log_share * len(self._bank.segment)) * 2**self._failures
        return bool(self._bank.pending > patience)

    def _rebuild(self) -> None:
        try:
            while self._rebuild_once():
                pass
        except Exception:
            # Most likely out of memory. The current bank has all that was written, so searches stay right;
            # the next attempt waits until twice as much has changed.
            with self._writing:
                self._builder = None
                self._failures += 1

    def _rebuild_once(self) -> bool:
        """Build and swap; whether so much was written meanwhile that it is due again."""
        with self._writing:
            bank = self._bank
            self._meanwhile.clear()
        bank = bank.rebuilt()
        with self._writing:
            for change in self._meanwhile:
                bank = change(bank)
            self._meanwhile.clear()
            self._bank = bank
            self.rebuilds += 1
            self._failures = 0
            due = self._due()
            if not due:
                self._builder = None
        return due


def _check(value: int, limit: int, radius: int = 0) -> None:
    if not 0 <= radius <= BITS:
        raise ValueError(f"A radius is 0 to {BITS} bits, not {radius}.")
    if not 0 <= value <= LARGEST:
        raise ValueError(f"A fingerprint is a number of {BITS} bits, not {value}.")
    if limit < 1:
        raise ValueError(f"At least one picture must be asked for, not {limit}.")
