"""Events: one thing that happened to one environment, with the facts that belong to it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypedDict, Unpack
from uuid import uuid4


class Level(StrEnum):
    """The severity. `Level.rank` rises from info to critical."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Level).index(self)


class Kind(StrEnum):
    """The kind of event."""

    MESSAGE = "message"  # someone's own words: `rollout notify`
    DEPLOYMENT_STARTED = "deployment_started"
    SERVING = "serving"  # it has all of the traffic, and its window is open
    DEPLOYMENT_SUCCEEDED = "deployment_succeeded"  # it is accepted
    DEPLOYMENT_FAILED = "deployment_failed"
    MONITORING_STARTED = "monitoring_started"
    GATE_ALERT = "gate_alert"
    GATE_CLEARED = "gate_cleared"
    AUTO_ROLLBACK = "auto_rollback"  # a gate decided it
    ROLLBACK_STARTED = "rollback_started"
    ROLLBACK_SUCCEEDED = "rollback_succeeded"
    ROLLBACK_FAILED = "rollback_failed"
    UNWATCHED = "unwatched"  # a window is open and nobody watches it
    OVERRIDDEN = "overridden"  # preflight failed, and an operator went on
    INTERRUPTED = "interrupted"  # a rollout is open and nobody works on it
    ESCALATED = "escalated"  # an open incident that nobody has acknowledged
    ACKNOWLEDGED = "acknowledged"


LEVELS: Mapping[Kind, Level] = {
    Kind.DEPLOYMENT_FAILED: Level.ERROR,
    Kind.GATE_ALERT: Level.ERROR,
    Kind.AUTO_ROLLBACK: Level.CRITICAL,
    Kind.ROLLBACK_STARTED: Level.WARNING,
    Kind.ROLLBACK_SUCCEEDED: Level.WARNING,
    Kind.ROLLBACK_FAILED: Level.CRITICAL,
    Kind.UNWATCHED: Level.CRITICAL,
    Kind.OVERRIDDEN: Level.WARNING,
    Kind.INTERRUPTED: Level.CRITICAL,
    Kind.ESCALATED: Level.CRITICAL,
}
"""The level of each kind; the others are info."""


class Facts(TypedDict, total=False):
    """The facts of an event. All are strings for people, except `duration_seconds` and `data`."""

    operator: str
    deployment: str  # id of the rollout
    release: str
    gate: str
    threshold: str  # the limit, with its unit
    actual: str  # the value that was seen, with its unit
    reason: str
    backup_file: str
    duration_seconds: float
    active_gates: tuple[str, ...]
    health: str
    smoke: str
    error: str
    done: str  # what was done about it
    next_command: str
    manual_command: str  # the manual rollback command
    recipients: tuple[str, ...]  # who is asked to act, "@ops"
    data: Mapping[str, object]  # anything else


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `id` stays the same however often it is sent."""

    kind: Kind
    environment: str
    at: datetime
    level: Level
    message: str = ""  # the sender's own words; a template says the rest
    facts: Facts = field(default_factory=lambda: Facts())
    id: str = field(default_factory=lambda: uuid4().hex)

    def as_json(self) -> str:
        """Return one line of JSON, from which `from_json` makes an equal event."""
        return json.dumps(
            {
                "id": self.id,
                "kind": self.kind,
                "environment": self.environment,
                "at": self.at.astimezone(UTC).isoformat(),
                "level": self.level,
                "message": self.message,
                "facts": self.facts,
            },
            default=str,
        )

    @classmethod
    def from_json(cls, text: str) -> "Event":
        """Parse what `as_json` wrote. Raises `ValueError`, `KeyError`."""
        given: dict[str, Any] = json.loads(text)
        facts = {
            name: tuple(value) if isinstance(value, list) and name != "data" else value
            for name, value in given["facts"].items()
        }
        return cls(
            kind=Kind(given["kind"]),
            environment=given["environment"],
            at=datetime.fromisoformat(given["at"]),
            level=Level(given["level"]),
            message=given["message"],
            facts=Facts(**facts),  # type: ignore[typeddict-item]
            id=given["id"],
        )


def event(
    kind: Kind,
    environment: str,
    at: datetime,
    *,
    message: str = "",
    level: Level | None = None,
    **facts: Unpack[Facts],
) -> Event:
    """Make an event, at its kind's own level unless another is given."""
    return Event(kind, environment, at, level or LEVELS.get(kind, Level.INFO), message, facts)
