"""Incidents: what opens and ends them, and who is notified when. Pure; time is a parameter.

An incident is announced at once or after the initial delay, then escalated until someone acknowledges it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, uuid5

from guarded_rollout.notify.events import Event, Kind, Level

if TYPE_CHECKING:
    from guarded_rollout.config.gates import Notifications

GATE = "gate:"
ROLLBACK = "rollback"
WATCH = "watch"


@dataclass(frozen=True, slots=True)
class EscalationStage:
    """A round of notifications. Stage 0 is the announcement, the others are the configured levels."""

    number: int
    after: timedelta
    channels: tuple[str, ...]
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Incident:
    """An open incident; `notified` counts the stages that have gone out."""

    key: str
    opening: Event
    opened_at: datetime
    notified: int
    acknowledged: bool


def opens(event: Event) -> str | None:
    """Return the key of the incident that this event begins. While it is open, the same event is a repeat."""
    match event.kind:
        case Kind.GATE_ALERT:
            return _gate(event)
        case Kind.ROLLBACK_FAILED:
            return ROLLBACK
        case Kind.UNWATCHED | Kind.INTERRUPTED:
            return WATCH
    return None


def closes(event: Event, key: str) -> bool:
    """Return True if an open incident ends with this event."""
    match event.kind:
        case Kind.GATE_CLEARED:
            return event.facts.get("gate") in key.removeprefix(GATE).split(", ")
        case Kind.MONITORING_STARTED | Kind.SERVING | Kind.DEPLOYMENT_SUCCEEDED:
            return key == WATCH
        case Kind.ROLLBACK_SUCCEEDED | Kind.DEPLOYMENT_STARTED:  # what was measured no longer serves
            return True
        case Kind.DEPLOYMENT_FAILED:  # taken back, so its breaches are over
            return event.level is Level.ERROR and key != ROLLBACK
    return False


def concerns(event: Event) -> str | None:
    """Return the key of the incident that an event belongs to without opening or closing it."""
    return _gate(event) if event.kind is Kind.AUTO_ROLLBACK and "gate" in event.facts else None


def stages(event: Event, plan: "Notifications") -> tuple[EscalationStage, ...]:
    """Return all stages of an incident that this event opens, in order of time."""
    # Only a breach may pass by itself: nothing else waits for the initial delay.
    delay = plan.escalation.initial_delay_minutes if event.kind is Kind.GATE_ALERT else 0
    levels = sorted(plan.escalation.escalation_levels, key=lambda level: level.delay_minutes)
    return (
        EscalationStage(0, timedelta(minutes=delay), tuple(plan.channels)),
        *(
            EscalationStage(
                number, timedelta(minutes=level.delay_minutes), tuple(level.channels), level.recipients
            )
            for number, level in enumerate(levels, start=1)
        ),
    )


def due(incident: Incident, plan: "Notifications", now: datetime) -> Iterator[EscalationStage]:
    """Yield the stages that must go out now."""
    if incident.acknowledged:
        return
    for stage in stages(incident.opening, plan)[incident.notified :]:
        if now - incident.opened_at < stage.after:
            return
        yield stage


def stage_event(incident: Incident, stage: EscalationStage, now: datetime) -> Event:
    """Return the event of a stage. Its id follows from the incident, so two processes send it once."""
    if stage.number == 0:
        return incident.opening
    minutes = (now - incident.opened_at).total_seconds() / 60
    about = incident.opening.kind.replace("_", " ")
    return replace(
        incident.opening,
        kind=Kind.ESCALATED,
        level=Level.CRITICAL,
        at=now,
        message=f"Nobody has acknowledged this {about} for {minutes:.0f} minutes.",
        facts={**incident.opening.facts, "recipients": stage.recipients},
        id=uuid5(NAMESPACE_OID, f"{incident.opening.id}:{stage.number}").hex,
    )


def _gate(event: Event) -> str:
    # Several gates that fell silent together, joined by commas, are one incident: the first to report
    # again ends it.
    return GATE + event.facts.get("gate", "")
