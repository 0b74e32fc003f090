"""The state of the service as its search page shows it, also when half of it is broken."""

from collections.abc import Mapping
from dataclasses import dataclass

from dhash_service.errors import StoreError
from dhash_service.service import Check, Service


@dataclass(frozen=True, slots=True)
class Standing:
    """Every check, and what the service holds. `queue` is None where the store cannot say."""

    checks: Mapping[str, Check]
    known: int
    queue: int | None
    release: str
    algorithm: str

    @classmethod
    def of(cls, service: Service) -> "Standing":
        """Ask every part. Reads the store: call it outside the event loop."""
        return cls(
            service.checks(),
            len(service.matcher.index),
            queue_of(service),
            service.settings.release,
            f"{service.algorithm.name}, version {service.algorithm.version}",
        )

    @property
    def failing(self) -> int:
        return sum(not check.ok for check in self.checks.values())

    @property
    def says(self) -> str:
        """Health in a few words."""
        if not self.failing:
            return "Healthy"
        return f"{self.failing} of {len(self.checks)} checks fail{'s' if self.failing == 1 else ''}"


def queue_of(service: Service) -> int | None:
    try:
        return service.queue_length()
    except StoreError:
        return None
