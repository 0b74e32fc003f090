"""Who is told when: at once or after the initial delay, then level by level until someone acknowledges.

Pure: time comes in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import NAMESPACE_OID, uuid5

from guarded_rollout.config.gates import Notifications
from guarded_rollout.notify import matters
from guarded_rollout.notify.events import Event, Kind, Level


@dataclass(frozen=True, slots=True)
class Stage:
    """One round of telling. Stage 0 is the announcement, the others are the configured levels."""

    number: int
    after: timedelta
    channels: tuple[str, ...]
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Matter:
    """An open matter: `told` counts the stages that have been told."""

    key: str
    opening: Event
    opened_at: datetime
    told: int
    acknowledged: bool


def stages(event: Event, plan: Notifications) -> tuple[Stage, ...]:
    """All stages of a matter that this event opens, in order of time."""
    delay = plan.escalation.initial_delay_minutes if matters.waits(event) else 0
    levels = sorted(plan.escalation.escalation_levels, key=lambda level: level.delay_minutes)
    told = [Stage(0, timedelta(minutes=delay), tuple(plan.channels))]
    for number, level in enumerate(levels, start=1):
        after = timedelta(minutes=level.delay_minutes)
        told.append(Stage(number, after, tuple(level.channels), level.recipients))
    return tuple(told)


def due(matter: Matter, plan: Notifications, now: datetime) -> Iterator[Stage]:
    """The stages that must be told now."""
    if matter.acknowledged:
        return
    for stage in stages(matter.opening, plan)[matter.told :]:
        if now - matter.opened_at < stage.after:
            return
        yield stage


def next_at(matter: Matter, plan: Notifications) -> datetime | None:
    """When the next stage falls due."""
    left = () if matter.acknowledged else stages(matter.opening, plan)[matter.told :]
    return matter.opened_at + left[0].after if left else None


def told(matter: Matter, stage: Stage, now: datetime) -> Event:
    """The event that tells a stage. Its id follows from the matter, so that two processes tell it once."""
    if stage.number == 0:
        return matter.opening
    minutes = (now - matter.opened_at).total_seconds() / 60
    about = matter.opening.kind.replace("_", " ")
    return replace(
        matter.opening,
        kind=Kind.ESCALATED,
        level=Level.CRITICAL,
        at=now,
        message=f"Nobody has acknowledged this {about} for {minutes:.0f} minutes.",
        facts={**matter.opening.facts, "recipients": stage.recipients},
        id=uuid5(NAMESPACE_OID, f"{matter.opening.id}:{stage.number}").hex,
    )
