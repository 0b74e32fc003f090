"""The journal's values: a rollout with its steps and notes, folded from events. Pure."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

PLAN, UNDOING = "plan", "undoing"
"""The notes that say by which steps a rollout goes, and that it is being taken back."""
SUPERSEDED, INTERRUPTED = "superseded by", "it was interrupted"
"""The beginnings of reasons that say nothing against the release."""
OVERRIDDEN = "overridden"
"""The note that preflight failed and was overridden: by whom, why, and what had failed."""


class RolloutOutcome(StrEnum):
    """The end of a rollout."""

    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


class StepOutcome(StrEnum):
    """The end of one step."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNDONE = "undone"


class EntryKind(StrEnum):
    """The kind of an event."""

    INTENT = "intent"  # a step is about to begin
    OUTCOME = "outcome"  # it ended
    NOTE = "note"  # something happened: a share moved, a gate breached, the window was paused
    END = "end"  # the rollout ended


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A line of the record. `sequence` rises by time of writing over all rollouts."""

    sequence: int
    rollout: UUID
    kind: EntryKind
    name: str
    at: datetime
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class StepRun:
    """A run of a step. Without `ended_at` it is running, or whoever ran it died."""

    name: str
    started_at: datetime
    plan: Mapping[str, object]
    ended_at: datetime | None = None
    outcome: StepOutcome | None = None
    evidence: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A command's work on an environment, from `source` to `target` release; a backup has no target."""

    id: UUID
    environment: str
    command: str
    operator: str
    source: str | None
    target: str | None
    why: str
    started_at: datetime
    steps: tuple[StepRun, ...] = ()
    notes: tuple[JournalEntry, ...] = ()
    ended_at: datetime | None = None
    outcome: RolloutOutcome | None = None
    reason: str = ""

    @property
    def open(self) -> bool:
        return self.outcome is None

    @property
    def plan(self) -> Mapping[str, Any]:
        """`slot`, `steps`, `options` and `back`, as it was begun; empty if it replaces no release."""
        note = self.note(PLAN)
        return note.data if note else {}

    @property
    def slot(self) -> Literal["blue", "green"]:
        """The slot that it gives the traffic to."""
        return "green" if self.plan.get("slot") == "green" else "blue"

    @property
    def is_rollback(self) -> bool:
        """True if it is itself a rollback."""
        return bool(self.plan.get("back"))

    @property
    def undoing(self) -> bool:
        """True once its undoing has begun, which cannot be turned round."""
        return self.note(UNDOING) is not None

    @property
    def unfinished(self) -> StepRun | None:
        """The step that a crash may have left half done: its newest run has an intent and no outcome."""
        newest = {step.name: step for step in self.steps}
        return next((step for step in reversed(newest.values()) if step.ended_at is None), None)

    def last(self, name: str) -> StepRun | None:
        """Return the newest run of a step."""
        return next((step for step in reversed(self.steps) if step.name == name), None)

    def done(self, name: str) -> bool:
        """Return True if the newest run of a step succeeded or was skipped."""
        step = self.last(name)
        return step is not None and step.outcome in (StepOutcome.DONE, StepOutcome.SKIPPED)

    def note(self, name: str) -> JournalEntry | None:
        """Return the newest note of this name."""
        return next((event for event in reversed(self.notes) if event.name == name), None)


def fold(rollout: Rollout, events: Iterable[JournalEntry]) -> Rollout:
    """Return a rollout with the steps, notes and end that its events have."""
    steps: list[StepRun] = []
    notes: list[JournalEntry] = []
    for event in events:
        match event.kind:
            case EntryKind.INTENT:
                steps.append(StepRun(event.name, event.at, event.data))
            case EntryKind.OUTCOME:
                at = max((n for n, step in enumerate(steps) if step.name == event.name), default=None)
                if at is None or steps[at].ended_at is not None:  # skipped, or undone after it was done
                    at = len(steps)
                    steps.append(StepRun(event.name, event.at, {}))
                steps[at] = replace(
                    steps[at],
                    ended_at=event.at,
                    outcome=StepOutcome(str(event.data["outcome"])),
                    evidence={name: value for name, value in event.data.items() if name != "outcome"},
                )
            case EntryKind.NOTE:
                notes.append(event)
            case EntryKind.END:
                rollout = replace(
                    rollout,
                    ended_at=event.at,
                    outcome=RolloutOutcome(event.name),
                    reason=str(event.data["reason"]),
                )
    return replace(rollout, steps=tuple(steps), notes=tuple(notes))


def new_id(now: datetime) -> UUID:
    """Make a UUIDv7 (RFC 9562 §5.7) of this moment: milliseconds since 1970, then random bits."""
    value = int(now.timestamp() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return UUID(int=value)
