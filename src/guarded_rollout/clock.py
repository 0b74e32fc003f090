"""Time as a parameter: decisions take a `Clock`, so that an hour is tested in milliseconds."""

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment on the wall clock (`at`), and in seconds since the start of the machine (`steady`).

    `steady` is comparable among processes of one `boot`; without a boot, the wall clock counts.
    """

    at: datetime
    boot: str = ""
    steady: float = 0.0

    def since(self, earlier: "Instant") -> float:
        """Return the seconds that have passed, 0 or more, whatever was done to the wall clock in one boot."""
        if self.boot and self.boot == earlier.boot:
            return max(0.0, self.steady - earlier.steady)
        return max(0.0, (self.at - earlier.at).total_seconds())


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware, in UTC: for records."""
        ...

    def monotonic(self) -> float:
        """Return the seconds since some fixed moment; never jumps: for durations."""
        ...

    def instant(self) -> Instant:
        """Return both, for durations between processes."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let this much time pass."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def instant(self) -> Instant:
        return Instant(self.now(), boot(), self.monotonic())

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


@cache
def boot() -> str:
    """Return the kernel's random name for this start of the machine (proc(5)); empty where there is none."""
    with suppress(OSError):
        return BOOT_ID.read_text().strip()
    return ""


def ago(seconds: float) -> str:
    """Format how long ago something was: `just now`, `40 min ago`, `3 h ago`, `12 days ago`."""
    if seconds < 60:
        return "just now"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"


def duration(seconds: float) -> str:
    """Format a length of time for people: `3.5 ms`, `0.25 s`, `60 s`, `4 min 5 s`, `60 min`, `1 h 2 min`."""
    if 0 < seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    whole = round(seconds)
    if whole <= 60:
        return f"{seconds:.2g} s" if seconds < 9.5 else f"{whole} s"
    (large, small), units = divmod(whole, 60), ("min", "s")
    if whole > 3600:
        (large, small), units = divmod(whole // 60, 60), ("h", "min")
    return f"{large} {units[0]}" + (f" {small} {units[1]}" if small else "")
