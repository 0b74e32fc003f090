"""Time as a parameter: what decides by time takes a `Clock`, so that an hour is tested in milliseconds."""

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
    """A moment on the wall clock, and on the monotonic one that counts from the start of the machine.

    `steady` is in seconds, the same for all processes of one `boot`; without a boot, the wall clock counts.
    """

    at: datetime
    boot: str = ""
    steady: float = 0.0

    def since(self, earlier: "Instant") -> float:
        """Seconds that have passed, 0 or more; whatever was done to the wall clock within one boot."""
        if self.boot and self.boot == earlier.boot:
            return max(0.0, self.steady - earlier.steady)
        return max(0.0, (self.at - earlier.at).total_seconds())


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC: for records."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never jumps: for durations."""
        ...

    def instant(self) -> Instant:
        """Both, for durations between processes."""
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
    """The kernel's name for this start of the machine, random (proc(5)); empty where there is none."""
    with suppress(OSError):
        return BOOT_ID.read_text().strip()
    return ""


def duration(seconds: float) -> str:
    """A length of time for people: `0.25 s`, `60 s`, `4 min 5 s`, `60 min`, `1 h 2 min`."""
    whole = round(seconds)
    if whole <= 60:
        return f"{seconds:.2g} s" if seconds < 9.5 else f"{whole} s"
    (large, small), units = divmod(whole, 60), ("min", "s")
    if whole > 3600:
        (large, small), units = divmod(whole // 60, 60), ("h", "min")
    return f"{large} {units[0]}" + (f" {small} {units[1]}" if small else "")
