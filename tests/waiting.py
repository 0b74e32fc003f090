"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], object], seconds: float = 30, what: str = "") -> None:
    """Poll until this holds; fail where it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or holds}"
        time.sleep(0.01)
